"""How full the disks of this host are."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk, in bytes; free is what users may still write."""

    name: str
    free: int
    size: int


def disks_of(folders: Mapping[str, Path]) -> tuple[Disk, ...]:
    """The disks on which the folders are; without those whose folder cannot be read, or that have no size."""
    found = []
    for name, folder in folders.items():
        with suppress(OSError):
            disk = os.statvfs(folder)
            if disk.f_blocks:
                found.append(Disk(name=name, free=disk.f_bavail * disk.f_frsize, size=disk.f_blocks * disk.f_frsize))
    return tuple(found)
