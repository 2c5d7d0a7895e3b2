"""The health service's report at ``/status``: the schema shared by the service and all readers.

A report names its schema version, and a reader refuses any other: during an upgrade, the older health container answers
until `ws up` has replaced it. Raise SCHEMA_VERSION with every change of a field or of a reason.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

from contracts.document import DocumentError, decode, encode

SCHEMA_VERSION = 1


class State(enum.Enum):
    """Whether a service works."""

    UP = "up"
    STARTING = "starting"
    DOWN = "down"


class Overall(enum.Enum):
    """Whether the platform works: everything configured is up."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class HostState(enum.Enum):
    """Whether a host of the cluster reports."""

    UP = "up"
    MAINTENANCE = "maintenance"
    DOWN = "down"


class Reason(enum.Enum):
    """Why a service is not up, or has a warning."""

    # any service
    STARTING = "starting"  # it answers that it is not ready yet
    UNREACHABLE = "unreachable"  # the connection is refused, reset or has no route
    NAME_UNKNOWN = "name_unknown"  # its name does not resolve: on a Docker network, the container does not run
    TIMEOUT = "timeout"  # it did not answer within the deadline
    WRONG_ANSWER = "wrong_answer"  # it answers with an error, or not as this kind of service does
    ACCESS_DENIED = "access_denied"  # it refuses the platform's own password or token
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a reason, not a secret
    FAILED = "failed"  # the probe itself failed in another way
    # Redis
    MEMORY_FULL = "memory_full"  # it will soon refuse writes
    MEMORY_HIGH = "memory_high"
    CANNOT_WRITE = "cannot_write"  # it cannot write its append-only file, for example because the disk is full
    REWRITE_FAILED = "rewrite_failed"
    # Ray
    NO_HEAD = "no_head"
    TWO_HEADS = "two_heads"
    NOT_JOINED = "not_joined"  # the cluster has never known the node
    NODE_DEAD = "node_dead"
    SCRATCH_FULL = "scratch_full"
    SCRATCH_HIGH = "scratch_high"
    SCRATCH_UNKNOWN = "scratch_unknown"  # its guard has not measured it for a long time
    # the election
    REDIS_UNREACHABLE = "redis_unreachable"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Usage of a limited resource, in bytes."""

    name: str
    used: int
    limit: int


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service: latency_ms of all its probe's questions together; error and warning are clauses for people."""

    name: str
    kind: str
    state: State
    latency_ms: float | None
    version: str | None
    url: str | None
    reason: Reason | None = None  # of the error
    error: str | None = None
    usage: tuple[Usage, ...] = ()
    warning_reason: Reason | None = None
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One Ray node as the GCS knows it; memory and object_store_memory in bytes. Without node_id it never joined."""

    name: str
    alive: bool
    expected: bool
    node_id: str | None = None
    address: str | None = None
    role: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    version: str | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class HeadStatus:
    """The node that leads: address is where a worker joins, dashboard where people look (None when not published)."""

    node: str
    address: str
    dashboard: str | None


@dataclass(frozen=True, kw_only=True)
class RayStatus:
    """The Ray cluster; head is None if no candidate leads."""

    head: HeadStatus | None
    nodes: tuple[NodeStatus, ...]
    latency_ms: float | None
    reason: Reason | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class HostStatus:
    """A host of the cluster as its gateway reported it; sees_head is None while there is no head."""

    name: str
    address: str
    state: HostState
    candidate: bool
    sees_head: bool | None
    last_seen: float  # seconds ago


@dataclass(frozen=True, kw_only=True)
class HeadEvent:
    """Something that happened to the head; time in UTC."""

    time: str
    epoch: int
    host: str
    event: str


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """The election of the head; host is this one. Without a head, reason and error say why."""

    namespace: str
    host: str
    election: str  # "on", or "off: ..."
    head: str | None = None
    epoch: int | None = None
    since: str | None = None
    hosts: tuple[HostStatus, ...] = ()
    history: tuple[HeadEvent, ...] = ()
    reason: Reason | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """The results of one round of probes; time in UTC. cluster is None if nothing is known about an election."""

    time: str
    stack: str
    services: tuple[ServiceStatus, ...]
    ray: RayStatus
    cluster: ClusterStatus | None = None

    @property
    def state(self) -> Overall:
        """Healthy when nothing is down."""
        return Overall.UNHEALTHY if self.down else Overall.HEALTHY

    @property
    def down(self) -> list[str]:
        """Names of services and expected Ray nodes that are not up; `ray` if only the cluster itself has a fault."""
        names = [service.name for service in self.services if service.state is not State.UP]
        names += [name for name in self._missing if name not in names]
        return names or (["ray"] if self.ray.error else [])

    @property
    def _missing(self) -> list[str]:
        alive = {node.name for node in self.ray.nodes if node.alive}
        return [node.name for node in self.ray.nodes if node.expected and node.name not in alive]

    def service(self, name: str) -> ServiceStatus | None:
        """Return the status of a service."""
        return next((service for service in self.services if service.name == name), None)

    def to_json(self) -> str:
        """Return the report as ``/status`` serves it: schema_version and state first, then the fields of this class."""
        report = {"schema_version": SCHEMA_VERSION, "state": self.state.value, **encode(self)}
        return json.dumps(report, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Status:
        """Return the report that a health service served; raises DocumentError, and its OtherVersionError."""
        try:
            report = json.loads(text)
        except ValueError as error:
            raise DocumentError(f"the health service's report is not JSON: {error}") from None
        if not isinstance(report, dict) or not {"services", "ray"} <= report.keys():
            raise DocumentError("the answer is not a report of a health service")
        version = report.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise OtherVersionError(version)
        report.pop("state", None)  # follows from the rest
        return decode(cls, report)


class OtherVersionError(DocumentError):
    """The report has another schema version, so it comes from another version of the platform."""

    def __init__(self, version: object) -> None:
        found = "no version" if version is None else f"version {version}"
        super().__init__(
            f"the health service was deployed by another version of the platform: its report has {found} of the "
            f"schema, and this program reads version {SCHEMA_VERSION}; `ws up` replaces it"
        )
