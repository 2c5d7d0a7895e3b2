"""Settings of the programs in Ray's containers: a node, the agent of a host that may lead, and the guard beside both.

Ray's own processes and the hooks in them read only their environment (RAY_*, CSLR_SCRATCH), which is not part of these
settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.gpus import NO_GPUS, Gpus
from contracts.redis import RedisAccess


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Input of `ray start` for a head or a worker: name, address, ports and resources."""

    name: str  # unique in the cluster: ray-cpu, or alpha-ray-cpu
    host: str = ""  # as in the cluster's list of hosts; empty on a single host
    address: str = ""  # where other nodes reach this one; empty: Ray detects it
    cpus: float = 1.0  # logical ones, for tasks
    gpus: Gpus = NO_GPUS
    memory: int = 0  # bytes; 0: the limit of the cgroup
    datasets: tuple[str, ...] = ()  # those it mounts, each of which is a resource (contracts/datasets.py)
    temp_dir: str = ""  # for Ray's sessions; empty: Ray's default
    ports: Mapping[str, int]  # flag of `ray start` → port (config/ports.py)


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Settings of the guard of a node's memory, process ids and scratch folder."""

    service: str
    cpus: float = 1.0
    scratch_limit: int | None = None  # bytes; None: there is no scratch folder
    dashboard: str = ""  # host:port that leads to the head's; empty: the node sets it once it has joined
    token_file: Path | None = None  # Ray's token; None: Ray requires none


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Settings of a node. Over several hosts it is a worker; on one host it also takes part in the election."""

    node: NodeConfig
    guard: GuardSettings
    redis: RedisAccess  # the lease, and a head's state
    candidates: tuple[str, ...] = ()  # nodes (over several hosts: hosts) that may be head, preferred first
    static_head: str | None = None  # host:port; None: a head is elected
    gateway: str | None = None  # host:port where this host's gateway serves the GCS; None: a single host
    health_url: str = ""  # of the health service, which knows the head; empty: do not ask
    health_timeout: float = 1.0  # seconds
    deadline: float = 300.0  # seconds to find or become a head on one host


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Settings of the agent of a host that may lead; `node` is the head that it starts."""

    node: NodeConfig
    guard: GuardSettings
    redis: RedisAccess
    candidates: tuple[str, ...]  # hosts that may lead, preferred first
    static_head: str | None = None  # host:port of the only one that may lead; None: a head is elected
    state_folder: Path  # outlives the container; not shared between hosts
