"""Platform: one host's part of it, wired.

Owns the order: network and images first, then stores, then what needs them; each waits for the health of what it needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.docker import GpuRequest
from components.expectation import Expectation
from components.files import HostFiles
from components.health import Health, HealthArgs, WatchedService
from components.identity import StackIdentity
from components.image_set import ImageSet, ImageSetArgs
from components.marimo import Marimo, MarimoArgs
from components.mlflow import MLflow, MLflowArgs
from components.network import RayNetwork, RayNetworkArgs
from components.ports import HEALTH, MARIMO, MLFLOW, POSTGRES, RAY_CLIENT, RAY_DASHBOARD, REDIS
from components.postgres import Postgres, PostgresArgs
from components.ray import RayNode, RayNodeArgs
from components.redis import Redis, RedisArgs
from components.secrets import SecretFiles
from components.service import Host, Service
from components.service_settings import RAY_NODES
from components.settings import PlatformSettings
from components.sources import Sources
from components.verification import Verification, VerificationArgs

INTERNAL_PORTS = {"redis": REDIS, "postgres": POSTGRES, "mlflow": MLFLOW, "marimo": MARIMO, "health": HEALTH}


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """Everything that was decided before: no component reads config, environment or network."""

    settings: PlatformSettings
    identity: StackIdentity
    files: HostFiles
    secrets: SecretFiles
    sources: Sources
    python: str  # the interpreter of this program, for the commands that it declares


class Platform(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:platform:Platform``. Ready when its verification has passed."""

    services: dict[str, Service]
    verification: Verification | None  # None: no service is there that could ask the others

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:platform:Platform", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._images = ImageSet(
            ImageSetArgs(settings=args.settings, sources=args.sources, python=args.python), self._child
        )
        self.services = {}
        self._declare_services(args.settings)
        self.verification = self._declare_verification()
        self.register_outputs({"services": list(self.services)})

    def urls(self) -> dict[str, str]:
        """Where people and clients reach each published service from this host."""
        settings = self._args.settings
        address = settings.network.bind_address
        if address == "0.0.0.0":  # noqa: S104 (compared, not bound)
            address = "127.0.0.1"
        links = {name: _link(name, address, settings.service(name).host_ports) for name in settings.services()}
        return {name: link for name, link in links.items() if link}

    def _declare_services(self, settings: PlatformSettings) -> None:
        args = self._args
        network = RayNetwork("network", RayNetworkArgs(identity=args.identity, settings=settings.network), self._child)
        host = Host(
            identity=args.identity,
            network=network,
            files=args.files,
            secrets=args.secrets,
            bind_address=settings.network.bind_address,
        )
        enabled = settings.services()
        if "redis" in enabled:
            self.services["redis"] = Redis(
                "redis",
                RedisArgs(settings=settings.redis, host=host, image=self._images.image_id("redis")),
                self._child,
            )
        mlflow = self._declare_tracking(settings, host) if "mlflow" in enabled or "postgres" in enabled else None
        if "health" in enabled:
            health_args = HealthArgs(
                settings=settings.health,
                host=host,
                image=self._images.image_id("health"),
                watched=self._watched(),
                ray_nodes=self._nodes_heads_first(),
            )
            self.services["health"] = Health("health", health_args, self._child)
        self._declare_ray(settings, host, mlflow)
        if "marimo" in enabled:
            marimo_args = MarimoArgs(
                settings=settings.marimo,
                host=host,
                image=self._images.image_id("marimo"),
                ray_address=self._ray_address(),
                mlflow=mlflow,
                after=[self.services[name] for name in settings.ray_nodes] + ([mlflow] if mlflow else []),
            )
            self.services["marimo"] = Marimo("marimo", marimo_args, self._child)

    def _declare_tracking(self, settings: PlatformSettings, host: Host) -> MLflow | None:
        postgres = Postgres(
            "postgres",
            PostgresArgs(settings=settings.postgres, host=host, image=self._images.image_id("postgres")),
            self._child,
        )
        self.services["postgres"] = postgres
        if not settings.mlflow.enabled:
            return None
        args = MLflowArgs(settings=settings.mlflow, host=host, image=self._images.image_id("mlflow"), postgres=postgres)
        mlflow = MLflow("mlflow", args, self._child)
        self.services["mlflow"] = mlflow
        return mlflow

    def _declare_ray(self, settings: PlatformSettings, host: Host, mlflow: MLflow | None) -> None:
        """Nodes that may become head first, each after the one before it: the first finds no other and leads."""
        stores = [self.services[name] for name in ("redis", "health") if name in self.services]
        started: list[Service] = []
        for name in self._nodes_heads_first():
            node_args = RayNodeArgs(
                node=settings.ray_nodes[name],
                ray=settings.ray,
                host=host,
                image=self._images.image_id(name),
                candidates=settings.head_candidates,
                mlflow=mlflow,
                position=RAY_NODES.index(name),
                gpu=self._gpu_request() if name == "ray-gpu" else None,
                after=[*stores, *started],
            )
            started.append(RayNode(name, node_args, self._child))
            self.services[name] = started[-1]

    def _gpu_request(self) -> GpuRequest:
        devices = self._args.settings.gpu.devices
        return GpuRequest(devices=None if devices == "all" else devices)

    def _nodes_heads_first(self) -> tuple[str, ...]:
        settings = self._args.settings
        others = tuple(name for name in settings.ray_nodes if name not in settings.head_candidates)
        return (*settings.head_candidates, *others)

    def _head_hosts(self) -> tuple[str, ...]:
        explicit = self._args.settings.ray.head_address
        return (explicit.rpartition(":")[0],) if explicit else self._args.settings.head_candidates

    def _ray_address(self) -> str | None:
        hosts = self._head_hosts()
        return f"ray://{hosts[0]}:{RAY_CLIENT}" if hosts and self._args.settings.ray_nodes else None

    def _watched(self) -> tuple[WatchedService, ...]:
        urls = self.urls()
        return tuple(
            WatchedService(
                name=name,
                kind="ray" if name in RAY_NODES else name,
                host=name,
                port=INTERNAL_PORTS.get(name, RAY_DASHBOARD),
                url=urls.get(name),
            )
            for name in self._args.settings.services()
            if name != "health"
        )

    def _declare_verification(self) -> Verification | None:
        args, gpus = self._args, self._gpu_request().devices
        expectation = Expectation(
            settings=args.settings,
            identity=args.identity,
            files=args.files,
            secrets=args.secrets,
            sources=args.sources,
            services=tuple(self.services),
            head_hosts=self._head_hosts(),
            gpus=len(gpus) if gpus else None,
        )
        client = expectation.client
        if client is None:
            return None
        verification_args = VerificationArgs(
            spec=self._images.image_id(client).apply(lambda image: expectation.spec(client, image)),
            services=list(self.services.values()),
            python=args.python,
        )
        return Verification("verification", verification_args, self._child)


def _link(service: str, address: str, ports: Mapping[tuple[str | int, ...], int]) -> str | None:
    """What to open or connect to, for the port that people use of a service."""
    schemes = {"redis": "redis", "postgres": "postgresql"}
    by_name = {str(path[-1]): port for path, port in ports.items()}
    port = by_name.get("port", by_name.get("dashboard"))
    return f"{schemes.get(service, 'http')}://{address}:{port}" if port else None
