"""What the kernel counts for a container, from the files of its control group, of version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoints.exporter.proc import CONTAINER_ID

UNLIMITED = 2**62  # version 1 has a number near the largest where there is no limit
# Where Docker puts the groups of containers: its own driver's place, systemd's, and one level above them.
PLACES = ("docker", "system.slice", "", "docker.slice", "machine.slice")
TICKS = 100  # USER_HZ, which is the same on all architectures that the platform runs on


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One container; None is what the kernel does not count."""

    path: str  # of its group
    cpu_seconds: float
    user_seconds: float
    system_seconds: float
    throttled_seconds: float | None
    memory: int
    working_set: int  # without the file cache that can go at once
    rss: int
    cache: int
    memory_limit: int | None
    cpu_quota: float | None  # in cores
    pids: int | None
    first_pid: int | None
    started: float  # seconds since the epoch


class Groups:
    """The control groups of this host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.version = 2 if (folder / "cgroup.controllers").exists() else 1

    def containers(self) -> Iterator[tuple[str, Figures]]:
        """The ID and the figures of each container."""
        for identifier, path in self._paths().items():
            try:
                yield identifier, self._figures(path)
            except (OSError, ValueError, LookupError):  # it ended just now
                continue

    def _paths(self) -> dict[str, Path]:
        """Container ID → path of its group below the root of a controller."""
        found: dict[str, Path] = {}
        for root in (self._root("memory"), self._root("cpuacct")):
            for place in PLACES:
                for folder in _folders(root / place):
                    identifier = CONTAINER_ID.search(folder.name)
                    if identifier:
                        found.setdefault(identifier[0], folder.relative_to(root))
        return found

    def _root(self, controller: str) -> Path:
        return self._folder if self.version == 2 else self._folder / controller

    def _figures(self, path: Path) -> Figures:
        return self._figures_2(path) if self.version == 2 else self._figures_1(path)

    def _figures_2(self, path: Path) -> Figures:
        group = self._folder / path
        cpu, memory = _table(group / "cpu.stat"), _table(group / "memory.stat")
        usage = int(_text(group / "memory.current"))
        quota = _text(group / "cpu.max").split() if (group / "cpu.max").exists() else ["max", "1"]
        return Figures(
            path=f"/{path}",
            cpu_seconds=cpu["usage_usec"] / 1e6,
            user_seconds=cpu["user_usec"] / 1e6,
            system_seconds=cpu["system_usec"] / 1e6,
            throttled_seconds=cpu["throttled_usec"] / 1e6 if "throttled_usec" in cpu else None,
            memory=usage,
            working_set=max(0, usage - memory.get("inactive_file", 0)),
            rss=memory.get("anon", 0),
            cache=memory.get("file", 0),
            memory_limit=_limit(_text(group / "memory.max")),
            cpu_quota=None if quota[0] == "max" else int(quota[0]) / int(quota[1]),
            pids=_count(group / "pids.current"),
            first_pid=_first_pid(group),
            started=group.stat().st_ctime,
        )

    def _figures_1(self, path: Path) -> Figures:
        memory, cpu, account = (self._root(name) / path for name in ("memory", "cpu", "cpuacct"))
        stat, ticks, throttled = (
            _table(memory / "memory.stat"),
            _table(account / "cpuacct.stat"),
            _table(cpu / "cpu.stat"),
        )
        usage = int(_text(memory / "memory.usage_in_bytes"))
        quota = int(_text(cpu / "cpu.cfs_quota_us"))
        return Figures(
            path=f"/{path}",
            cpu_seconds=int(_text(account / "cpuacct.usage")) / 1e9,
            user_seconds=ticks["user"] / TICKS,
            system_seconds=ticks["system"] / TICKS,
            throttled_seconds=throttled["throttled_time"] / 1e9 if "throttled_time" in throttled else None,
            memory=usage,
            working_set=max(0, usage - stat.get("total_inactive_file", 0)),
            rss=stat.get("total_rss", 0),
            cache=stat.get("total_cache", 0),
            memory_limit=_limit(_text(memory / "memory.limit_in_bytes")),
            cpu_quota=None if quota < 0 else quota / int(_text(cpu / "cpu.cfs_period_us")),
            pids=_count(self._root("pids") / path / "pids.current"),
            first_pid=_first_pid(memory),
            started=memory.stat().st_ctime,
        )


def _folders(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def _table(file: Path) -> Mapping[str, int]:
    """Lines of a name and a number; empty where the controller is not in use."""
    if not file.exists():
        return {}
    return {name: int(number) for name, number in (line.split() for line in _text(file).splitlines())}


def _limit(text: str) -> int | None:
    return None if text == "max" or int(text) > UNLIMITED else int(text)


def _count(file: Path) -> int | None:
    return int(_text(file)) if file.exists() else None


def _first_pid(group: Path) -> int | None:
    """The first process of a group, by which its network is found."""
    pids = _text(group / "cgroup.procs").split() if (group / "cgroup.procs").exists() else []
    return int(pids[0]) if pids else None
