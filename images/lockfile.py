"""Reads lock files: the packages of an image and their versions."""

import re
from dataclasses import dataclass
from pathlib import Path

REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One requirement of a lock file."""

    name: str  # normalized, as the package index spells it
    version: str
    text: str  # the requirement with its hashes, as the file has it

    @property
    def hashed(self) -> bool:
        """Whether an installer can verify the file."""
        return HASH.search(self.text) is not None


def parse(text: str) -> dict[str, Pin]:
    """Return the requirements of a lock file by package name. Raises ValueError for a line that is not a pin."""
    pins = {}
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for requirement in re.split(r"\n(?=\S)", "\n".join(lines)):
        found = REQUIREMENT.match(requirement)
        if found is None:
            raise ValueError(f"not a pinned requirement: {requirement!r}. Run `python -m images.lock`.")
        name = re.sub(r"[-_.]+", "-", found["name"]).lower()
        pins[name] = Pin(name=name, version=found["version"], text=requirement + "\n")
    return pins


def locked(*paths: Path) -> dict[str, str]:
    """Return package → version over these lock files, the later file winning."""
    return {name: pin.version for path in paths for name, pin in parse(path.read_text(encoding="utf-8")).items()}
