"""Ray's containers: nodes, and in a cluster of several hosts also the head and the gateway to it.

Owns the containers. On one host each node decides at start whether it is the head (entrypoints/ray/node.py). In a
cluster of several, `RayHead` can run the head (entrypoints/ray/agent.py), `RayGateway` forwards to it on every host
(entrypoints/gateway/gateway.py), and nodes are always workers. Redis holds the GCS state.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.ray_limits import RAY_LIMITS
from components.service import Host, Service, dataset_mounts, distinct, extra_mounts
from components.topology import RESOLVER_OPTIONS, ClusterHost
from config.cluster import Membership
from config.datasets import DatasetSettings
from config.ports import (
    BRIDGE_RAY_PORTS,
    GATEWAY_LOOPBACK,
    GATEWAY_PORTS,
    HEAD_FLAGS,
    HEALTH,
    HOST_RAY_PORTS,
    RAY_CLIENT,
    RAY_DASHBOARD,
    RAY_GCS,
)
from config.services import RayGatewaySettings, RayHeadSettings, RayNodeSettings, RaySettings
from contracts import gateway, ray_node
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.gpus import NO_GPUS, Gpus
from contracts.ray_memory import SHM_SHARE, object_store
from contracts.redis import RedisAccess
from coordination.redis_users import READER, SECRETS
from stack.mount import Mount
from stack.programs import HOOKS_PATH, run_module
from stack.secrets import RAY_TOKEN, SECRETS_TARGET, user_id

# Share of the container's memory for DataLoaders, besides the object store: four workers with two batches of video
# clips each take 0.2 GB.
PROGRAMS_SHM = 0.15
# Ray drains for up to 30 s on SIGTERM (RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S), then its processes end.
STOP_SECONDS = 60
# How long a node of a single host looks for a head before it exits and is restarted; `up` waits a little longer.
JOIN_SECONDS = 300.0
NODE_UP_SECONDS = int(JOIN_SECONDS) + 100
# Election state that must outlive its container: the newest epoch seen, and the agent's lock.
STATE_FOLDER, STATE_TARGET = "cluster", "/var/lib/cslr"


@dataclass(frozen=True, kw_only=True)
class RayNodeArgs:
    """Plain values, already validated, and what it depends on."""

    node: RayNodeSettings
    ray: RaySettings
    host: Host
    image: pulumi.Input[str]
    candidates: tuple[str, ...]  # nodes of this host that may become head, in order; none in a cluster of several hosts
    tracking_uri: str | None  # where tasks log their runs; the node does not wait for it
    gpus: Gpus = NO_GPUS
    mounts: tuple[Mount, ...] = ()  # of services whose jobs run on the node
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    after: Sequence[pulumi.Resource] = ()


class RayNode(Service):
    """**Pulumi type** ``cslr:ray:RayNode``. Ready when its raylet (and GCS and client server, as head) are healthy."""

    def __init__(self, name: str, args: RayNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:ray:RayNode", name, deployed_on=args.host, port=RAY_CLIENT, opts=opts)
        node, host = args.node, args.host
        attachment, leads = host.topology.attachment(name), name in host.topology.leaders
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.ray.node"),
                healthcheck=Healthcheck(command=run_module("entrypoints.ray.node", "health"), start_period=120),
                cpus=node.cpus,
                memory=node.memory,
                user=node.user,
                env=Environment(
                    defaults={
                        **ray_defaults(name, host),
                        **host.topology.node_defaults,
                        **(host.panels.environment if leads else {}),
                        **(QUIET_GIT if args.tracking_uri else {}),
                    },
                    user=node.env,
                    required={
                        **ray_environment(name, host),
                        SETTINGS_VARIABLE: dump(node_settings(name, args)),
                        **({"MLFLOW_TRACKING_URI": args.tracking_uri} if args.tracking_uri else {}),
                    },
                ),
                network=attachment.network,
                hosts=attachment.hosts,
                ports=(
                    *self._publish(RAY_GCS, node.ports.gcs),
                    *self._publish(RAY_DASHBOARD, node.ports.dashboard),
                    *self._publish(RAY_CLIENT, node.ports.client),
                )
                if attachment.publishes
                else (),
                address=attachment.address,
                mounts=(
                    *distinct(*host.module("entrypoints.ray.node"), *host.ray_hooks(), *args.mounts),
                    *host.workspace.mounts,
                    *host.ray_access(node.user),
                    *host.mlflow_login(node.user),
                    *redis_users(host, node.user, leads=leads),
                    *(host.panels.mounts if leads else ()),
                    *host.env_secrets(name),
                    *dataset_mounts(name, args.datasets),
                    *extra_mounts(node.volumes),
                ),
                shm_bytes=shared_memory(node.memory, node.shm),
                programs_in_tmp=True,
                gpus=args.gpus,
                stop_seconds=STOP_SECONDS,
                wait_seconds=NODE_UP_SECONDS,
            ),
            after=args.after,
        )


@dataclass(frozen=True, kw_only=True)
class RayHeadArgs:
    """Plain values, already validated, and what it runs on."""

    settings: RayHeadSettings
    host: Host
    membership: Membership
    image: pulumi.Input[str]
    after: Sequence[pulumi.Resource] = ()


class RayHead(Service):
    """**Pulumi type** ``cslr:ray:RayHead``. Ready when it stands by or leads: the election decides, not the deployment.

    Its process is the agent that takes part in the election; the head is its child, and starts only after it has won.
    """

    def __init__(self, name: str, args: RayHeadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        port = HOST_RAY_PORTS[name]["--ray-client-server-port"]
        super().__init__("cslr:ray:RayHead", name, deployed_on=args.host, port=port, opts=opts)
        settings, host = args.settings, args.host
        attachment = host.topology.attachment(name)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.ray.agent"),
                healthcheck=Healthcheck(command=run_module("entrypoints.ray.agent", "health"), start_period=120),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    defaults={**ray_defaults(name, host), **host.panels.environment},
                    user=settings.env,
                    required={
                        **ray_environment(name, host),
                        SETTINGS_VARIABLE: dump(agent_settings(name, args)),
                    },
                ),
                network=attachment.network,
                hosts=attachment.hosts,
                mounts=(
                    *distinct(*host.module("entrypoints.ray.agent"), *host.ray_hooks()),
                    *host.workspace.mounts,
                    *host.ray_access(settings.user),
                    *host.mlflow_login(settings.user),
                    *redis_users(host, settings.user, leads=True),
                    *host.panels.mounts,
                    state_mount(host, settings.user),
                    *host.env_secrets(name),
                    *extra_mounts(settings.volumes),
                ),
                shm_bytes=shared_memory(settings.memory),
                programs_in_tmp=True,
                stop_seconds=STOP_SECONDS,
            ),
            after=args.after,
        )


@dataclass(frozen=True, kw_only=True)
class RayGatewayArgs:
    """Plain values, already validated, and what it runs on."""

    settings: RayGatewaySettings
    host: Host
    membership: Membership
    image: pulumi.Input[str]
    facts: Mapping[str, object]  # about this host, published to the others


class RayGateway(Service):
    """**Pulumi type** ``cslr:ray:RayGateway``. Ready when it listens, with or without a head.

    Not part of the head's container, because a frozen head would then cut off the workers of its own host.
    """

    def __init__(self, name: str, args: RayGatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:ray:RayGateway", name, deployed_on=args.host, port=RAY_CLIENT, opts=opts)
        settings, host, membership = args.settings, args.host, args.membership
        attachment = host.topology.attachment(name)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.gateway.gateway"),
                healthcheck=Healthcheck(
                    command=run_module("entrypoints.gateway.gateway", "health"), interval=3, start_period=30
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    defaults=RESOLVER_OPTIONS,
                    user=settings.env,
                    required={SETTINGS_VARIABLE: dump(gateway_settings(membership, args.facts))},
                ),
                network=attachment.network,
                hosts=attachment.hosts,
                mounts=(
                    *host.module("entrypoints.gateway.gateway"),
                    host.secrets.mount("redis-password", user=settings.user)
                    if own_redis(membership)
                    else host.secrets.redis_user("redis-agent", user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )


def gateway_settings(membership: Membership, facts: Mapping[str, object]) -> gateway.GatewaySettings:
    """Settings of the gateway's program."""
    own = own_redis(membership)
    # In a Redis pair, the gateway's role guard assigns the role.
    user = None if own else "redis-agent"
    return gateway.GatewaySettings(
        host=membership.host,
        address=membership.address,
        candidate=membership.candidate,
        routes=tuple(gateway_routes(membership)),
        redis=redis_access(membership.redis_addresses, membership.namespace, user),
        own_redis=own,
        static_head=static_head(membership),
        facts=facts,
    )


def gateway_routes(membership: Membership) -> Iterator[gateway.Route]:
    """The addresses on which the gateway listens, by purpose. The GCS is only for this host's own nodes."""
    for purpose, port in GATEWAY_PORTS.items():
        target = gateway.Target(purpose)
        addresses = (GATEWAY_LOOPBACK,) if target is gateway.Target.GCS else (membership.address, "127.0.0.1")
        yield gateway.Route(listen=tuple(f"{address}:{port}" for address in addresses), target=target)


def redis_access(addresses: tuple[str, ...], namespace: str, secret: str | None) -> RedisAccess:
    """A program's access to Redis, as the user of the secret; None: as the all-powerful user."""
    return RedisAccess(
        addresses=addresses,
        namespace=namespace,
        user=SECRETS[secret] if secret else "",
        password_file=Path(SECRETS_TARGET, secret or "redis-password"),
    )


def static_head(membership: Membership) -> dict[str, str]:
    """Addresses of a static head by purpose. A head on a host of the cluster has the ports of `RayHead`."""
    if membership.static_head is None:
        return {}
    host = membership.static_head.rpartition(":")[0]
    own = HOST_RAY_PORTS["ray-head"] if membership.cluster.single_head else BRIDGE_RAY_PORTS
    elsewhere = {purpose: f"{host}:{own[flag]}" for purpose, flag in HEAD_FLAGS.items()}
    return {**elsewhere, "gcs": membership.static_head}


def own_redis(membership: Membership) -> str | None:
    """This host's Redis server, if it is one of a pair: the gateway guards its role."""
    if len(membership.redis_addresses) < 2:
        return None
    return next((server for server in membership.redis_addresses if server.startswith(f"{membership.address}:")), None)


def ray_defaults(name: str, host: Host) -> Mapping[str, str]:
    """Default environment of all Ray containers; `env` overrides it."""
    return {**host.workspace.environment(name), **RAY_LIMITS, **NO_TELEMETRY, **host.topology.ray_defaults}


def node_settings(name: str, args: RayNodeArgs) -> ray_node.NodeSettings:
    """Settings of a node's program."""
    topology = args.host.topology
    node = replace(
        node_config(name, args.host, cpus=args.node.logical_cpus, memory=args.node.memory, gpus=args.gpus),
        datasets=tuple(sorted(args.datasets)),
    )
    guard = guard_settings(name, args.host, node.cpus)
    secret = "redis-agent" if name in topology.leaders else "redis-reader"
    redis = redis_access(topology.redis_addresses, topology.namespace, secret)
    if isinstance(topology, ClusterHost):
        return ray_node.NodeSettings(
            node=node,
            guard=guard,
            redis=redis,
            static_head=topology.membership.static_head,
            gateway=f"{GATEWAY_LOOPBACK}:{GATEWAY_PORTS['gcs']}",
        )
    return ray_node.NodeSettings(
        node=node,
        guard=guard,
        redis=redis,
        candidates=args.candidates,
        static_head=args.ray.head_address,
        health_url=args.ray.health_url or f"http://health:{HEALTH}",
        health_timeout=args.ray.health_timeout,
        deadline=JOIN_SECONDS,
    )


def agent_settings(name: str, args: RayHeadArgs) -> ray_node.AgentSettings:
    """Settings of the agent of a host that may lead."""
    topology = args.host.topology
    return ray_node.AgentSettings(
        node=node_config(name, args.host, cpus=0, memory=args.settings.memory, gpus=NO_GPUS),
        guard=guard_settings(name, args.host, 0),
        redis=redis_access(topology.redis_addresses, topology.namespace, "redis-agent"),
        candidates=args.membership.candidates,
        static_head=args.membership.static_head,
        state_folder=Path(STATE_TARGET),
    )


def node_config(name: str, host: Host, *, cpus: float, memory: int, gpus: Gpus) -> ray_node.NodeConfig:
    """Input of `ray start` for a node: name, address, ports and resources."""
    topology = host.topology
    return ray_node.NodeConfig(
        name=topology.node(name),
        host=topology.host,
        address=topology.address,
        cpus=cpus,
        gpus=gpus,
        memory=memory,
        temp_dir=host.workspace.ray_sessions(name),
        ports=topology.attachment(name).ports,
    )


def guard_settings(name: str, host: Host, cpus: float) -> ray_node.GuardSettings:
    """Settings of the guard beside a node."""
    return ray_node.GuardSettings(
        service=name,
        cpus=cpus,
        scratch_limit=host.workspace.scratch_limit,
        dashboard=host.topology.dashboard or "",
        token_file=Path(RAY_TOKEN["RAY_AUTH_TOKEN_PATH"]),
    )


def ray_environment(name: str, host: Host) -> Mapping[str, str]:
    """The environment that Ray's own processes, the hooks in them (entrypoints/hooks) and tasks inherit."""
    topology = host.topology
    return {
        "RAY_NODE_NAME": topology.node(name),
        "RAY_NODE_HOST": topology.host,
        "RAY_NODE_REDIS_ADDRESSES": ",".join(topology.redis_addresses),
        "RAY_NODE_REDIS_READER": READER,
        "RAY_NODE_REDIS_READER_FILE": f"{SECRETS_TARGET}/redis-reader",
        **host.ray_access_environment,
        "PYTHONPATH": HOOKS_PATH,
        **host.workspace.node_environment(name),
    }


def redis_users(host: Host, user: str, *, leads: bool) -> tuple[Mount, ...]:
    """The secrets of a Ray container's Redis users. A container that never leads takes no part in the election."""
    names = ("redis-reader", "redis-agent") if leads else ("redis-reader",)
    return tuple(host.secrets.redis_user(name, user=user) for name in names)


# Silences a long warning of MLflow's client that git is not installed.
QUIET_GIT = {"GIT_PYTHON_REFRESH": "quiet"}
# Switches off the telemetry of MLflow's client and other libraries.
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def shared_memory(memory: int, programs: int | None = None) -> int:
    """Bytes of /dev/shm: for the object store, which may take most but not all of it, and for programs."""
    return int(object_store(memory) / SHM_SHARE) + (programs or int(memory * PROGRAMS_SHM))


def state_mount(host: Host, user: str) -> Mount:
    """The host folder for state that must outlive the container."""
    return Mount(source=host.files.shared(STATE_FOLDER, uid=user_id(user)), target=STATE_TARGET)
