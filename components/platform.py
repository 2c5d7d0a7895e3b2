"""Platform: creates one host's services and connects them.

Owns the order: network and images first, then stores, then the other services; each waits until the services that it
needs are healthy.
"""

from dataclasses import dataclass, replace

import pulumi

from components import addresses
from components.alert_routes import AlertSecrets
from components.alertmanager import Alertmanager, AlertmanagerArgs
from components.devel import Devel, DevelArgs
from components.exporter import Exporter, ExporterArgs
from components.firewall import Firewall, FirewallArgs
from components.grafana import Grafana, GrafanaArgs
from components.grafana_files import Panels, panels
from components.health import Health, HealthArgs
from components.image_set import ImageSet, ImageSetArgs
from components.keeper import TOLD, DockerSocket, Keeper, KeeperArgs
from components.marimo import Marimo, MarimoArgs
from components.mlflow import MLflow, MLflowArgs
from components.network import RayNetwork, RayNetworkArgs
from components.nginx_conf import FrontEnd
from components.postgres import Postgres, PostgresArgs
from components.postgres_exporter import PostgresExporter, PostgresExporterArgs
from components.prometheus import Prometheus, PrometheusArgs
from components.queue import Queue, QueueArgs
from components.ray import RayGateway, RayGatewayArgs, RayHead, RayHeadArgs, RayNode, RayNodeArgs
from components.redis import Redis, RedisArgs, RedisReplica
from components.redis_exporter import RedisExporter, RedisExporterArgs
from components.service import Host, Service
from components.tls import Tls, TlsArgs
from components.topology import ClusterHost, topology_of
from components.transcription import Transcription, TranscriptionArgs
from components.transcription_frontend import TranscriptionFrontend, TranscriptionFrontendArgs
from components.verification import Verification, VerificationArgs
from components.workspace import Workspace, WorkspaceArgs, report_path
from config.cluster import Membership
from config.notation import EVERYWHERE, NOTEBOOKS, person_of
from config.platform import PlatformSettings
from config.ports import GRAFANA, PROMETHEUS, RAY_DASHBOARD
from config.tls import web_port
from preflight.outside import guarded
from stack import advertised_facts
from stack.env_secrets import EnvSecrets
from stack.http_proxy import http_proxy
from stack.identity import StackIdentity
from stack.mount import Mount
from stack.programs import PROGRAMS_TARGET
from stack.ray_tls import RayCertificate
from stack.secrets import SecretFiles, user_id
from stack.sources import Sources
from stack.state import HostFiles
from verification.expectation import Expectation
from verification.record import FILE as RECORD

DASHBOARDS = "dashboards"  # folder to which Ray's head writes Grafana's dashboards
LINKS = "links"  # folder of files with the addresses at which people open MLflow and Marimo


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """All decisions, made beforehand: no component reads config, environment or network."""

    settings: PlatformSettings
    identity: StackIdentity
    files: HostFiles
    secrets: SecretFiles
    env_secrets: EnvSecrets
    alert_secrets: AlertSecrets  # where alerts go
    sources: Sources
    socket: DockerSocket | None  # of the Docker Engine; None where it is on another host
    python: str  # the interpreter of this program, for the commands that it declares
    hostname: str = ""  # of this host; empty where the Docker Engine is on another
    certificate: str = ""  # folder of this host with the certificate of web services; empty without TLS
    ray_certificate: RayCertificate | None = None  # of Ray's processes and clients; None without Ray's own TLS
    own_addresses: tuple[str, ...] = ()  # of this host, for ports on all addresses; the best-known one first


class Platform(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:platform:Platform``. Ready when its verification has passed."""

    network: RayNetwork
    services: dict[str, Service]
    verification: Verification | None  # None: no service could run the checks

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:platform:Platform", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._topology = topology_of(args.settings, args.identity)
        self._proxy = http_proxy(args.settings, args.identity, self._topology.node_addresses)
        self._images = ImageSet(
            ImageSetArgs(stack=args.identity.stack, settings=args.settings, sources=args.sources, python=args.python),
            self._child,
        )
        self.services = {}
        self._declare_services(args.settings)
        self.verification = self._declare_verification()
        self.register_outputs({"services": list(self.services)})

    def urls(self) -> dict[str, str]:
        """The URL of each published service, for people and clients."""
        return addresses.urls(self._args.settings, self._topology, self._args.own_addresses)

    def ssh(self) -> str | None:
        """How people log in to the devel container, if there is one."""
        return addresses.ssh(self._args.settings, self._args.identity, self._args.own_addresses)

    def _declare_services(self, settings: PlatformSettings) -> None:
        args = self._args
        network_args = RayNetworkArgs(identity=args.identity, settings=settings.network)
        self.network = network = RayNetwork("network", network_args, self._child)
        links = args.files.open_folder(LINKS, addresses.link_files(settings, self._topology, args.own_addresses))
        enabled = settings.services()
        host = Host(
            identity=args.identity,
            network=network,
            files=args.files,
            secrets=args.secrets,
            env_secrets=lambda service: args.env_secrets.mounts(
                settings.env_secrets_of(service), user=settings.service(service).user
            ),
            bind_address=settings.bind_address,
            topology=self._topology,
            workspace=Workspace("workspace", self._workspace_args(settings), self._child),
            proxy=self._proxy,
            panels=self._panels(settings) if "grafana" in enabled else Panels(),
            links=Mount(source=links, target=f"{PROGRAMS_TARGET}/{LINKS}", read_only=True),
            python=args.python,
            mlflow_logins=settings.mlflow.logins and self._topology.mlflow_url is not None,
            ray_certificate=args.ray_certificate,
            behind_tls=settings.behind_tls,
        )
        if "firewall" in enabled:
            firewall_args = FirewallArgs(
                settings=settings.firewall,
                host=host,
                image=self._images.image_id("firewall"),
                guarded=guarded(settings),
            )
            self.services["firewall"] = Firewall("firewall", firewall_args, self._child)
            host = replace(host, first=(self.services["firewall"],))  # the firewall starts before anything opens a port
        self._declare_redis(settings, host)
        mlflow = self._declare_tracking(settings, host) if "mlflow" in enabled or "postgres" in enabled else None
        if "health" in enabled:
            told, watched = self._told(), addresses.watched_services(settings, self._topology)
            health_args = HealthArgs(
                settings=settings.health,
                host=host,
                image=self._images.image_id("health"),
                watched=(*watched, *addresses.kept_services(settings)) if told else watched,
                told=told,
                ray_nodes=tuple(map(self._topology.node, self._nodes_heads_first())),
                scratch_reports={self._topology.node(name): report_path(name) for name in settings.ray_nodes},
                hostname=args.hostname,
                ray_metrics=addresses.ray_metrics(self._topology),
                peers=addresses.peers(settings),
                alertmanager=addresses.alertmanager(settings),
            )
            self.services["health"] = Health("health", health_args, self._child)
        if "queue" in enabled:
            self._declare_queue(settings, host)
        transcription = self._declare_transcription(settings, host) if "transcription" in enabled else None
        if isinstance(self._topology, ClusterHost):
            self._declare_head(settings, host, self._topology.membership)
        self._declare_nodes(settings, host, transcription.ray_mounts if transcription else ())
        self._declare_notebooks(settings, host, mlflow)
        if "devel" in enabled:
            self._declare_devel(settings, host)
        if "keeper" in enabled and args.socket:
            keeper_args = KeeperArgs(
                settings=settings.keeper,
                host=host,
                image=self._images.image_id("keeper"),
                socket=args.socket,
                told=self._told(),
            )
            self.services["keeper"] = Keeper("keeper", keeper_args, self._child)
        if "transcription-frontend" in enabled:
            frontend_args = TranscriptionFrontendArgs(
                settings=settings.transcription_frontend,
                host=host,
                image=self._images.image_id("transcription-frontend"),
            )
            self.services["transcription-frontend"] = TranscriptionFrontend(
                "transcription-frontend", frontend_args, self._child
            )
        if "exporter" in enabled:
            self._declare_exporter(settings, host)
        if "prometheus" in enabled:
            self._declare_metrics(settings, host)
        self._declare_tls(settings, host)

    def _told(self) -> str | None:
        """The folder in which the keeper lists the stack's containers; None where nobody writes or nobody reads it."""
        enabled, args = self._args.settings.services(), self._args
        if args.socket is None or "keeper" not in enabled or not {"health", "exporter"} & {*enabled}:
            return None
        return args.files.told(TOLD, uid=user_id(args.settings.keeper.user))

    def _declare_queue(self, settings: PlatformSettings, host: Host) -> None:
        args = QueueArgs(
            settings=settings.queue,
            host=host,
            image=self._images.image_id("queue"),
            postgres=self._postgres,
            tracking_uri=self._topology.mlflow_url,
            dashboards=self._dashboards(),
        )
        self.services["queue"] = Queue("queue", args, self._child)

    def _declare_notebooks(self, settings: PlatformSettings, host: Host, mlflow: MLflow | None) -> None:
        for name in settings.notebooks if settings.marimo.enabled else ():
            person = person_of(name)
            marimo_args = MarimoArgs(
                settings=settings.marimo.of(person) if person else settings.marimo,
                host=host,
                image=self._images.image_id(name),
                person=person,
                ray_address=self._topology.ray_address,
                tracking_uri=self._topology.mlflow_url,
                datasets=settings.datasets_of(name),
                after=[self.services[node] for node in settings.ray_nodes] + ([mlflow] if mlflow else []),
            )
            self.services[name] = Marimo(name, marimo_args, self._child)

    def _declare_devel(self, settings: PlatformSettings, host: Host) -> None:
        shared = self.services.get(NOTEBOOKS)
        dashboards = self._dashboards() if settings.ray_nodes else ()
        args = DevelArgs(
            settings=settings.devel,
            host=host,
            image=self._images.image_id("devel"),
            keys=settings.login_keys,
            ray_address=self._topology.ray_address,
            dashboard=dashboards[0] if dashboards else None,
            tracking_uri=self._topology.mlflow_url,
            notebooks=shared.notebooks if isinstance(shared, Marimo) else None,
            datasets=settings.datasets_of("devel"),
            after=[self.services[node] for node in settings.ray_nodes],
        )
        self.services["devel"] = Devel("devel", args, self._child)

    def _declare_transcription(self, settings: PlatformSettings, host: Host) -> Transcription:
        args = TranscriptionArgs(
            settings=settings.transcription,
            host=host,
            image=self._images.image_id("transcription"),
            gpus=settings.gpus_of("transcription"),
            tracking_uri=self._topology.mlflow_url,
            dashboards=self._dashboards(),
            datasets=settings.datasets_of("transcription"),
        )
        transcription = Transcription("transcription", args, self._child)
        self.services["transcription"] = transcription
        return transcription

    def _dashboards(self) -> tuple[str, ...]:
        """Where the dashboard of Ray's head may be (host:port)."""
        topology = self._topology
        if topology.dashboard:
            return (topology.dashboard,)
        return tuple(f"{head}:{RAY_DASHBOARD}" for head in topology.head_hosts)

    def _declare_exporter(self, settings: PlatformSettings, host: Host) -> None:
        topology = self._topology
        exporter_args = ExporterArgs(
            settings=settings.exporter,
            host=host,
            image=self._images.image_id("exporter"),
            gpus=settings.gpus_of("exporter"),
            hostname=self._args.hostname,
            told=self._told(),
            dashboards=self._dashboards() if settings.ray_nodes else (),
            nodes={name: topology.node(name) for name in settings.ray_nodes},
        )
        self.services["exporter"] = Exporter("exporter", exporter_args, self._child)

    def _panels(self, settings: PlatformSettings) -> Panels:
        own = {"grafana": ("grafana", GRAFANA), "prometheus": ("prometheus", PROMETHEUS)}
        if isinstance(self._topology, ClusterHost):  # Ray's head is on the host's network, where no name is known
            own = {name: (self._on_host(settings, name), settings.service(name).host_ports["port",]) for name in own}
        asked = {name: f"{address}:{port}" for name, (address, port) in own.items()}
        return panels(self.urls()["grafana"], self._dashboards_folder(settings), **asked)

    @staticmethod
    def _on_host(settings: PlatformSettings, service: str) -> str:
        address = settings.bind_address(service)
        return "127.0.0.1" if address in EVERYWHERE else address

    def _dashboards_folder(self, settings: PlatformSettings) -> str:
        leaders = ("ray-head",) if settings.ray.head.enabled else settings.head_candidates or ("ray-cpu",)
        return self._args.files.told(DASHBOARDS, uid=user_id(settings.service(leaders[0]).user))

    def _declare_metrics(self, settings: PlatformSettings, host: Host) -> None:
        enabled = settings.services()
        if "redis-exporter" in enabled:
            redis_args = RedisExporterArgs(
                settings=settings.metrics.redis_exporter, host=host, image=self._images.image_id("redis-exporter")
            )
            self.services["redis-exporter"] = RedisExporter("redis-exporter", redis_args, self._child)
        if "postgres-exporter" in enabled:
            postgres_args = PostgresExporterArgs(
                settings=settings.metrics.postgres_exporter, host=host, image=self._images.image_id("postgres-exporter")
            )
            self.services["postgres-exporter"] = PostgresExporter("postgres-exporter", postgres_args, self._child)
        if "alertmanager" in enabled:
            alertmanager_args = AlertmanagerArgs(
                settings=settings.metrics.alertmanager,
                host=host,
                image=self._images.image_id("alertmanager"),
                secrets=self._args.alert_secrets,
            )
            self.services["alertmanager"] = Alertmanager("alertmanager", alertmanager_args, self._child)
        prometheus_args = PrometheusArgs(
            settings=settings.metrics,
            host=host,
            image=self._images.image_id("prometheus"),
            hostname=self._args.hostname,
            services=enabled,
        )
        self.services["prometheus"] = Prometheus("prometheus", prometheus_args, self._child)
        if "grafana" in enabled:
            grafana_args = GrafanaArgs(
                settings=settings.metrics.grafana,
                host=host,
                image=self._images.image_id("grafana"),
                url=self.urls()["grafana"],
                interval=settings.metrics.interval,
                dashboards=self._dashboards_folder(settings),
            )
            self.services["grafana"] = Grafana("grafana", grafana_args, self._child)

    def _declare_tls(self, settings: PlatformSettings, host: Host) -> None:
        """Declare nginx, after all services whose ports it takes over."""
        if "tls" not in settings.services():
            return
        behind = [name for name in settings.behind_tls if name in self.services]
        front_ends = []
        for name in behind:
            reach, port = settings.reach(name, self._args.own_addresses), web_port(name)
            if reach and port:
                # Marimo takes the websocket of any page: upstream looks at no Origin there.
                origins = reach.origins if name in settings.notebooks else None
                front_ends.append(FrontEnd(service=name, port=port, published=reach.port, origins=origins))
        args = TlsArgs(
            settings=settings.tls,
            host=host,
            image=self._images.image_id("tls"),
            front_ends=tuple(front_ends),
            certificate=self._args.certificate,
            after=[self.services[name] for name in behind],
        )
        self.services["tls"] = Tls("tls", args, self._child)

    def _workspace_args(self, settings: PlatformSettings) -> WorkspaceArgs:
        args, users = self._args, list(settings.workspace_users.values())
        return WorkspaceArgs(
            identity=args.identity,
            files=args.files,
            scratch=settings.ray.scratch,
            scratch_limit=settings.ray.scratch_limit,
            home=settings.ray.home,
            checkpoints=settings.ray.checkpoints_folder,
            storage_path=settings.ray.storage_path,
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
        self._postgres = postgres = Postgres(
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

    def _declare_head(self, settings: PlatformSettings, host: Host, membership: Membership) -> None:
        """Declare the gateway to a cluster's head, and the head if this host may lead; neither waits for others."""
        enabled = settings.services()
        if "ray-gateway" in enabled:
            gateway_args = RayGatewayArgs(
                settings=settings.ray.gateway,
                host=host,
                membership=membership,
                image=self._images.image_id("ray-gateway"),
                facts=advertised_facts.published(settings, self._args.identity, self._args.files),
            )
            self.services["ray-gateway"] = RayGateway("ray-gateway", gateway_args, self._child)
        if "ray-head" in enabled:
            head_args = RayHeadArgs(
                settings=settings.ray.head, host=host, membership=membership, image=self._images.image_id("ray-head")
            )
            self.services["ray-head"] = RayHead("ray-head", head_args, self._child)

    def _declare_nodes(self, settings: PlatformSettings, host: Host, mounts: tuple[Mount, ...]) -> None:
        """Declare the nodes, head candidates first. On a single host each waits for the previous: the first leads.

        Workers of a cluster start in parallel.
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
                tracking_uri=self._topology.mlflow_url,
                gpus=settings.gpus_of(name),
                mounts=mounts,
                datasets=settings.datasets_of(name),
                after=[*stores, *started] if self._topology.first_node_leads else stores,
            )
            started.append(RayNode(name, node_args, self._child))
            self.services[name] = started[-1]

    def _nodes_heads_first(self) -> tuple[str, ...]:
        settings = self._args.settings
        others = tuple(name for name in settings.ray_nodes if name not in settings.head_candidates)
        return (*settings.head_candidates, *others)

    def _declare_verification(self) -> Verification | None:
        args = self._args
        expectation = Expectation(
            settings=args.settings,
            identity=args.identity,
            files=args.files,
            secrets=args.secrets,
            sources=args.sources,
            services=tuple(self.services),
            head_hosts=self._topology.head_hosts,
            node_name=self._topology.node,
            own_addresses=args.own_addresses,
            proxy=self._proxy,
            ray_certificate=args.ray_certificate,
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
