"""Platform: one host's part of it, wired.

Owns the order: network and images first, then stores, then what needs them; each waits for the health of what it needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pulumi

from components.docker import GpuRequest
from components.files import HostFiles
from components.health import Health, HealthArgs, WatchedService
from components.identity import StackIdentity
from components.image import BaseImage, BaseImageArgs, ImageVariant, ImageVariantArgs, PulledImage
from components.marimo import Marimo, MarimoArgs
from components.mlflow import MLflow, MLflowArgs
from components.network import RayNetwork, RayNetworkArgs
from components.ports import HEALTH, MARIMO, MLFLOW, POSTGRES, RAY_CLIENT, RAY_DASHBOARD, REDIS
from components.postgres import Postgres, PostgresArgs
from components.ray import RayNode, RayNodeArgs, logical_cpus
from components.redis import Redis, RedisArgs
from components.secrets import SecretFiles, user_id
from components.service import ENTRYPOINTS, Host, Service
from components.service_settings import RAY_NODES
from components.settings import PlatformSettings
from components.sources import Sources
from components.verification import Verification, VerificationArgs
from images.base.recipe import Suite
from images.catalog import CATALOG
from verification import spec as expected

# Service → image that is built for it.
IMAGES = {
    "redis": "redis",
    "postgres": "postgres",
    "mlflow": "mlflow",
    "health": "health",
    "ray-cpu": "ray-runtime",
    "ray-gpu": "ray-runtime",
    "marimo": "marimo-runtime",
}
LEAN_IMAGE = "ray-lean"
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
    verification: Verification

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:platform:Platform", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._bases: dict[Suite, BaseImage] = {}
        self._images = self._declare_images()
        self.services = {}
        self._declare_services(args.settings)
        self.verification = Verification(
            "verification",
            VerificationArgs(spec=self._expectation(), services=list(self.services.values()), python=args.python),
            self._child,
        )
        self.register_outputs({"services": list(self.services)})

    def urls(self) -> dict[str, str]:
        """Where people and clients reach each published service from this host."""
        settings = self._args.settings
        address = self._link_address
        links = {name: _link(name, address, settings.service(name).host_ports) for name in settings.services()}
        return {name: link for name, link in links.items() if link}

    @cached_property
    def _link_address(self) -> str:
        address = self._args.settings.network.bind_address
        return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 (compared, not bound)

    # --- images ---

    def _declare_images(self) -> dict[str, ImageVariant | PulledImage]:
        """One image a service; services with the same image share it."""
        settings = self._args.settings
        built: dict[str, ImageVariant] = {}
        pulled: dict[str, PulledImage] = {}
        images: dict[str, ImageVariant | PulledImage] = {}
        for service in settings.services():
            source = settings.service(service).image
            if source.source == "pull" and source.reference:
                if source.reference not in pulled:
                    pulled[source.reference] = PulledImage(f"{service}-image", source.reference, self._child)
                images[service] = pulled[source.reference]
            else:
                name = self._image_name(service)
                if name not in built:
                    built[name] = self._build(name, list(built.values()))
                images[service] = built[name]
        return images

    def _image_name(self, service: str) -> str:
        node = self._args.settings.ray_nodes.get(service)
        return IMAGES[service] if node is None or node.torch else LEAN_IMAGE

    def _build(self, name: str, before: list[ImageVariant]) -> ImageVariant:
        args = self._args
        images, image = args.settings.images, CATALOG[name]
        if image.suite not in self._bases:
            self._bases[image.suite] = BaseImage(
                f"base-{image.suite}",
                BaseImageArgs(
                    suite=image.suite, source=args.sources.bases, python=args.python, mirror=images.mirrors.debian
                ),
                self._child,
            )
        return ImageVariant(
            name,
            ImageVariantArgs(
                image=image,
                base=self._bases[image.suite],
                variant=args.settings.variant,
                flavour=args.sources.torch,
                registry=images.registry,
                pypi_index=images.mirrors.pypi,
                pytorch_index=images.mirrors.pytorch,
                # Neither engine bounds builds by itself (pulumi-docker#496).
                after=before[-images.parallel_builds :][:1] if len(before) >= images.parallel_builds else (),
            ),
            self._child,
        )

    # --- services ---

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
                "redis", RedisArgs(settings=settings.redis, host=host, image=self._image("redis")), self._child
            )
        mlflow = self._declare_tracking(settings, host) if "mlflow" in enabled or "postgres" in enabled else None
        if "health" in enabled:
            health_args = HealthArgs(
                settings=settings.health,
                host=host,
                image=self._image("health"),
                watched=self._watched(),
                ray_nodes=self._nodes_heads_first(),
            )
            self.services["health"] = Health("health", health_args, self._child)
        self._declare_ray(settings, host, mlflow)
        if "marimo" in enabled:
            marimo_args = MarimoArgs(
                settings=settings.marimo,
                host=host,
                image=self._image("marimo"),
                ray_address=self._ray_address(),
                mlflow=mlflow,
                after=[self.services[name] for name in settings.ray_nodes] + ([mlflow] if mlflow else []),
            )
            self.services["marimo"] = Marimo("marimo", marimo_args, self._child)

    def _declare_tracking(self, settings: PlatformSettings, host: Host) -> MLflow | None:
        postgres = Postgres(
            "postgres",
            PostgresArgs(settings=settings.postgres, host=host, image=self._image("postgres")),
            self._child,
        )
        self.services["postgres"] = postgres
        if not settings.mlflow.enabled:
            return None
        args = MLflowArgs(settings=settings.mlflow, host=host, image=self._image("mlflow"), postgres=postgres)
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
                image=self._image(name),
                candidates=settings.head_candidates,
                mlflow=mlflow,
                position=RAY_NODES.index(name),
                gpu=self._gpu_request() if name == "ray-gpu" else None,
                after=[*stores, *started],
            )
            started.append(RayNode(name, node_args, self._child))
            self.services[name] = started[-1]

    def _image(self, service: str) -> pulumi.Output[str]:
        return self._images[service].image_id

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

    # --- verification ---

    def _expectation(self) -> pulumi.Output[expected.VerificationSpec]:
        """What must be true after the deployment. Only the client's image waits for an output."""
        settings = self._args.settings
        client = next((name for name in (*settings.ray_nodes, "marimo", "health") if name in self._images), None)
        if client is None:
            client = next(iter(self._images))
        return self._image(client).apply(lambda image: self._spec(image, settings, client))

    def _spec(self, image: str, settings: PlatformSettings, client: str) -> expected.VerificationSpec:
        args = self._args
        user = settings.service(client).user

        def service(name: str) -> expected.Service | None:
            port = INTERNAL_PORTS[name]
            url = f"http://{name}:{port}"
            return (
                expected.Service(url=url, container=args.identity.object_name(name)) if name in self.services else None
            )

        return expected.VerificationSpec(
            project=args.identity.project,
            stack=args.identity.stack,
            network=settings.network.name,
            client=expected.Client(
                image=image,
                program=args.files.program(ENTRYPOINTS / "verify_cluster.py"),
                with_python=args.files.program(ENTRYPOINTS / "with_python.sh"),
                user=user,
                labels=args.identity.labels("verification"),
            ),
            heads=expected.Heads(hosts=self._head_hosts()) if settings.ray_nodes else None,
            nodes=tuple(self._expected_node(name) for name in settings.ray_nodes),
            other_nodes=settings.ray.head_address is not None,
            versions=self._expected_versions(),
            mlflow=service("mlflow"),
            marimo=service("marimo"),
            health=service("health"),
            secrets=expected.SecretFiles(
                ray_token=args.secrets.path("ray-token", uid=user_id(user)),
                marimo_token=args.secrets.path("marimo-token", uid=user_id(user)),
            ),
        )

    def _expected_node(self, name: str) -> expected.ExpectedNode:
        node = self._args.settings.ray_nodes[name]
        gpus = self._gpu_request().devices
        return expected.ExpectedNode(
            name=name,
            container=self._args.identity.object_name(name),
            cpus=logical_cpus(node.cpus),
            gpus=(len(gpus) if gpus else None) if name == "ray-gpu" else 0,
            memory=node.memory,
            torch=node.torch,
        )

    def _expected_versions(self) -> expected.ExpectedVersions:
        """The lock's, if every node's image was built from it; a pulled image brings its own."""
        args = self._args
        if any(node.image.source == "pull" for node in args.settings.ray_nodes.values()):
            return expected.ExpectedVersions()
        variant, flavour = args.settings.variant, args.sources.torch
        locked = CATALOG["ray-runtime"].versions(variant, flavour)
        return expected.ExpectedVersions(
            ray=locked["ray"],
            python=variant.python,
            torch=variant.torch,
            torch_cuda=variant.torch_cuda if flavour == "cuda" else None,
            torch_geometric=locked["torch-geometric"],
        )


def _link(service: str, address: str, ports: Mapping[tuple[str | int, ...], int]) -> str | None:
    """What to open or connect to, for the port that people use of a service."""
    schemes = {"redis": "redis", "postgres": "postgresql"}
    by_name = {str(path[-1]): port for path, port in ports.items()}
    port = by_name.get("port", by_name.get("dashboard"))
    return f"{schemes.get(service, 'http')}://{address}:{port}" if port else None
