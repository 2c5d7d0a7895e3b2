"""The watchdog: a process beside the agent that kills agent and head if the agent hangs.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from coordination.lease import boottime
from entrypoints.log import logger
from entrypoints.ray.supervision import descendants

HUNG_SECONDS = 30.0  # without a head
WATCH_SECONDS = 0.1
WATCHDOG_GRACE = 1.5  # added to the deadline, at which the agent acts itself; still within the lease

say = logger("ray-head")


class Heartbeat:
    """Memory shared by agent and watchdog: the agent's last turn, and the time by which its head must be dead."""

    _LAYOUT = struct.Struct("dd")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)

    @classmethod
    def new(cls) -> Heartbeat:
        """Make a heartbeat; its descriptor can be passed to a child."""
        descriptor = os.memfd_create("cslr-heartbeat")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        return cls(descriptor)

    def beat(self, kill_at: float) -> None:
        """Record that the agent is alive, and by when it must have killed its head (0: there is none)."""
        self._LAYOUT.pack_into(self._memory, 0, boottime(), kill_at)

    def read(self) -> tuple[float, float]:
        """Return the time of the last beat and the time to kill."""
        beat, kill_at = self._LAYOUT.unpack_from(self._memory)
        return float(beat), float(kill_at)


def failure_of_agent(now: float, beat: float, kill_at: float) -> str:
    """Return why the agent must be killed; empty: it works."""
    if kill_at and now > kill_at + WATCHDOG_GRACE:
        return "the agent did not kill its head at the deadline"
    if beat and now - beat > HUNG_SECONDS:
        return f"the agent has hung for {HUNG_SECONDS:.0f} s"
    return ""


def watchdog(descriptor: int) -> int:
    """Kill head and agent if the agent misses its deadline, and the head if the agent has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the watchdog ends after the agent
    heartbeat, agent = Heartbeat(descriptor), os.getppid()
    below: dict[int, int] = {}
    while os.getppid() == agent:
        seen = _with_start_times(descendants(agent, spared=(os.getpid(),)))
        if os.getppid() != agent:
            break  # the agent ended during the listing: processes that now have another parent may be missing
        below = seen
        if failure := failure_of_agent(boottime(), *heartbeat.read()):
            say(f"watchdog: {failure}: killing both")
            os.kill(agent, signal.SIGSTOP)  # it must start nothing more
            _kill(_with_start_times(descendants(agent, spared=(os.getpid(),))))
            os.kill(agent, signal.SIGKILL)
            return 1
        time.sleep(WATCH_SECONDS)
    _kill(below)
    return 0


def _with_start_times(processes: list[int]) -> dict[int, int]:
    found = {}
    for process in processes:
        with contextlib.suppress(OSError, IndexError):
            stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
            found[process] = int(stat.rpartition(")")[2].split()[19])
    return found


def _kill(processes: Mapping[int, int]) -> None:
    """SIGKILL these processes, but not later ones with the same ids."""
    now = _with_start_times(list(processes))
    for process, started in processes.items():
        if now.get(process) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
