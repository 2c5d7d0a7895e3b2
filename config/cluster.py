"""Stack config of a cluster over several hosts: the object ``cslr:cluster``, the same in the stack of each host.

Owns the model, and what follows from it for one host. ``cluster_file.py`` finds it and checks its keys against each
other; ``preflight/cluster.py`` checks what else the hosts must agree on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from config.addresses import Reach
from config.datasets import ClusterDatasetSettings, DatasetSettings
from config.ports import HOST_RAY_PORTS
from config.services import ProxyAddress, Settings
from config.types import (
    AsMapping,
    AsTuple,
    ClusterName,
    DatasetName,
    HeadAddress,
    HostName,
    HostPort,
    LanAddress,
    ReachedName,
)

KEY = "cslr:cluster"
HOST_KEY = "cslr:host"
REAL_GCS = HOST_RAY_PORTS["ray-head"]["--port"]


class ClusterSsh(Settings):
    """How `ws cluster up` works on a host."""

    destination: str | None = Field(
        default=None,
        pattern=r"^[^\s-]\S*$",  # no option of ssh
        description="OpenSSH's destination: `user@host`, or a name of its config. Unset: the host's address.",
        examples=["ops@alpha.example.org"],
    )
    folder: str | None = Field(
        default=None,
        pattern=r"^/",
        description="Folder of the project on the host. Unset: as on the host on which `ws cluster up` runs.",
        examples=["/srv/platform"],
    )
    stack: str | None = Field(
        default=None, pattern=r"^[\w.][\w.-]*$", description="Name of the host's stack. Unset: the host's name."
    )


class ClusterHost(Settings):
    """A host of the cluster."""

    address: LanAddress = Field(
        description="IPv4 address in the network that the hosts share.", examples=["192.168.1.10"]
    )
    names: Annotated[tuple[ReachedName, ...], AsTuple] = Field(
        default=(), description="Names by which people reach it, such as `alpha.example.org`."
    )
    ssh: ClusterSsh = Field(default=ClusterSsh(), description="How `ws cluster up` works on it.")


class ClusterRedis(Settings):
    """Where the cluster's state is kept."""

    host: HostName = Field(description="The host that runs Redis.", examples=["gamma"])
    replica: HostName | None = Field(
        default=None,
        description="Host of the Redis replica. Unset: if Redis's host is lost, so is the cluster's state.",
    )
    port: HostPort = Field(default=6381, description="Port of Redis on its host's address.")
    replica_port: HostPort = Field(default=6382, description="Port of the replica on its host's address.")


class ClusterMLflow(Settings):
    """Where experiments are tracked; without it, nowhere."""

    host: HostName = Field(
        description="The host that runs MLflow and its Postgres. Without `mlflow`, no experiments are tracked.",
        examples=["gamma"],
    )
    port: HostPort = Field(default=5000, description="Port of MLflow on its host's address.")
    base_url: ProxyAddress = None
    logins: bool = Field(
        default=False,
        description="Whether MLflow asks who is there: people have accounts by `ws user add` on its host, tasks and "
        "notebooks use one of the platform (docs/mlflow-logins.md).",
    )


class ClusterSettings(Settings):
    """One Ray cluster over several hosts. Each host deploys a stack of its own, and all share this block."""

    topology: Literal["lan", "single"] = Field(
        default="lan",
        description="`lan`: Ray uses the network of the hosts. `single`: a host on its own, as without a cluster file.",
    )
    name: ClusterName = Field(description="Name of the cluster.", examples=["lab"])
    hosts: Annotated[dict[HostName, ClusterHost], AsMapping] = Field(
        description="All hosts: name → `address`.", examples=[{"alpha": {"address": "192.168.1.10"}}]
    )
    head_whitelist: Annotated[tuple[str, ...], AsTuple] | None = Field(
        default=None, description="Hosts that may lead, in order of preference. Unset: all, in the order above."
    )
    head_address: HeadAddress | None = Field(
        default=None,
        description="`host:port` of a static head's GCS, which turns the election off. Unset: the hosts elect one.",
    )
    redis: ClusterRedis = Field(examples=[{"host": "gamma"}])
    mlflow: ClusterMLflow | None = Field(default=None, description="Unset: experiments are not tracked.")
    datasets: Annotated[dict[DatasetName, ClusterDatasetSettings], AsMapping] = Field(
        default={},
        description="Folders that nodes, notebooks and transcription have at `/data/NAME`: name → `source`, `hosts`, "
        "`read_only` (docs/datasets.md).",
    )

    @property
    def single_head(self) -> str | None:
        """The host of the cluster that `head_address` names; None without one, or where the head is elsewhere."""
        wanted = (self.head_address or "").rpartition(":")[0]
        return next((name for name, host in self.hosts.items() if wanted in (name, host.address)), None)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Hosts that may lead, the preferred one first."""
        if self.head_address:
            return (self.single_head,) if self.single_head else ()
        return tuple(self.hosts) if self.head_whitelist is None else self.head_whitelist

    def holders(self, dataset: str) -> tuple[str, ...]:
        """Hosts that hold a dataset."""
        hosts = self.datasets[dataset].hosts
        return tuple(self.hosts) if hosts is None else hosts


# Service → the host of a cluster that runs it, where the cluster and not the stack decides that.
_HOSTS_OF: Mapping[str, Callable[[ClusterSettings], tuple[str | None, ...]]] = {
    "redis": lambda cluster: (cluster.redis.host,),
    "redis-replica": lambda cluster: (cluster.redis.replica,),
    "postgres": lambda cluster: (cluster.mlflow.host,) if cluster.mlflow else (),
    "mlflow": lambda cluster: (cluster.mlflow.host,) if cluster.mlflow else (),
    "ray-gateway": lambda cluster: tuple(cluster.hosts),
    "ray-head": lambda cluster: cluster.candidates,
}
CLUSTER_SERVICES = tuple(_HOSTS_OF)
ON_THE_LAN = ("redis", "redis-replica", "mlflow")  # what other hosts connect to, besides Ray
# Published on a host's address in the cluster. The port of the queue is the stack's own decision.
OPEN_TO_HOSTS = (*ON_THE_LAN, "queue")


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One host's entry in its cluster of several hosts, and what follows from it."""

    cluster: ClusterSettings
    host: str  # one of the cluster's
    file: str  # that holds the block, and that its errors name
    key: str  # below which it is in there; empty: the file is the block

    def names(self, key: str) -> str:
        """Where the file has a key of the cluster."""
        return f"{self.key}.{key} in {self.file}" if self.key else f"{key} in {self.file}"

    @property
    def address(self) -> str:
        """This host's address in the network that the hosts share."""
        return self.cluster.hosts[self.host].address

    @property
    def peers(self) -> dict[str, str]:
        """The other hosts' addresses by name."""
        return {name: host.address for name, host in self.cluster.hosts.items() if name != self.host}

    @property
    def candidates(self) -> tuple[str, ...]:
        """Hosts that may lead, the preferred one first."""
        return self.cluster.candidates

    @property
    def candidate(self) -> bool:
        """Whether this host may lead."""
        return self.host in self.candidates

    @property
    def static_head(self) -> str | None:
        """Address and port of the static head's GCS; None if the hosts elect the head."""
        if self.cluster.head_address is None:
            return None
        name, _, port = self.cluster.head_address.rpartition(":")
        host = self.cluster.hosts.get(name)
        return f"{host.address if host else name}:{port}"

    @property
    def redis_host(self) -> str:
        """The host that runs Redis."""
        return self.cluster.redis.host

    @property
    def redis_addresses(self) -> tuple[str, ...]:
        """Addresses of Redis, as host:port: where it was deployed first, then its replica."""
        hosts, redis = self.cluster.hosts, self.cluster.redis
        primary = f"{hosts[redis.host].address}:{redis.port}"
        return (primary, f"{hosts[redis.replica].address}:{redis.replica_port}") if redis.replica else (primary,)

    @property
    def mlflow_url(self) -> str | None:
        """Where the cluster's experiments are tracked."""
        reach = self.mlflow_reach
        return f"http://{reach.addresses[0]}:{reach.port}{reach.prefix}" if reach else None

    @property
    def mlflow_reach(self) -> Reach | None:
        """How people reach MLflow, as far as the cluster file says it."""
        mlflow = self.cluster.mlflow
        if mlflow is None:
            return None
        host = self.cluster.hosts[mlflow.host]
        return Reach(port=mlflow.port, addresses=(host.address,), names=host.names, base_url=mlflow.base_url)

    @property
    def namespace(self) -> str:
        """The part of all keys in Redis that is this cluster's."""
        return f"cslr-{self.cluster.name}"

    @property
    def datasets(self) -> dict[str, DatasetSettings]:
        """The datasets that this host holds, by name."""
        cluster = self.cluster
        return {name: each.held for name, each in cluster.datasets.items() if self.host in cluster.holders(name)}

    def runs(self, service: str) -> bool:
        """Whether the cluster has this host run the service; it has nothing against one that each stack decides on."""
        hosts_of = _HOSTS_OF.get(service)
        return hosts_of is None or self.host in hosts_of(self.cluster)

    def hosts_of(self, service: str) -> tuple[str, ...]:
        """The hosts that run a service of `CLUSTER_SERVICES`."""
        return tuple(host for host in _HOSTS_OF[service](self.cluster) if host)

    def node(self, service: str) -> str:
        """The Ray name of this host's node: ``alpha-ray-cpu``."""
        return f"{self.host}-{service}"
