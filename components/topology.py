"""Topology of the Ray cluster: a single host with a bridge network, or a host of a cluster of several.

Components ask the topology instead of branching on a cluster membership. Plain values only; no resources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from components.docker import NetworkKind
from components.network import fixed_address
from config.addresses import Reach, prefix_of
from config.cluster import Membership
from config.platform import PlatformSettings
from config.ports import BRIDGE_RAY_PORTS, GATEWAY_PORTS, HOST_RAY_PORTS, MLFLOW, RAY_CLIENT, REDIS
from config.services import RAY_NODES
from contracts import health
from stack.identity import StackIdentity

# The host network lacks Docker's own resolver. If the host's resolver is dead, Ray takes 20 s longer to start, and the
# firewall waits as long for each host name before it sets its first rule.
RESOLVER_OPTIONS = {"RES_OPTIONS": "timeout:1 attempts:1"}
# The next head follows a lost one within seconds, and until then the gateway refuses at once: so nodes and their
# programs retry sooner than after Ray's 2 s, and notice it sooner than after 1 s (ray_config_def.h).
FAST_RECONNECT = {
    "RAY_gcs_grpc_max_reconnect_backoff_ms": "500",
    "RAY_grpc_client_check_connection_status_interval_milliseconds": "250",
}


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """How a container of Ray is on the network."""

    network: NetworkKind
    ports: Mapping[str, int]  # of Ray: flag of `ray start` → port
    hosts: Mapping[str, str] = field(default_factory=dict)  # names known without a resolver → address
    address: str | None = None  # fixed one on the bridge
    publishes: bool = False  # whether its ports need publishing on the host


class Topology(Protocol):
    """The differences between a single host and a cluster of several."""

    kind: Literal["single", "lan"]  # as in the cluster file
    host: str  # this host's name in the cluster; empty on a single host
    address: str  # where nodes of other hosts reach this host's nodes; empty on a single host
    namespace: str  # prefix of this cluster's keys in Redis, which other clusters may share
    redis_addresses: tuple[str, ...]  # the cluster's Redis servers (host:port): the deployed primary, then its replica
    election: health.Election  # location of the lease
    leaders: tuple[str, ...]  # the nodes of this host that may become head
    head_hosts: tuple[str, ...]  # where clients look for the head
    ray_address: str | None  # for clients on this host (ray://host:port); None: there is no Ray
    dashboard: str | None  # fixed address of the head's dashboard (host:port); None: on the node that is head
    mlflow_url: str | None  # where tasks and notebooks log their runs; None: nowhere
    node_addresses: tuple[str, ...]  # of this host's nodes, if they have their own
    first_node_leads: bool  # start nodes one after another, so that the first finds no head and leads
    ray_defaults: Mapping[str, str]  # environment of all Ray containers; the user's overrides it
    node_defaults: Mapping[str, str]  # additional environment of nodes

    def node(self, service: str) -> str:
        """The Ray name of a node of this host."""

    def attachment(self, service: str) -> Attachment:
        """How a container of Ray is on the network."""

    def linked(self, services: Sequence[str]) -> tuple[str, ...]:
        """The subset of the services to which people get a link."""

    def dashboard_of(self, node: str) -> tuple[str, str]:
        """The host of the dashboard that shows a node, and the service that links to it."""

    def reach_of_mlflow(self, own: Reach | None) -> Reach | None:
        """How people reach MLflow. `own`: how they reach this host's MLflow, if it runs one."""


class SingleHost:
    """The cluster is this host alone. Its nodes elect the head among themselves."""

    def __init__(self, settings: PlatformSettings, identity: StackIdentity) -> None:
        static_head, mlflow = settings.ray.head_address, settings.mlflow
        self._network = settings.network
        self.kind: Literal["single", "lan"] = "single"
        self.host = self.address = ""
        self.namespace = identity.prefix
        self.redis_addresses: tuple[str, ...] = (f"redis:{REDIS}",)
        self.election = health.Election(namespace=self.namespace, host="", redis_addresses=self.redis_addresses)
        self.head_hosts = (static_head.rpartition(":")[0],) if static_head else settings.head_candidates
        self.leaders = self.head_hosts
        has_ray = self.head_hosts and settings.ray_nodes
        self.ray_address = f"ray://{self.head_hosts[0]}:{RAY_CLIENT}" if has_ray else None
        self.dashboard: str | None = None
        self.mlflow_url = f"http://mlflow:{MLFLOW}{prefix_of(mlflow.base_url)}" if mlflow.enabled else None
        self.node_addresses = tuple(map(self._address, RAY_NODES))
        self.first_node_leads = True
        self.ray_defaults: Mapping[str, str] = {}
        self.node_defaults: Mapping[str, str] = {}

    def _address(self, node: str) -> str:
        return fixed_address(self._network, RAY_NODES.index(node))

    def node(self, service: str) -> str:
        """Its service's name."""
        return service

    def attachment(self, service: str) -> Attachment:
        """On the bridge, with a fixed address, so that a restarted head finds its own one free."""
        return Attachment(network="bridge", ports=BRIDGE_RAY_PORTS, address=self._address(service), publishes=True)

    def linked(self, services: Sequence[str]) -> tuple[str, ...]:
        """All published ones."""
        return tuple(services)

    def dashboard_of(self, node: str) -> tuple[str, str]:
        """The node's own, since it may be the head."""
        return node, node

    def reach_of_mlflow(self, own: Reach | None) -> Reach | None:
        """That of this host."""
        return own


class ClusterHost:
    """A host of a cluster of several. Its nodes are workers, and a gateway leads to the head, wherever it runs."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.kind: Literal["single", "lan"] = "lan"
        self.host, self.address = membership.host, membership.address
        self.namespace = membership.namespace
        self.redis_addresses = membership.redis_addresses
        self.election = health.Election(
            namespace=self.namespace,
            host=membership.host,
            redis_addresses=self.redis_addresses,
            whitelist=membership.candidates,
            static_head=membership.static_head,
        )
        self.leaders: tuple[str, ...] = ()  # the head runs in a container of its own
        self.head_hosts: tuple[str, ...] = (membership.address,)  # of the gateway
        self.ray_address: str | None = f"ray://{membership.address}:{RAY_CLIENT}"
        self.dashboard: str | None = f"{membership.address}:{GATEWAY_PORTS['dashboard']}"
        self.mlflow_url = membership.mlflow_url
        self.node_addresses: tuple[str, ...] = ()
        self.first_node_leads = False
        self.ray_defaults: Mapping[str, str] = RESOLVER_OPTIONS
        self.node_defaults: Mapping[str, str] = FAST_RECONNECT

    def node(self, service: str) -> str:
        """The host's name, followed by the service's."""
        return self.membership.node(service)

    def attachment(self, service: str) -> Attachment:
        """On the host network, where no resolver knows the container's own name."""
        return Attachment(
            network="host", ports=HOST_RAY_PORTS.get(service, {}), hosts={service: self.membership.address}
        )

    def linked(self, services: Sequence[str]) -> tuple[str, ...]:
        """The nodes of this host publish nothing: the cluster's dashboard is behind the gateway."""
        return (*(name for name in services if name not in (*RAY_NODES, "ray-gateway")), "ray-gateway")

    def dashboard_of(self, node: str) -> tuple[str, str]:  # noqa: ARG002 (the same for all)
        """The cluster's, behind the gateway."""
        return self.membership.address, "ray-gateway"

    def reach_of_mlflow(self, own: Reach | None) -> Reach | None:
        """If another host runs it, as the cluster file says."""
        return own or self.membership.mlflow_reach


def topology_of(settings: PlatformSettings, identity: StackIdentity) -> Topology:
    """The topology that the settings describe."""
    membership = settings.membership
    return ClusterHost(membership) if membership else SingleHost(settings, identity)
