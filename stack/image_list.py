"""The list of pushed images that is signed: plain text that people can read, and its strict reader."""

import re
from dataclasses import dataclass

TITLE = "cslr-images 1"  # with the version of the format
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REFERENCE = re.compile(r"[!-~]{1,400}:[\w.-]{1,128}", re.ASCII)
PLATFORMS = re.compile(r"[a-z0-9]+/[a-z0-9]+(?:,[a-z0-9]+/[a-z0-9]+)*")
HEAD = re.compile(r"registry ([!-~]{1,200})\nmade (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\n\n", re.ASCII)


class ListError(Exception):
    """A text is no such list. Completes "the list …"."""


@dataclass(frozen=True, order=True)
class SignedImage:
    """One line: an image or an index, under one of its names."""

    digest: str  # ``sha256:…``, of the manifest
    reference: str  # with its tag
    platforms: str  # ``linux/amd64``; of an index all, with commas

    @property
    def by_digest(self) -> str:
        """The name that never means another image."""
        return f"{repository(self.reference)}@{self.digest}"


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """What was pushed to one registry in one run."""

    registry: str  # prefix of the images' names, without which the list of one registry would pass for another's
    made: str  # UTC
    images: tuple[SignedImage, ...]

    def text(self) -> str:
        """As it is signed."""
        lines = sorted(f"{one.digest} {one.reference} {one.platforms}\n" for one in set(self.images))
        return f"{TITLE}\nregistry {self.registry}\nmade {self.made}\n\n{''.join(lines)}"


def parse(text: str) -> ImageList:
    """The list in a text. Raises `ListError`."""
    title, _, rest = text.partition("\n")
    if title != TITLE:
        raise ListError(f"does not begin with {TITLE!r}")
    head = HEAD.match(rest)
    if not head:
        raise ListError("does not name its registry and its time in lines 2 and 3")
    lines = rest[head.end() :].splitlines()
    images = tuple(_image(line, number) for number, line in enumerate(lines, start=5))
    return ImageList(registry=head[1], made=head[2], images=images)


def repository(reference: str) -> str:
    """A name without its tag and digest."""
    place, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{place}{slash}{last.partition(':')[0]}"


def _image(line: str, number: int) -> SignedImage:
    digest, _, rest = line.partition(" ")
    reference, _, platforms = rest.partition(" ")
    if not (DIGEST.fullmatch(digest) and REFERENCE.fullmatch(reference) and PLATFORMS.fullmatch(platforms)):
        raise ListError(f"has no digest, image and platform in line {number}")
    return SignedImage(digest, reference, platforms)
