"""Settings of the programs in Ray's containers: a node, the agent of a host that may lead, and the guard beside both.

Not what Ray's own processes and the hooks in them read (RAY_*, CSLR_SCRATCH): they have no settings but their
environment, and this document does not reach them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.gpus import NO_GPUS, Gpus
from contracts.redis import RedisAccess


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What `ray start` is told of a node, head or worker: its name, its address and ports, and what it offers."""

    name: str  # unique in the cluster: ray-cpu, or alpha-ray-cpu
    host: str = ""  # as in the cluster's list of hosts; empty where there is one host
    address: str = ""  # where other nodes reach this one; empty: Ray finds it out
    cpus: float = 1.0  # logical ones, for tasks
    gpus: Gpus = NO_GPUS
    memory: int = 0  # bytes; 0: the limit of the cgroup
    temp_dir: str = ""  # of Ray's sessions; empty: Ray's own
    ports: Mapping[str, int]  # flag of `ray start` → port (config/ports.py)


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Settings of the guard of a node's memory, process ids and scratch folder."""

    service: str
    cpus: float = 1.0
    scratch_limit: int | None = None  # bytes; None: there is no scratch folder
    dashboard: str = ""  # host:port that leads to the head's; empty: the node says it once it has joined
    token_file: Path | None = None  # Ray's token; None: Ray wants none


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Settings of a node. Over several hosts it is a worker; on one host it also takes part in the election."""

    node: NodeConfig
    guard: GuardSettings
    redis: RedisAccess  # the lease, and a head's state
    candidates: tuple[str, ...] = ()  # nodes (over several hosts: hosts) that may be head, preferred first
    static_head: str | None = None  # host:port; None: a head is elected
    gateway: str | None = None  # host:port where this host's gateway has the GCS; None: the cluster is this host alone
    health_url: str = ""  # of the health service, which knows a head; empty: do not ask
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
    state_folder: Path  # outlives the container, and is this host's alone
