"""Settings of the keeper's program, and what it tells the health service."""

from __future__ import annotations

from collections.abc import Mapping
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
    look: Path | None = None  # where to write a Look; None: nobody reads it


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the keeper saw when it last looked at the stack's containers."""

    time: float  # on the monotonic clock, which all processes of a host share
    services: Mapping[str, str]  # service → healthy, unhealthy, starting; or its container's state: exited, paused, …
