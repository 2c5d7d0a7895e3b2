"""What the host's /proc says of a process, as far as anyone may read it: no command line and no environment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Processes:
    """The processes of this host, by their PIDs on it."""

    folder: Path = Path("/proc")

    def container(self, pid: int) -> str | None:
        """The ID of the container that a process runs in; None for one of the host itself, or that is gone."""
        found: list[str] = CONTAINER_ID.findall(self._read(pid, "cgroup"))
        return found[-1] if found else None  # of a container in a container the inner one

    def name(self, pid: int) -> str:
        """The name that a process has given itself, at most 15 characters, such as `ray::train`."""
        return self._read(pid, "comm").strip()

    def inner_pid(self, pid: int) -> int:
        """The PID of a process as it knows it itself."""
        for line in self._read(pid, "status").splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
        return pid

    def network(self, pid: int) -> dict[str, tuple[int, int, int, int]]:
        """Network interface as the process has it → bytes and packets received, bytes and packets sent."""
        found = {}
        for line in self._read(pid, "net/dev").splitlines()[2:]:
            name, _, figures = line.partition(":")
            numbers = [int(number) for number in figures.split()]
            if name.strip() != "lo" and len(numbers) >= 10:
                found[name.strip()] = (numbers[0], numbers[1], numbers[8], numbers[9])
        return found

    def _read(self, pid: int, file: str) -> str:
        try:
            return (self.folder / str(pid) / file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
