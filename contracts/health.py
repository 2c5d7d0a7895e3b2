"""Settings of the health service's program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Kind(enum.Enum):
    """Which probe a service is asked with."""

    REDIS = "redis"
    POSTGRES = "postgres"
    MLFLOW = "mlflow"
    MARIMO = "marimo"
    EXPORTER = "exporter"
    TRANSCRIPTION_FRONTEND = "transcription-frontend"
    RAY = "ray"


@dataclass(frozen=True, kw_only=True)
class WatchedService:
    """A service that must answer, at host:port inside the network, for the platform to be healthy."""

    name: str
    kind: Kind
    host: str
    port: int
    url: str | None = None  # where people reach it; None when not published
    prefix: str = ""  # before all its paths, where a reverse proxy has it below one


@dataclass(frozen=True, kw_only=True)
class Election:
    """Where the election's state is, and who may lead."""

    namespace: str  # in Redis
    host: str  # this one, as in the cluster's list; empty where there is one host
    redis_addresses: tuple[str, ...]  # host:port
    whitelist: tuple[str, ...] = ()  # hosts that may lead
    static_head: str | None = None  # host:port, where nobody is elected


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """What to ask, and how."""

    stack: str
    services: tuple[WatchedService, ...] = ()
    ray_nodes: tuple[str, ...] = ()  # expected nodes, those that may be head first
    ray_dashboard: str | None = None  # host:port that leads to the head's; None: every expected node is asked
    election: Election | None = None
    scratch_reports: Mapping[str, Path] = field(default_factory=dict)  # Ray node → what its guard says of its scratch
    secrets: Path = Path("/run/secrets")
    port: int = 8888
    deadline: float = 2.0  # seconds for all questions of a round
