"""Room on disks, checked before a backup or a restore changes anything."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from build_report.units import size
from ws.errors import WsError

COMPRESSED = 0.5  # of files that are stored the first time, restic rarely stores less
LOADED = 3.5  # the size of a database by that of its plain dump: MLflow's metrics with their indexes, the largest part


@dataclass(frozen=True, kw_only=True)
class Need:
    """What is to come into a folder."""

    folder: Path
    size: int  # bytes
    replaces: bool = False  # what is in the folder is removed first


def refuse_small_disks(needs: Iterable[Need]) -> None:
    """Raises `WsError` where a disk has no room for all that is to come onto it."""
    missing: dict[int, int] = {}
    folders: dict[int, list[str]] = {}
    for need in needs:
        disk = need.folder.stat().st_dev
        folders.setdefault(disk, []).append(str(need.folder))
        missing.setdefault(disk, -shutil.disk_usage(need.folder).free)
        missing[disk] += need.size - (size_of(need.folder) if need.replaces else 0)
    for disk, lacking in missing.items():
        if lacking > 0:
            raise WsError(
                f"the disk of {', '.join(folders[disk])} lacks {size(lacking)}. Nothing was changed there.\n"
                "  Make room, or name a folder of another disk (backup.repository or the stack file). Run it again."
            )


def refuse_little_room(folder: Path, free: int | None, needed: int, what: str, remedy: str) -> None:
    """Raises `WsError` where a folder has no room for something temporary."""
    if free is not None and free < needed:
        raise WsError(f"{folder} lacks {size(needed - free)} for {what}. {remedy}")


def refuse_small_repository(location: str, now: int, before: int | None) -> None:
    """Raises `WsError` where a repository in a folder certainly has no room for what is new since the last backup.

    What changed in place is not counted: then restic says that the disk is full, and what it has stored stays.
    """
    folder = Path(location)
    if folder.is_absolute() and folder.is_dir():
        grown = max(now - (before or 0), 0)
        refuse_small_disks([Need(folder=folder, size=int(grown * COMPRESSED))])


def size_of(folder: Path) -> int:
    """The bytes in the files of a folder. What vanishes meanwhile does not count."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(above, name)).st_size  # noqa: PTH118 (a home has millions)
            except OSError:
                continue
    return total
