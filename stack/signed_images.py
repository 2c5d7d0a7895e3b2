"""Lists of signed images in a registry: where they are, and which of them count."""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from config.project import FOLDER
from docker_api.registry import DamagedError, MissingError, fetch_artifact, tags
from stack.image_list import ImageList, ListError, SignedImage, parse
from stack.ssh_signature import SignatureError, verify

REPOSITORY = "signed-images"  # below the prefix of the images
KIND = "application/vnd.cslr.signed-images.v1"
LIST, SIGNATURE = "images.txt", "images.txt.sig"
LATEST = "latest"
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)  # a tag of one run; sorted, they are in the order of times
MOST = 200  # lists that are read, the newest first: a registry must not keep a command busy for ever


@dataclass
class Found:
    """What was read."""

    lists: list[ImageList] = field(default_factory=list)  # those that count, the newest first
    refused: list[str] = field(default_factory=list)  # a sentence on each that does not

    @property
    def images(self) -> set[str]:
        """Every signed image, by digest."""
        return {image.by_digest for one in self.lists for image in one.images}

    def named(self, reference: str) -> SignedImage | None:
        """What the newest list that has this name says of it."""
        return next((image for one in self.lists for image in one.images if image.reference == reference), None)


def place(registry: str) -> str:
    """The repository with a registry's lists."""
    return f"{registry}/{REPOSITORY}"


def path_of(entry: str) -> Path:
    """A file that a stack file names, relative to the project."""
    with suppress(RuntimeError):  # the home of a user whom this host does not know
        return FOLDER / Path(entry).expanduser()
    return FOLDER / entry


def look(registry: str, signers: Path, wanted: Collection[str], names: Collection[str] = ()) -> Found:
    """Reads lists, the newest first, until all images `wanted` (by digest) and all `names` (with tags) were in one.

    Raises:
        RegistryError: the registry does not answer.
    """
    found = Found()
    for tag in _tags(registry):
        try:
            found.lists.append(_read(registry, tag, signers))
        except (SignatureError, ListError) as error:
            found.refused.append(f"{place(registry)}:{tag} {error}")
        except MissingError:
            continue
        if found.images.issuperset(wanted) and all(found.named(name) for name in names):
            break
    return found


def _tags(registry: str) -> Iterator[str]:
    yield LATEST
    try:
        runs = sorted((tag for tag in tags(place(registry)) if RUN.fullmatch(tag)), reverse=True)
    except MissingError:
        return
    yield from runs[:MOST]


def _read(registry: str, tag: str, signers: Path) -> ImageList:
    """One list. Raises `SignatureError`, `ListError`, `RegistryError` and `MissingError`."""
    try:
        files = fetch_artifact(place(registry), tag, KIND)
    except DamagedError as error:
        raise ListError(f"is not a list of images: {error}") from None
    if LIST not in files or SIGNATURE not in files:
        raise ListError("is without its list or its signature")
    verify(files[LIST], files[SIGNATURE], signers)
    read = parse(files[LIST].decode(errors="replace"))
    if read.registry != registry:
        raise ListError(f"is a list for {read.registry}, not for {registry}")
    return read
