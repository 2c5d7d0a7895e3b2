"""Platform: one host's part of it, wired.

Owns the order: network and images first, then stores, then what needs them; each waits for the health of what it needs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pulumi

from components.firewall import Firewall, FirewallArgs
from components.health import Health, HealthArgs
from components.image_set import ImageSet, ImageSetArgs
from components.keeper import DockerSocket, Keeper, KeeperArgs
from components.marimo import Marimo, MarimoArgs
from components.mlflow import MLflow, MLflowArgs
from components.network import RayNetwork, RayNetworkArgs, fixed_address
from components.postgres import Postgres, PostgresArgs
from components.ray import RayGateway, RayGatewayArgs, RayHead, RayHeadArgs, RayNode, RayNodeArgs
from components.redis import Redis, RedisArgs, RedisReplica
from components.service import Host, Service
from components.verification import Verification, VerificationArgs
from components.workspace import Workspace, WorkspaceArgs, report_path
from config.addresses import Reach, prefix_of
from config.platform import PlatformSettings
from config.ports import MARIMO, MLFLOW, POSTGRES, RAY_CLIENT, RAY_DASHBOARD, REDIS
from config.services import RAY_NODES
from contracts.health import Kind, WatchedService
from preflight.outside import guarded
from stack import advertised_facts
from stack.env_secrets import EnvSecrets
from stack.http_proxy import HttpProxy, http_proxy
from stack.identity import StackIdentity
from stack.mount import Mount
from stack.programs import PROGRAMS_TARGET
from stack.secrets import SecretFiles
from stack.sources import Sources
from stack.state import HostFiles
from verification.expectation import Expectation
from verification.record import FILE as RECORD

LINKS = "links"  # folder of what people open
# What the health service asks inside the bridge network, beside Ray: which kind of service it is, and its port.
WATCHED = {
    "redis": (Kind.REDIS, REDIS),
    "redis-replica": (Kind.REDIS, REDIS),
    "postgres": (Kind.POSTGRES, POSTGRES),
    "mlflow": (Kind.MLFLOW, MLFLOW),
    "marimo": (Kind.MARIMO, MARIMO),
}


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """Everything that was decided before: no component reads config, environment or network."""

    settings: PlatformSettings
    identity: StackIdentity
    files: HostFiles
    secrets: SecretFiles
    env_secrets: EnvSecrets
    sources: Sources
    socket: DockerSocket | None  # of the Docker Engine; None where it is on another host
    python: str  # the interpreter of this program, for the commands that it declares
    own_addresses: tuple[str, ...] = ()  # of this host, for ports on all of them; the one that others know best first


class Platform(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:platform:Platform``. Ready when its verification has passed."""

    network: RayNetwork
    services: dict[str, Service]
    verification: Verification | None  # None: no service is there that could ask the others

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:platform:Platform", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._images = ImageSet(
            ImageSetArgs(stack=args.identity.stack, settings=args.settings, sources=args.sources, python=args.python),
            self._child,
        )
        self.services = {}
        self._declare_services(args.settings)
        self.verification = self._declare_verification()
        self.register_outputs({"services": list(self.services)})

    def urls(self) -> dict[str, str]:
        """What people open, and clients connect to, for each published service."""
        return self._links(self._args.own_addresses)

    def _links(self, own_addresses: tuple[str, ...]) -> dict[str, str]:
        settings = self._args.settings
        published = settings.services()
        if settings.membership:
            # The nodes of this host publish nothing: the cluster's dashboard is behind the gateway.
            published = (*(name for name in published if name not in (*RAY_NODES, "ray-gateway")), "ray-gateway")
        reaches = {name: settings.reach(name, own_addresses) for name in published}
        return {name: _link(name, reach) for name, reach in reaches.items() if reach}

    def _declare_services(self, settings: PlatformSettings) -> None:
        args = self._args
        network_args = RayNetworkArgs(identity=args.identity, settings=settings.network)
        self.network = network = RayNetwork("network", network_args, self._child)
        host = Host(
            identity=args.identity,
            network=network,
            files=args.files,
            secrets=args.secrets,
            env_secrets=lambda service: args.env_secrets.mounts(
                settings.env_secrets_of(service), user=settings.service(service).user
            ),
            bind_address=settings.bind_address,
            membership=settings.membership,
            workspace=Workspace("workspace", self._workspace_args(settings), self._child),
            proxy=self._proxy,
            links=Mount(source=self._write_links(), target=f"{PROGRAMS_TARGET}/{LINKS}", read_only=True),
            python=args.python,
        )
        enabled = settings.services()
        if "firewall" in enabled:
            firewall_args = FirewallArgs(
                settings=settings.firewall,
                host=host,
                image=self._images.image_id("firewall"),
                guarded=guarded(settings),
            )
            self.services["firewall"] = Firewall("firewall", firewall_args, self._child)
            host = replace(host, first=(self.services["firewall"],))  # nothing is open before it is closed
        self._declare_redis(settings, host)
        mlflow = self._declare_tracking(settings, host) if "mlflow" in enabled or "postgres" in enabled else None
        if "health" in enabled:
            health_args = HealthArgs(
                settings=settings.health,
                host=host,
                image=self._images.image_id("health"),
                watched=self._watched(),
                ray_nodes=tuple(map(self._node_name, self._nodes_heads_first())),
                scratch_reports={self._node_name(name): report_path(name) for name in settings.ray_nodes},
            )
            self.services["health"] = Health("health", health_args, self._child)
        tracking_uri = settings.membership.mlflow_url if settings.membership else mlflow.url if mlflow else None
        self._declare_head(settings, host)
        self._declare_nodes(settings, host, tracking_uri)
        if "marimo" in enabled:
            marimo_args = MarimoArgs(
                settings=settings.marimo,
                host=host,
                image=self._images.image_id("marimo"),
                ray_address=self._ray_address(),
                tracking_uri=tracking_uri,
                after=[self.services[name] for name in settings.ray_nodes] + ([mlflow] if mlflow else []),
            )
            self.services["marimo"] = Marimo("marimo", marimo_args, self._child)
        if "keeper" in enabled and args.socket:
            keeper_args = KeeperArgs(
                settings=settings.keeper, host=host, image=self._images.image_id("keeper"), socket=args.socket
            )
            self.services["keeper"] = Keeper("keeper", keeper_args, self._child)

    @property
    def _proxy(self) -> HttpProxy:
        settings = self._args.settings
        nodes = () if settings.membership else [fixed_address(settings.network, at) for at, _ in enumerate(RAY_NODES)]
        return http_proxy(settings, self._args.identity, nodes)

    def _write_links(self) -> str:
        """The folder that says by which address people open what tasks know by another one."""
        settings, own = self._args.settings, self._args.own_addresses
        reach = settings.membership.mlflow_reach if settings.membership else None
        if "mlflow" in settings.services():
            reach = settings.reach("mlflow", own)
        inside = (
            settings.membership.mlflow_url
            if settings.membership
            else f"http://mlflow:{MLFLOW}{prefix_of(settings.mlflow.base_url)}"
        )
        links = {"inside": inside, "outside": reach.link} if reach else {}
        notebooks = settings.reach("marimo", own) if "marimo" in settings.services() else None
        origins = {"origins": notebooks.origins if notebooks else ()}
        return self._args.files.open_folder(
            LINKS, {"mlflow.json": json.dumps(links), "marimo.json": json.dumps(origins)}
        )

    def _workspace_args(self, settings: PlatformSettings) -> WorkspaceArgs:
        args, users = self._args, list(settings.workspace_users.values())
        return WorkspaceArgs(
            identity=args.identity,
            files=args.files,
            scratch=settings.ray.scratch,
            scratch_limit=settings.ray.scratch_limit,
            home=settings.ray.home,
            user=users[0].user if users else settings.health.user,
            pulled=any(service.image.source == "pull" for service in users),
            package_index=settings.images.mirrors.pypi,
        )

    def _declare_redis(self, settings: PlatformSettings, host: Host) -> None:
        enabled = settings.services()
        if "redis" in enabled:
            redis_args = RedisArgs(settings=settings.redis, host=host, image=self._images.image_id("redis"))
            self.services["redis"] = Redis("redis", redis_args, self._child)
        if "redis-replica" in enabled:
            image = self._images.image_id("redis-replica")
            replica_args = RedisArgs(settings=settings.redis.replica, host=host, image=image)
            self.services["redis-replica"] = RedisReplica("redis-replica", replica_args, self._child)

    def _declare_tracking(self, settings: PlatformSettings, host: Host) -> MLflow | None:
        postgres = Postgres(
            "postgres",
            PostgresArgs(settings=settings.postgres, host=host, image=self._images.image_id("postgres")),
            self._child,
        )
        self.services["postgres"] = postgres
        if not settings.mlflow.enabled:
            return None
        args = MLflowArgs(
            settings=settings.mlflow,
            host=host,
            image=self._images.image_id("mlflow"),
            postgres=postgres,
            reach=settings.reach("mlflow", self._args.own_addresses),
        )
        mlflow = MLflow("mlflow", args, self._child)
        self.services["mlflow"] = mlflow
        return mlflow

    def _declare_head(self, settings: PlatformSettings, host: Host) -> None:
        """In a cluster of several hosts: the way to its head, and where the head may be. Neither waits for any host."""
        membership, enabled = settings.membership, settings.services()
        if membership and "ray-gateway" in enabled:
            gateway_args = RayGatewayArgs(
                settings=settings.ray.gateway,
                host=host,
                membership=membership,
                image=self._images.image_id("ray-gateway"),
                facts=advertised_facts.published(settings, self._args.identity, self._args.files),
            )
            self.services["ray-gateway"] = RayGateway("ray-gateway", gateway_args, self._child)
        if membership and "ray-head" in enabled:
            head_args = RayHeadArgs(
                settings=settings.ray.head, host=host, membership=membership, image=self._images.image_id("ray-head")
            )
            self.services["ray-head"] = RayHead("ray-head", head_args, self._child)

    def _declare_nodes(self, settings: PlatformSettings, host: Host, tracking_uri: str | None) -> None:
        """Nodes that may become head first, each after the one before it: the first finds no other and leads.

        Workers of a cluster of several hosts wait for none of each other.
        """
        before = ("redis", "redis-replica", "health", "ray-gateway", "ray-head")
        stores = [self.services[name] for name in before if name in self.services]
        started: list[Service] = []
        for name in self._nodes_heads_first():
            node_args = RayNodeArgs(
                node=settings.ray_nodes[name],
                ray=settings.ray,
                host=host,
                image=self._images.image_id(name),
                candidates=settings.head_candidates,
                tracking_uri=tracking_uri,
                position=RAY_NODES.index(name),
                gpus=settings.gpus_of(name),
                after=stores if settings.membership else [*stores, *started],
            )
            started.append(RayNode(name, node_args, self._child))
            self.services[name] = started[-1]

    def _nodes_heads_first(self) -> tuple[str, ...]:
        settings = self._args.settings
        others = tuple(name for name in settings.ray_nodes if name not in settings.head_candidates)
        return (*settings.head_candidates, *others)

    def _node_name(self, service: str) -> str:
        """What Ray calls a node of this host."""
        membership = self._args.settings.membership
        return membership.node(service) if membership else service

    def _head_hosts(self) -> tuple[str, ...]:
        """Where clients look for the head. Over several hosts that is the gateway of this one."""
        settings = self._args.settings
        if settings.membership:
            return (settings.membership.address,)
        explicit = settings.ray.head_address
        return (explicit.rpartition(":")[0],) if explicit else settings.head_candidates

    def _ray_address(self) -> str | None:
        hosts, settings = self._head_hosts(), self._args.settings
        return f"ray://{hosts[0]}:{RAY_CLIENT}" if hosts and (settings.ray_nodes or settings.membership) else None

    def _watched(self) -> tuple[WatchedService, ...]:
        # Those of ports on every address are at 127.0.0.1 here: its page puts in what its reader came by.
        urls, settings = self._links(()), self._args.settings
        found = [self._watched_service(name, urls) for name in settings.services()]
        return tuple(service for service in found if service)

    def _watched_service(self, name: str, urls: Mapping[str, str]) -> WatchedService | None:
        """A service of this host as the health service finds it; None for one that it does not ask."""
        membership = self._args.settings.membership
        if name in RAY_NODES:
            host, url = (membership.address, urls.get("ray-gateway")) if membership else (name, urls.get(name))
            return WatchedService(name=self._node_name(name), kind=Kind.RAY, host=host, port=RAY_DASHBOARD, url=url)
        if name not in WATCHED:
            return None
        kind, port = WATCHED[name]
        prefix = prefix_of(self._args.settings.base_url(name))
        return WatchedService(name=name, kind=kind, host=name, port=port, url=urls.get(name), prefix=prefix)

    def _declare_verification(self) -> Verification | None:
        args = self._args
        expectation = Expectation(
            settings=args.settings,
            identity=args.identity,
            files=args.files,
            secrets=args.secrets,
            sources=args.sources,
            services=tuple(self.services),
            head_hosts=self._head_hosts(),
            node_name=self._node_name,
            own_addresses=args.own_addresses,
            proxy=self._proxy,
        )
        client = expectation.client
        if client is None:
            return None
        verification_args = VerificationArgs(
            spec=self._images.image_id(client).apply(lambda image: expectation.spec(client, image)),
            services=list(self.services.values()),
            record=str(args.files.folder / RECORD),
            python=args.python,
        )
        return Verification("verification", verification_args, self._child)


def _link(service: str, reach: Reach) -> str:
    """What to open or connect to: a service that is no web page has no reverse proxy either."""
    scheme = {"redis": "redis", "redis-replica": "redis", "postgres": "postgresql"}.get(service)
    return f"{scheme}://{reach.address}" if scheme else reach.link
