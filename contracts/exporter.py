"""Settings of the exporter's program, and the list of containers that the keeper writes for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RayDashboard:
    """Where the cluster's tasks and actors are asked for: dashboards, of which the head's answers."""

    addresses: tuple[str, ...]  # host:port
    token: Path
    nodes: Mapping[str, str] = field(default_factory=dict)  # service of this host → what Ray calls its node


@dataclass(frozen=True, kw_only=True)
class ExporterSettings:
    """What to look at, and how often. The defaults are those of a container without any mount."""

    hostname: str | None = None  # None: the container's
    gpus_expected: int | None = None  # None: as many as have been seen
    demo_gpus: int = 0  # invented GPUs to show in place of real ones
    containers: Path | None = None  # the keeper's list; None: all containers count, and only their IDs are known
    ray: RayDashboard | None = None
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    node_exporter: Path | None = Path("/usr/bin/prometheus-node-exporter")  # None: no figures of the host
    node_port: int = 9100  # of node_exporter, on the loopback
    port: int = 8080
    interval: float = 5.0  # seconds from one collection to the next
    deadline: float = 10.0  # seconds for one collection of the GPUs


@dataclass(frozen=True, kw_only=True)
class ListedContainer:
    """A running container of the stack."""

    identifier: str  # Docker's, 64 characters
    name: str
    service: str
    image: str
    host_network: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerList:
    """The stack's running containers."""

    containers: tuple[ListedContainer, ...] = ()
