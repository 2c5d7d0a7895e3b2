"""Settings of the health service's program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Kind(enum.Enum):
    """The kind of a service, which selects its probe."""

    REDIS = "redis"
    POSTGRES = "postgres"
    MLFLOW = "mlflow"
    MARIMO = "marimo"
    EXPORTER = "exporter"
    QUEUE = "queue"
    DEVEL = "devel"
    TRANSCRIPTION = "transcription"
    TRANSCRIPTION_FRONTEND = "transcription-frontend"
    PROMETHEUS = "prometheus"
    ALERTMANAGER = "alertmanager"
    GRAFANA = "grafana"
    KEEPER = "keeper"
    FIREWALL = "firewall"
    TLS = "tls"
    RAY = "ray"


@dataclass(frozen=True, kw_only=True)
class WatchedService:
    """A service that must answer, at host:port inside the network, for the platform to be healthy.

    Keeper and firewall are at none: the keeper writes a file.
    """

    name: str
    kind: Kind
    host: str
    port: int
    url: str | None = None  # where people reach it; None when not published
    prefix: str = ""  # path prefix, if a reverse proxy serves it below one


@dataclass(frozen=True, kw_only=True)
class Election:
    """Location of the election's state, and the hosts that may lead."""

    namespace: str  # in Redis
    host: str  # this host, as in the cluster's list; empty on a single host
    redis_addresses: tuple[str, ...]  # host:port
    whitelist: tuple[str, ...] = ()  # hosts that may lead
    static_head: str | None = None  # host:port, if the head is not elected


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """Services to probe, with their addresses and deadlines."""

    stack: str
    services: tuple[WatchedService, ...] = ()
    ray_nodes: tuple[str, ...] = ()  # expected nodes, those that may be head first
    ray_dashboard: str | None = None  # host:port that leads to the head's; None: every expected node is asked
    election: Election | None = None
    scratch_reports: Mapping[str, Path] = field(default_factory=dict)  # Ray node → its guard's scratch report
    look: Path | None = None  # what the keeper saw (contracts/keeper.py); None: there is no keeper
    secrets: Path = Path("/run/secrets")
    port: int = 8888
    host: str = ""  # of this health service, on the series of its targets
    ray_metrics: Mapping[str, int] = field(default_factory=dict)  # end of a Ray node's name → port of its figures
    peers: Mapping[str, int] = field(default_factory=dict)  # job of Prometheus → its port on each host of the cluster
    disks: Mapping[str, Path] = field(default_factory=dict)  # name → a folder on it
    facts: tuple[Path, ...] = ()  # folders with documents of contracts/facts.py
    alertmanager: str | None = None  # host:port; None: this host has none
    deadline: float = 2.0  # seconds for all probes of a round
    charts_deadline: float = 20.0  # seconds for all charts of a range: Prometheus reads a week from its disk
