"""Heartbeat files: a program rewrites its file while it works, and its health check reads the age.

Times are on the monotonic clock, which all processes of a host share and which is never set. Standard library only,
Python 3.10 or newer.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heartbeat:
    """The heartbeat of one program of a container."""

    program: str

    @property
    def file(self) -> Path:
        """The file, in the container's memory, so that a restarted container begins without one."""
        return Path(tempfile.gettempdir()) / f"cslr-{self.program}"

    def clear(self) -> None:
        """Remove the file of an earlier process of this container."""
        self.file.unlink(missing_ok=True)

    def beat(self) -> None:
        """Write the current time."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(str(time.monotonic()), encoding="utf-8")
        draft.replace(self.file)

    def age(self) -> float | None:
        """Return seconds since the last beat; None without one."""
        try:
            return time.monotonic() - float(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
