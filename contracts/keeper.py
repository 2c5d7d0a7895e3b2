"""Settings of the keeper's program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class KeeperSettings:
    """The stack whose containers to watch, and the Docker Engine that runs them."""

    project: str
    stack: str
    service: str  # its own, which it leaves alone
    socket: Path
    containers: Path | None = None  # where to write contracts/exporter.py's list of them; None: nobody reads it
