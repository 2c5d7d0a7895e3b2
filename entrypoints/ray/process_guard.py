"""Process guard: ends the program with the most process ids before a container or the host runs out of them.

A thread takes an id, as a process does. Pulumi's Docker provider cannot limit a container's ids, so the guard counts
them, and ends the program with the most, with all its children: a worker, a job's driver, a notebook; never one that
the node needs. Against programs that start processes faster, the kernel refuses users' programs more than half of the
host's ids (`keep_half` in launcher.py). Supports cgroup v1 and v2. Standard library only, Python 3.10 or newer.

    -m entrypoints.ray.process_guard SERVICE    guard this container until it is ended
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoints.ray.launcher import host_ids
from entrypoints.ray.memory_guard import PROC, is_needed, tell_user_of

LOOK_SECONDS = 0.1
# A head has some 450 threads, a worker 20 to 60 and as many more as it computes with.
BASE, PER_CPU = 4096, 512
HOST_SHARE = 0.25  # of the host's ids; no container gets more
COUNTS = ("pids.current", "pids/pids.current")  # of cgroup v2, and v1
STOP_SECONDS = 5.0  # for finding all processes of a program
END_SECONDS = 30.0  # for parents to reap ended processes, which hold their ids until then
HOG_SHARE = 0.1  # of the limit; ending a smaller program would not help
TITLE_LENGTH = 120
NAMELESS = "[nameless]"  # a process that has overwritten its command line, or whose first thread has ended


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[process-guard] {message}", flush=True)


def limit_for(cpus: float, environment: Mapping[str, str]) -> int:
    """Return how many ids a container with these CPUs may hold; PROCESS_ID_LIMIT overrides it."""
    text = environment.get("PROCESS_ID_LIMIT", "")
    return int(text) if text.isdecimal() else min(int(BASE + PER_CPU * cpus), int(host_ids() * HOST_SHARE))


@dataclass(frozen=True)
class Entry:
    """A process: its parent, and how many ids its threads take."""

    parent: int
    threads: int


@dataclass(frozen=True)
class Program:
    """A process that the node does not need, with its descendants; or several orphans of one command."""

    title: str
    members: tuple[int, ...]
    ids: int


def entries() -> dict[int, Entry]:
    """Return all processes of this container."""
    found = {}
    for name in os.listdir(PROC):  # noqa: PTH208  (a Path for each of thousands takes too long)
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"{PROC}/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
                found[int(name)] = Entry(int(fields[1]), int(fields[17]))
    return found


def title_of(process: int) -> str:
    """Return the command line of a process."""
    with contextlib.suppress(OSError):
        return (PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def programs(found: dict[int, Entry], needed: Callable[[int, str], bool]) -> list[Program]:
    """Return the programs of users among these processes."""
    children = defaultdict(list)
    for process, entry in found.items():
        children[entry.parent].append(process)
    roots: dict[object, list[int]] = defaultdict(list)
    titles: dict[object, str] = {}  # read here: a process that has ended since has no title
    pending = [process for process, entry in found.items() if entry.parent not in found]
    while pending:
        process = pending.pop()
        title = title_of(process)
        if needed(process, title):
            pending += children[process]
        elif title or found[process].threads > 1 or process in children:  # else it has ended
            title = title or NAMELESS
            # Ray's idle workers are many and belong to no program.
            root: object = process if title.startswith("ray::IDLE") else title
            roots[root].append(process)
            titles[root] = title
    result = []
    for root, tops in roots.items():
        members = [process for top in tops for process in (top, *below(top, children))]
        ids = sum(found[process].threads for process in members)
        result.append(Program(titles[root][:TITLE_LENGTH], tuple(members), ids))
    return result


def below(top: int, children: dict[int, list[int]]) -> Iterator[int]:
    """Yield all descendants of a process."""
    pending = list(children.get(top, ()))
    while pending:
        process = pending.pop()
        yield process
        pending += children.get(process, ())


class ProcessGuard:
    """Watches a container's process ids forever."""

    def __init__(
        self, limit: int, service: str, tell: Callable[[str], None], *, logs: Path | None = None, root: str = ""
    ) -> None:
        self._limit = limit
        self._service = service
        self._tell = tell
        self._logs = logs  # of Ray's session, where workers' output is
        self._root = Path(root or "/sys/fs/cgroup")
        self._complained = False

    def watch(self) -> None:
        """Check forever."""
        while True:
            if self.count() > self._limit:
                self.make_room()
            time.sleep(LOOK_SECONDS)

    def count(self) -> int:
        """Return how many ids are taken."""
        for name in COUNTS:
            with contextlib.suppress(OSError, ValueError):
                return int((self._root / name).read_text())
        return sum(entry.threads for entry in entries().values())

    def make_room(self) -> None:
        """End the largest program. It is stopped first, so that it cannot start more processes meanwhile."""
        largest = self._largest()
        if largest is None or largest.ids < self._limit * HOG_SHARE:
            if not self._complained:
                self._complained = True
                self._tell(f"{self._limit} process ids are taken, but no program holds many of them")
            return
        self._complained = False
        tops = set(largest.members)
        until = time.monotonic() + STOP_SECONDS
        seen: set[int] = set()
        while new := tops - seen:
            signal_all(new, signal.SIGSTOP)
            seen |= new
            if time.monotonic() < until:
                again = self._of(largest.title)
                tops |= set(again.members) if again else set()
        sentence = (
            f"too many processes: {largest.title.split()[0]} and what it started held {largest.ids} process ids, with "
            f"{self._limit} for all of {self._service}, and were ended. Start fewer processes or threads at once."
        )
        for process in largest.members[:1]:
            tell_user_of(process, f"[cslr] {sentence}\n", self._logs)
        signal_all(seen, signal.SIGKILL)
        self._tell(f"{sentence} It was: {largest.title}")
        until = time.monotonic() + END_SECONDS
        while self.count() > self._limit and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)

    def _programs(self) -> list[Program]:
        return programs(entries(), lambda process, title: process in (1, os.getpid()) or is_needed(process, title))

    def _largest(self) -> Program | None:
        return max(self._programs(), key=lambda program: program.ids, default=None)

    def _of(self, title: str) -> Program | None:
        same = [program for program in self._programs() if program.title == title]
        return max(same, key=lambda program: program.ids, default=None)


def signal_all(processes: set[int], number: int) -> None:
    """Send a signal to those processes that still exist."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def main(arguments: list[str]) -> int:
    """Guard forever."""
    ProcessGuard(limit_for(os.cpu_count() or 1, os.environ), arguments[0], say).watch()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
