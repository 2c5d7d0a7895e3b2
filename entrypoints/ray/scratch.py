"""The scratch folder of a host: its layout, measurement, and removal of files when it is full.

One folder for all Ray containers and Marimo of a stack. The kernel does not enforce its limit: the janitor of each node
(janitor.py) measures, removes unused files, and ends the job that filled it. Standard library only, Python 3.10 or
newer.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from coordination.errors import NodeError
from entrypoints.ray.memory_guard import PROC, remove

ROOT = Path(os.environ.get("CSLR_SCRATCH", "/scratch"))
BLOCK = 512  # bytes; the unit of st_blocks, also for sparse files
SPARE = 2 * 10**9  # bytes of the disk that stay free for the host, whatever the limit is
LOG_KEPT = 64 * 10**6  # bytes at the end of a job's log
SPILL_PREFIX = "ray_spilled_objects_"
JOB_DIGITS = 8  # of a job's ID in hexadecimal, the prefix of names of spilled objects (spilling.py)
DEAD_PARTS = ("runtime_resources", "sockets")  # of a session whose node has ended; its logs stay


@dataclass(frozen=True)
class Layout:
    """The folders of one service below the scratch folder."""

    service: str
    root: Path = ROOT

    @property
    def ray(self) -> Path:
        """Ray's sessions: spilled objects, logs, runtime environments."""
        return self.root / self.service / "ray"

    @property
    def temporary(self) -> Path:
        """Temporary files of programs (TMPDIR)."""
        return self.root / self.service / "tmp"

    @property
    def report(self) -> Path:
        """The janitor's report for the health service."""
        return self.root / "use" / f"{self.service}.json"

    @property
    def caches(self) -> Path:
        """Downloaded packages, shared by all services."""
        return self.root / "cache"

    def make(self) -> None:
        """Make every folder. Raises OSError."""
        for folder in (self.ray, self.temporary, self.report.parent, self.caches, self.root / "packages"):
            folder.mkdir(parents=True, exist_ok=True)

    def forget_last_run(self) -> None:
        """Remove files of the previous run that the next one does not need: temporary files, and sessions except their
        logs.
        """
        for path in self.temporary.iterdir():
            remove(path)
        for session in self.ray.glob("session_*"):
            if not session.is_symlink():
                for part in [*session.glob(f"{SPILL_PREFIX}*"), *(session / name for name in DEAD_PARTS)]:
                    shutil.rmtree(part, ignore_errors=True)

    def spilled(self) -> dict[str, int]:
        """Job ID → bytes of its spilled objects; a file of several objects counts for the first one's job."""
        found: dict[str, int] = {}
        for path in self.ray.glob(f"session_*/{SPILL_PREFIX}*/*"):
            with contextlib.suppress(OSError):
                job = job_of(path.name)
                found[job] = found.get(job, 0) + path.stat().st_blocks * BLOCK
        return found

    def remove_spilled(self, jobs: Iterable[str]) -> None:
        """Remove the spilled objects of jobs that have ended."""
        ended = set(jobs)
        for path in self.ray.glob(f"session_*/{SPILL_PREFIX}*/*"):
            if job_of(path.name) in ended:
                path.unlink(missing_ok=True)

    def job_logs(self) -> Iterator[Path]:
        """The logs of jobs' drivers, which Ray itself never rotates."""
        for session in self.ray.glob("session_*"):
            if not session.is_symlink():
                yield from session.glob("logs/job-driver-*.log")


def prepare_folders(layout: Layout | None) -> None:
    """Make the scratch folders, remove files of the last run, and change to the user's HOME, where tasks begin.

    Raises NodeError if they cannot be used.
    """
    home = os.environ.get("HOME") or tempfile.gettempdir()
    try:
        if layout:
            layout.make()
            layout.forget_last_run()
        os.chdir(home)
    except OSError as error:
        raise NodeError(
            f"{error.filename}: {error.strerror}; user {os.getuid()} must be able to write to the folders or "
            "volumes of ray.scratch and ray.home."
        ) from None
    if not os.access(home, os.W_OK):
        raise NodeError(f"{home}: user {os.getuid()} must be able to write to the folder or volume of ray.home.")


@dataclass(frozen=True)
class Use:
    """Use of the scratch folder in bytes, as the health service, `ws ps` and `ws doctor` show it."""

    service: str
    used: int
    limit: int
    free: int  # of its disk
    time: float  # seconds since 1970
    parts: dict[str, int] = field(default_factory=dict)
    full: bool = False
    message: str = ""

    def write(self, path: Path) -> None:
        """Replace the previous report atomically."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(path)


def measure(layout: Layout, limit: int) -> Use:
    """Measure the whole folder. The limit is lowered if the disk has less room."""
    parts = {folder.name: size_of(folder) for folder in sorted(layout.root.iterdir()) if folder.is_dir()}
    parts["unlinked"] = sum(size for _, size in unlinked(layout.root))
    used = sum(parts.values())
    disk = shutil.disk_usage(layout.root)
    bound = min(limit, used + max(disk.free - SPARE, 0))
    full = used >= bound
    message = ""
    if full:
        message = f"scratch full: {gigabytes(used)} of {gigabytes(bound)} GB"
        if bound < limit:
            message += f", since its disk has {gigabytes(disk.free)} GB left"
    return Use(layout.service, used, bound, disk.free, time.time(), parts, full, message)


def gigabytes(size: int) -> str:
    """Format bytes as gigabytes for people: one decimal below ten."""
    number = size / 10**9
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def size_of(folder: Path) -> int:
    """Return the bytes that a tree takes on its disk; files that vanish meanwhile do not count."""
    total, pending = 0, [str(folder)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    # A file with several names, as in environments linked to the package cache, counts once.
                    total += found.st_blocks * BLOCK // max(found.st_nlink if not entry.is_dir() else 1, 1)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total


def unlinked(root: Path) -> Iterator[tuple[int, int]]:
    """Yield process and bytes of each deleted file of a tree that is still open, each once."""
    seen: set[tuple[int, int]] = set()
    for process in (entry for entry in PROC.iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.fspath(link.readlink())
                    if not (target.endswith(" (deleted)") and target.startswith(f"{root}/")):
                        continue
                    found = link.stat()
                    if (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        yield int(process.name), found.st_blocks * BLOCK


def job_of(name: str) -> str:
    """Return the ID of the job that a file of spilled objects belongs to; empty for any other file."""
    identifier = name.partition("-")[0]
    is_one = len(identifier) == JOB_DIGITS and all(letter in "0123456789abcdef" for letter in identifier)
    return identifier if is_one else ""


def oldest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort by the time of the last change."""
    dated = []
    for path in paths:
        with contextlib.suppress(OSError):
            dated.append((path.lstat().st_mtime, path))
    return [path for _, path in sorted(dated)]


def shorten(log: Path, kept: int = LOG_KEPT) -> None:
    """Release the disk space of a log in use except its end; the file's length stays."""
    with contextlib.suppress(OSError):
        found = log.stat()
        if found.st_blocks * BLOCK <= 2 * kept:
            return
        with log.open("r+b") as file:
            punch_hole(file.fileno(), found.st_size - kept)


def punch_hole(descriptor: int, length: int) -> None:
    """Release the first bytes of a file, which read as zeros from then on. Raises OSError."""
    keep_size_punch_hole = 0x01 | 0x02  # <linux/falloc.h>
    libc = ctypes.CDLL(None, use_errno=True)
    long = ctypes.c_longlong
    if libc.fallocate(descriptor, keep_size_punch_hole, long(0), long(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
