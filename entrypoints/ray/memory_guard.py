"""Memory guard: ends the largest user process before the kernel's OOM killer acts, never one that the node needs.

Ray's own monitor picks by the age and the kind of tasks, so it may end a task of another job than the one that took the
memory; the kernel may pick a small worker, or, if files in /dev/shm or /tmp hold the memory, `ray start` itself. The
guard picks the largest process of users' programs: a worker, its child process, a job's driver, a shell. Ray then
reports its end and retries if allowed. Supports cgroup v1 and v2. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SPARE_SHARE, SPARE_BYTES = 0.05, 160 * 2**20  # kept free: this share of the limit, but at least these bytes
FASTEST = 4 * 2**30  # bytes a second that two cores can touch; bounds how long the guard may sleep
SHORTEST_SLEEP, LONGEST_SLEEP = 0.02, 0.5  # seconds
END_SECONDS = 5.0  # for the kernel to reclaim a killed process's memory, which takes a while after its end
HOG_SHARE = 0.1  # of the limit; a smaller process is ended only if no file in memory can be removed
SMALLEST_SHARE = 0.02  # of the limit; ending a smaller process would not help
LEFT_SECONDS = 60.0  # a file in memory that was written before that, and that no process has open, was left behind
IN_MEMORY = (Path("/dev/shm"), Path("/tmp"))  # noqa: S108
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
# Processes that the node needs, by a part of the command line or by the program's name.
NEEDED_PROGRAMS = ("gcs_server", "raylet", "docker-init", "tini", "sshd", "sshd-session", "sshd-auth")
NEEDED_PARTS = (
    "ray/dashboard/",
    "ray-dashboard-",
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
    "ray/_private/runtime_env/agent/",
    "ray/_private/log_monitor.py",
    "ray/autoscaler/",
    "ray start ",
    "entrypoints.ray.node",
    "entrypoints.ray.agent",
    "entrypoints.ray.node_guard",
    "entrypoints.ray.redis_relay",
    "entrypoints.ray.process_guard",
    "entrypoints.devel",
    "-m marimo ",
    "entrypoints/ray/launcher.py",
    "--mode=proxy",  # Ray Client's server; its processes for each client hold users' objects
)


@dataclass(frozen=True)
class Cgroup:
    """The memory files of this container's cgroup."""

    usage: Path
    limit: Path
    statistics: Path
    file_keys: tuple[str, ...]  # statistics of pages that the kernel can reclaim

    @classmethod
    def find(cls, root: Path = Path("/sys/fs/cgroup")) -> Cgroup | None:
        """Return the cgroup of version 2 if its files exist, else of version 1; None: there is no limit to keep."""
        if (root / "memory.max").exists():
            keys = ("inactive_file", "active_file")
            return cls(root / "memory.current", root / "memory.max", root / "memory.stat", keys)
        folder = root / "memory"
        if (folder / "memory.limit_in_bytes").exists():
            keys = ("total_inactive_file", "total_active_file")
            names = ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.stat")
            return cls(folder / names[0], folder / names[1], folder / names[2], keys)
        return None

    def limit_bytes(self) -> int | None:
        """Return the limit; None without one."""
        text = self.limit.read_text().strip()
        limit = None if text == "max" else int(text)
        return limit if limit is not None and limit < 2**60 else None

    def used_bytes(self) -> int:
        """Return the memory that cannot be reclaimed: all except pages of files on disk. Files in memory count."""
        reclaimable = 0
        for line in self.statistics.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key in self.file_keys:
                reclaimable += int(value)
        return max(int(self.usage.read_text()) - reclaimable, 0)


@dataclass(frozen=True)
class Process:
    """A process of a user's program: its own memory in bytes, without shared memory."""

    number: int
    own: int
    title: str

    @classmethod
    def read(cls, number: int) -> Process | None:
        """Return the process; None if the node needs it or it has ended."""
        folder = PROC / str(number)
        with contextlib.suppress(OSError, ValueError, IndexError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if not command or is_needed(number, command):
                return None
            pages = (folder / "statm").read_text().split()
            return cls(number, (int(pages[1]) - int(pages[2])) * PAGE, command[:120])
        return None


def is_needed(number: int, command: str) -> bool:
    """Tell whether the node needs a process."""
    name = ""
    with contextlib.suppress(OSError):
        name = (PROC / str(number) / "comm").read_text(errors="replace").strip()
    return name in NEEDED_PROGRAMS or any(part in command for part in NEEDED_PARTS)


def processes() -> Iterator[Process]:
    """Yield all processes of users' programs in this container."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            process = Process.read(int(entry.name))
            if process:
                yield process


def spare(limit: int) -> int:
    """Return the bytes that must stay free."""
    return max(int(limit * SPARE_SHARE), SPARE_BYTES)


class MemoryGuard:
    """Watches the container's memory forever."""

    def __init__(self, cgroup: Cgroup, service: str, tell: Callable[[str], None], logs: Path | None = None) -> None:
        self._cgroup = cgroup
        self._logs = logs  # of Ray's session, where workers' output is
        self._service = service
        self._tell = tell
        self._complained = False

    def watch(self) -> None:
        """Check forever, more often when less memory is left."""
        while True:
            with contextlib.suppress(OSError, ValueError):
                limit = self._cgroup.limit_bytes()
                if limit is None:
                    time.sleep(LONGEST_SLEEP)
                    continue
                left = limit - spare(limit) - self._cgroup.used_bytes()
                if left < 0:
                    self.make_room(limit)
                    continue
                self._complained = False
                time.sleep(min(max(left / FASTEST, SHORTEST_SLEEP), LONGEST_SLEEP))

    def make_room(self, limit: int) -> None:
        """End the largest process and wait until its memory is reclaimed; log if that would not help.

        If no process takes much, files in memory do: those that were left behind are removed first.
        """
        largest = max(processes(), key=lambda process: process.own, default=None)
        size = largest.own if largest else 0
        if size < limit * HOG_SHARE and (left := left_behind()):
            for path in left:
                remove(path)
            self._tell(f"out of memory: removed files in memory that no process has open: {', '.join(map(str, left))}")
            return
        if largest is None or size < limit * SMALLEST_SHARE:
            if not self._complained:
                self._complained = True
                self._tell("memory is nearly used up, but no program takes much: files in /dev/shm or /tmp hold it")
            time.sleep(LONGEST_SLEEP)
            return
        sentence = (
            f"out of memory: process {largest.number} took {largest.own / 2**30:.1f} GB of the {limit / 2**30:.1f} GB "
            f"of {self._service}, the most of all, and was ended. Take less at once, or give the node more memory."
        )
        with contextlib.suppress(ProcessLookupError, PermissionError):
            tell_user_of(largest.number, f"[cslr] {sentence}\n", self._logs)
            os.kill(largest.number, signal.SIGKILL)
        self._tell(f"{sentence} It was: {largest.title}")
        until = time.monotonic() + END_SECONDS
        while self._cgroup.used_bytes() > limit - spare(limit) and time.monotonic() < until:
            time.sleep(SHORTEST_SLEEP)


def left_behind() -> list[Path]:
    """Return abandoned files in memory, except those of the object store, which Ray has open."""
    before = time.time() - LEFT_SECONDS
    found = []
    for path in (path for folder in IN_MEMORY for path in folder.rglob("*")):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_blocks and status.st_mtime < before:
                found.append(path)
    opened = {path for _, path in open_files()} if found else set()
    return [path for path in found if path not in opened]


def open_files() -> Iterator[tuple[int, Path]]:
    """Yield the files that processes of this container have open or mapped, each with its process."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for link in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    yield int(entry.name), link.readlink()
        with contextlib.suppress(OSError):
            for line in (entry / "maps").read_text(errors="replace").splitlines():
                _, slash, path = line.partition("/")
                if slash:
                    yield int(entry.name), Path(f"/{path}")


def remove(path: Path) -> None:
    """Remove a file or a tree, as far as it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def tell_user_of(process: int, text: str, logs: Path | None) -> None:
    """Write a message where the process's user looks: the log that Ray sends to the driver, or its stderr.

    A worker reads its own stderr, which is a pipe, to write it to its log; when it is killed, what is in there is lost.
    """
    for log in logs.glob(f"worker-*-{process}.err") if logs else ():
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(text)
            return
    write_to_stderr_of(process, text)


def write_to_stderr_of(process: int, text: str) -> None:
    """Write a message to the stderr of a process."""
    with contextlib.suppress(OSError):
        descriptor = os.open(PROC / str(process) / "fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
