"""Settings of the cluster test's program: what another machine is to reach of a stack, and what not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Door:
    """An address where a service answers, or must not."""

    service: str
    host: str
    port: int
    why: str = ""  # what a connection there would mean; empty for one that is meant to be open

    def __str__(self) -> str:
        return f"{self.service} at {self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class ClusterTestSettings:
    """What the client checks. A check is skipped where `skipped` has a reason for it."""

    open: tuple[Door, ...] = ()
    closed: tuple[Door, ...] = ()
    dashboard: str = ""  # URLs, as another machine knows them; empty where it reaches none
    ray_client: str = ""  # ray://host:port
    mlflow: str = ""
    marimo: str = ""
    health: str = ""
    redis: Door | None = None
    ray_token: Path | None = None
    ray_tls: bool = False  # whether Ray has TLS of its own
    marimo_token: Path | None = None
    trusted: str = ""  # certificates as PEM, if web services have TLS
    by_address: bool = True  # whether the certificate is for the addresses in the URLs
    skipped: Mapping[str, str] = field(default_factory=dict)  # check → reason
    settle: float = 30.0  # seconds in which an answer may still become right
