"""The lock of a stack's own packages: the packages that a stack adds to the images of the family, with hashes.

It is stored beside the stack file. Its header says what it was made for, so that a lock that is older than the stack
file or the images is detected without a package index. Written by ``ws packages``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.catalog import CATALOG, PACKAGES
from images.lockfile import Pin, parse
from images.packages.install import WITHOUT_TORCH
from images.variants import Variant

HEADER = "# Made by `ws packages` from images.packages in the stack file. Do not edit.\n"
FACT = re.compile(r"^# (pair|images|asked): (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class PackagesLock:
    """The content of a lock file."""

    pair: str  # key of its variant
    images: str  # `held_digest` of the images below
    asked: tuple[str, ...]  # requirements, as in the stack file
    pins: Mapping[str, Pin]  # missing in every image
    more: Mapping[str, Pin]  # also missing in images without torch

    @property
    def text(self) -> str:
        """The text of the file."""
        facts = [f"# pair: {self.pair}", f"# images: {self.images}", *(f"# asked: {item}" for item in self.asked)]
        more = f"{WITHOUT_TORCH}\n{_pins(self.more)}" if self.more else ""
        return HEADER + "\n".join(facts) + "\n" + _pins(self.pins) + more

    @property
    def digest(self) -> str:
        """Twelve digits that identify what is installed."""
        return hashlib.sha256(f"{_pins(self.pins)}\0{_pins(self.more)}".encode()).hexdigest()[:12]

    def versions(self, variant: Variant) -> dict[str, str]:
        """The requested packages → their versions; from the image if that holds them."""
        known = held(variant) | {name: pin.version for name, pin in {**self.pins, **self.more}.items()}
        return {name: known[name] for name in map(name_of, self.asked) if name in known}


def read(path: Path) -> PackagesLock:
    """Reads a lock. Raises OSError, and ValueError for a text that is not a lock."""
    text = path.read_text(encoding="utf-8")
    facts: dict[str, list[str]] = {"pair": [""], "images": [""], "asked": []}
    for key, value in FACT.findall(text):
        facts[key].append(value)
    both, _, more = text.partition(WITHOUT_TORCH)
    return PackagesLock(
        pair=facts["pair"][-1],
        images=facts["images"][-1],
        asked=tuple(facts["asked"]),
        pins=_parsed(both),
        more=_parsed(more),
    )


def held(variant: Variant) -> dict[str, str]:
    """Package → version in the image with torch below a stack's own packages."""
    return CATALOG[PACKAGES["packages"]].versions(variant)


def held_without_torch(variant: Variant) -> dict[str, str]:
    """The same for nodes without torch."""
    return CATALOG[PACKAGES["packages-lean"]].versions(variant)


def held_digest(variant: Variant) -> str:
    """A digest of all versions in these images."""
    both = (sorted(held(variant).items()), sorted(held_without_torch(variant).items()))
    return hashlib.sha256(repr(both).encode()).hexdigest()[:12]


def name_of(requirement: str) -> str:
    """The package name in a requirement, normalized."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def same(asked: Sequence[str], locked: Sequence[str]) -> bool:
    """Whether a lock is for these requirements, in any order."""
    return sorted(asked) == sorted(locked)


def _pins(pins: Mapping[str, Pin]) -> str:
    return "".join(pins[name].text for name in sorted(pins))


def _parsed(text: str) -> dict[str, Pin]:
    return parse(text) if re.search(r"^[^#\s]", text, re.MULTILINE) else {}
