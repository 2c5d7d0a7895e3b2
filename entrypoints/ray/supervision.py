"""Supervision of Ray's processes on one node: watches, stops and kills them.

Does not decide what the node becomes (node.py, agent.py). Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import queue
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoints.log import logger

STOP_SECONDS = 50.0  # Ray drains for up to 30 s; the container is killed 60 s after SIGTERM
LAST_WORDS = 3.0  # seconds; `ray start` checks once a second for processes that have ended

say = logger("ray-node")


class Stop:
    """A stop flag for signal handlers. The lock of a ``threading.Event`` may be held by the thread that the signal
    interrupts, which would then wait for itself; a ``SimpleQueue`` has no such lock.
    """

    def __init__(self) -> None:
        self._set = False
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self, *_: object) -> None:
        """Set the flag; usable as a signal handler."""
        self._set = True
        self._wakes.put(None)

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, for some seconds at most; tell whether it is."""
        if not self._set:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=seconds)
        return self._set


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends, so that none escapes."""
    set_child_subreaper = 36  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants(root: int, spared: Collection[int] = ()) -> list[int]:
    """Return the process ids below a process, from /proc, without the spared ones and their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                # The name in parentheses may hold anything, so count fields from its end.
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [root]
    while pending:
        below = [process for process in children.get(pending.pop(), []) if process not in spared]
        found += below
        pending += below
    return found


def reap() -> dict[int, int]:
    """Reap every child that has ended: process id → exit code, negative for a signal."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            ended[process] = os.waitstatus_to_exitcode(status)
    return ended


def end_descendants(grace: float = 5.0, spared: Collection[int] = ()) -> dict[int, int]:
    """End all descendants: SIGTERM, then after ``grace`` seconds SIGKILL; return what ``reap`` returned."""
    deadline = time.monotonic() + grace
    signalled: set[tuple[int, int]] = set()
    ended: dict[int, int] = {}
    while True:
        ended |= reap()
        left = descendants(os.getpid(), spared)
        if not left:
            return ended
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for process in left:
            if (process, number) not in signalled:
                signalled.add((process, number))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        time.sleep(0.05)


@dataclass(frozen=True)
class End:
    """Why Ray must end although the node was not stopped."""

    reason: str
    at_once: bool  # without a drain, which would only wait for tasks that are already lost


LOST_DATA = End(
    "Cluster state in Redis was lost: this node rejoins the new cluster; actors and jobs of the old one are gone",
    at_once=True,
)


@dataclass
class Watched:
    """A descendant process, found by name once it exists; its end is noticed at once."""

    root: int
    name: str  # as the kernel knows it
    _descriptor: int | None = None

    def find(self) -> bool:
        """Look for the process unless it was found before; tell whether it is found."""
        if self._descriptor is None:
            for process in descendants(self.root):
                with contextlib.suppress(OSError):  # ended meanwhile
                    if Path(f"/proc/{process}/comm").read_text().strip() == self.name:
                        self._descriptor = os.pidfd_open(process)
                        break
        return self._descriptor is not None

    def has_ended(self) -> bool:
        """Tell whether the process was found and has ended."""
        return self._descriptor is not None and bool(select.select([self._descriptor], [], [], 0)[0])

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def supervise(
    process: subprocess.Popen[bytes],
    stop: Stop,
    reason_to_end: Callable[[], End | None],
    interval: float,
    can_drain: Callable[[], bool] = lambda: True,
    tell_ended: Callable[[Mapping[int, int]], None] = lambda _: None,
) -> int:
    """Watch `ray start` until it ends, ``stop`` is set, or there is a reason to end it; then end all its processes.

    ``tell_ended`` gets what ``reap`` returned, for children other than `ray start`.

    A node that is stopped or has a reason to end is drained first if ``can_drain`` says that a GCS answers: without
    one, Ray would wait. Reasons are checked every ``interval`` seconds. Returns 0 after a stop, 1 if there was a
    reason, else the exit code as a shell shows it (1 for 0, because a node must not end by itself).
    """
    grace, code, end = 5.0, None, None
    raylet = Watched(process.pid, "raylet")
    try:
        code, end = _watch(process.pid, raylet, stop, reason_to_end, interval, tell_ended)
        if end:
            say(f"{end.reason}: stopping")
        if code is None and (raylet.has_ended() or (end and end.at_once)):
            grace = 0.0
        elif code is None and not can_drain():
            say("no head answers, so that nothing can be drained")
        elif code is None:
            code = terminate(process.pid)
    finally:
        raylet.close()
        ended = end_descendants(grace)
    process.returncode = ended.get(process.pid, -signal.SIGKILL) if code is None else code  # reaped here, not by Popen
    if stop.is_set() and end is None:
        return 0
    if end:
        return 1
    say(f"Ray ended by itself with exit code {code}")
    return 128 - process.returncode if process.returncode < 0 else process.returncode or 1


def _watch(
    process: int,
    raylet: Watched,
    stop: Stop,
    reason_to_end: Callable[[], End | None],
    interval: float,
    tell_ended: Callable[[Mapping[int, int]], None],
) -> tuple[int | None, End | None]:
    """Wait until `ray start` has ended, must stop, or has a reason to end; return its exit code and the reason.

    The end of its raylet is a reason: after a drain the raylet ends by itself, and `ray start` does not treat that as
    a failure. If it was one, or followed the end of the GCS, `ray start` says so and ends, within LAST_WORDS.
    """
    ask_at, end_at = time.monotonic() + interval, math.inf
    while not stop.is_set():
        stop.wait(0.2)
        now = time.monotonic()
        ended = reap()
        if process in ended:
            return ended[process], None
        tell_ended(ended)
        if raylet.has_ended():
            end_at = min(end_at, now + LAST_WORDS)
            if now >= end_at:
                return None, End("this node's raylet has ended", at_once=True)
        elif now >= ask_at:
            ask_at = now + interval
            raylet.find()
            if end := reason_to_end():
                return None, end
    return None, None


def terminate(process: int) -> int:
    """Send SIGTERM to the child, SIGKILL after STOP_SECONDS; return its exit code."""
    say("stopping: Ray drains this node for up to 30 s")
    os.kill(process, signal.SIGTERM)
    kill_at = time.monotonic() + STOP_SECONDS
    while (code := reap().get(process)) is None:
        if time.monotonic() > kill_at:
            say(f"Ray did not stop within {STOP_SECONDS:.0f} s: killing it")
            os.kill(process, signal.SIGKILL)
            kill_at = float("inf")
        time.sleep(0.1)
    return code
