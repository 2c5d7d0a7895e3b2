"""Stack config: the object ``cslr:platform`` of a ``Pulumi.<stack>.yaml``, validated, with every default.

Owns the models and what follows from them alone. Cross-field validation is in ``platform_rules.py``, the rules of a
cluster of several hosts in ``cluster_rules.py``, limits of the host in ``preflight/host.py``, the wording of errors in
``explain.py`` and ``problems.py``. Attribute paths are the YAML's keys; an empty object is a valid
stack for a host without GPU.
"""

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar, cast

from pydantic import Field, PrivateAttr

from config.addresses import Reach, published_on
from config.backup import BackupSettings
from config.builds import ImagesSettings
from config.cluster import CLUSTER_SERVICES, OPEN_TO_HOSTS, Membership
from config.datasets import USERS as DATASET_USERS
from config.datasets import DatasetSettings
from config.devel import DevelSettings
from config.notation import NOTEBOOKS, listed_as, notebooks_of, person_of
from config.ports import RAY_DASHBOARD
from config.problems import Path
from config.public_keys import PublicKey
from config.queue import QueueSettings
from config.services import (
    PART_OF,
    RAY_NODES,
    SERVICES,
    ExporterSettings,
    FirewallSettings,
    HealthSettings,
    KeeperSettings,
    MarimoSettings,
    MetricsSettings,
    MLflowSettings,
    OwnImageSettings,
    PostgresSettings,
    RayNodeSettings,
    RaySettings,
    RedisSettings,
    ServiceSettings,
    Settings,
    TranscriptionFrontendSettings,
    TranscriptionSettings,
    image_owner,
)
from config.tls import TlsSettings, web_port
from config.types import (
    AsMapping,
    AsTuple,
    BindAddress,
    DatasetName,
    Devices,
    NearName,
    NetworkName,
    ProxyUrl,
    ReachedName,
    Subnet,
)
from contracts.gpus import ALL_GPUS, NO_GPUS, Gpus
from images.packages_lock import PackagesLock
from images.variants import Variant, resolve

KEY = "cslr:platform"
OTHERS_WITH_SECRETS = ("mlflow", "queue", "devel")  # services with `env_secrets`, besides nodes and notebooks

Model = TypeVar("Model", bound=Settings)


class NetworkSettings(Settings):
    """The Docker network of the stack, and the address that its ports are published on."""

    name: NetworkName = Field(default="ray-network", description="Name of the Docker network.")
    subnet: Subnet = Field(
        default="172.28.0.0/16",
        description="IPv4 network of the containers: private, unused on this host, /12 to /27.",
    )
    bind_address: BindAddress = Field(
        default="127.0.0.1",
        description="Address that ports are published on. `127.0.0.1`: only this host; `0.0.0.0`: all its addresses.",
    )
    proxy: ProxyUrl | None = Field(
        default=None,
        description="HTTP proxy through which tasks, notebooks and MLflow reach other servers. They reach the stack "
        "and its cluster without it.",
    )
    no_proxy: Annotated[tuple[NearName, ...], AsTuple] = Field(
        default=(), description="What else to reach without the proxy: names, domains (`.example.org`), addresses."
    )
    names: Annotated[tuple[ReachedName, ...], AsTuple] = Field(
        default=(),
        description="Names by which people reach this host, such as `gpuhost.example.org`, with the port of a "
        "reverse proxy unless that is 80 or 443. MLflow refuses other names; links use the first.",
    )

    @property
    def ipv4(self) -> ipaddress.IPv4Network:
        """The subnet as a network."""
        return ipaddress.IPv4Network(self.subnet)


class GpuSettings(Settings):
    """The NVIDIA GPUs of this host."""

    enabled: bool = Field(default=False, description="Whether the stack may use this host's NVIDIA GPUs.")
    devices: Devices = Field(
        default="all", description="Which GPUs: `all`, or a list of numbers or UUIDs as `nvidia-smi -L` prints them."
    )

    @property
    def offered(self) -> Gpus:
        """Those that the stack gets."""
        if not self.enabled:
            return NO_GPUS
        return ALL_GPUS if self.devices == "all" else Gpus(devices=self.devices)


class ClusterTestSettings(Settings):
    """The test network of `ws test --up`: a client in a network of its own, which reaches what other machines reach."""

    subnet: Subnet = Field(
        default="172.30.0.0/24", description="IPv4 network of the test's containers: private, free on this host."
    )


class PlatformSettings(Settings):
    """One host's part of the platform."""

    network: NetworkSettings = NetworkSettings()
    firewall: FirewallSettings = FirewallSettings()
    gpu: GpuSettings = GpuSettings()
    datasets: Annotated[dict[DatasetName, DatasetSettings], AsMapping] = Field(
        default={},
        description="Folders of this host that nodes, notebooks and transcription have at `/data/NAME`: name → "
        "`source`, `read_only` (docs/datasets.md).",
    )
    images: ImagesSettings = ImagesSettings()
    ray: RaySettings = RaySettings()
    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    mlflow: MLflowSettings = MLflowSettings()
    marimo: MarimoSettings = MarimoSettings()
    queue: QueueSettings = QueueSettings()
    devel: DevelSettings = DevelSettings()
    transcription: TranscriptionSettings = TranscriptionSettings()
    health: HealthSettings = HealthSettings()
    keeper: KeeperSettings = KeeperSettings()
    transcription_frontend: TranscriptionFrontendSettings = TranscriptionFrontendSettings()
    exporter: ExporterSettings = ExporterSettings()
    metrics: MetricsSettings = MetricsSettings()
    tls: TlsSettings = TlsSettings()
    cluster_test: ClusterTestSettings = ClusterTestSettings()
    backup: BackupSettings = BackupSettings()

    _membership: Membership | None = PrivateAttr(default=None)
    _lock: PackagesLock | None = PrivateAttr(default=None)
    _login_keys: tuple[PublicKey, ...] = PrivateAttr(default=())

    @property
    def membership(self) -> Membership | None:
        """This host's membership in a cluster of several hosts; None for a single host."""
        return self._membership

    @property
    def packages_lock(self) -> PackagesLock | None:
        """The lock of the packages that the images of this stack get; None for those of the family alone."""
        return self._lock

    @property
    def login_keys(self) -> tuple[PublicKey, ...]:
        """The public keys that `devel.keys` names, also those in files."""
        return self._login_keys

    def with_login_keys(self, keys: tuple[PublicKey, ...]) -> "PlatformSettings":
        """The same with the keys of the people who log in to the devel container."""
        copy = self.model_copy()
        copy._login_keys = keys
        return copy

    def with_packages(self, lock: PackagesLock | None) -> "PlatformSettings":
        """The same with the lock of its own packages."""
        copy = self.model_copy()
        copy._lock = lock
        return copy

    def with_membership(self, membership: Membership) -> "PlatformSettings":
        """The same for a host of a cluster, which decides what runs here, and on which ports others find it."""
        cluster, copy = membership.cluster, self.model_copy()
        for service in CLUSTER_SERVICES:
            copy = _with(copy, SERVICES[service], {"enabled": membership.runs(service)})
        copy = _with(copy, SERVICES["redis"], {"port": cluster.redis.port})
        copy = _with(copy, SERVICES["redis-replica"], {"port": cluster.redis.replica_port})
        if cluster.mlflow:
            copy = _with(copy, SERVICES["mlflow"], cluster.mlflow.model_dump(include={"port", "base_url", "logins"}))
        copy = copy.model_copy(update={"datasets": membership.datasets})
        copy._membership = membership
        return copy

    def without(self, service: str) -> "PlatformSettings":
        """The same without a service that this host does not need."""
        return _with(self, SERVICES[service], {"enabled": False})

    def service(self, name: str) -> ServiceSettings:
        """The settings of a service by its name, enabled or not.

        Raises:
            KeyError: no service has that name.
        """
        if (person := person_of(name)) is not None:
            return self.marimo.of(person)
        node: object = self
        for step in SERVICES[name]:
            node = getattr(node, step)
        return cast(ServiceSettings, node)

    @property
    def paths(self) -> dict[str, Path]:
        """The path of each enabled service below the key."""
        return {name: self.key(name) for name in self.services()}

    def key(self, service: str, *steps: str | int) -> Path:
        """The path below the key of what a service is told: of a person's notebooks the person's own, where it is."""
        path, person = SERVICES[listed_as(service)], person_of(service)
        if person is not None and len(steps) == 1 and getattr(self.marimo.users[person], str(steps[0]), None):
            return (*path, "users", person, *steps)
        return (*path, *steps)

    @property
    def env_secrets(self) -> dict[Path, tuple[str, ...]]:
        """The environment variables of enabled services that are secrets, by the path that names them."""
        found = {self.env_secrets_key(name): self.env_secrets_of(name) for name in self.services()}
        return {path: names for path, names in found.items() if path and names}

    def env_secrets_of(self, service: str) -> tuple[str, ...]:
        """Those that a service is given."""
        owners: dict[Path, RaySettings | MarimoSettings | MLflowSettings | QueueSettings | DevelSettings] = {
            ("ray", "env_secrets"): self.ray,
            ("marimo", "env_secrets"): self.marimo,
            ("mlflow", "env_secrets"): self.mlflow,
            ("queue", "env_secrets"): self.queue,
            ("devel", "env_secrets"): self.devel,
        }
        owner = owners.get(self.env_secrets_key(service))
        return owner.env_secrets if owner else ()

    @staticmethod
    def env_secrets_key(service: str) -> Path:
        """The path of the key that names them for a service; empty for one that can have none."""
        if service in (*RAY_NODES, "ray-head"):
            return ("ray", "env_secrets")
        return (listed_as(service), "env_secrets") if listed_as(service) in (NOTEBOOKS, *OTHERS_WITH_SECRETS) else ()

    def services(self) -> tuple[str, ...]:
        """Names of the enabled services, in the order that they start in."""
        return tuple(
            each
            for name in SERVICES
            if all(self.service(needed).enabled for needed in (name, *PART_OF.get(name, ())))
            for each in (self.notebooks if name == NOTEBOOKS else (name,))
        )

    @property
    def notebooks(self) -> tuple[str, ...]:
        """The services that serve notebooks, where they are enabled: one of each person, or one for all."""
        return tuple(map(notebooks_of, self.marimo.users)) or (NOTEBOOKS,)

    @property
    def ray_nodes(self) -> dict[str, RayNodeSettings]:
        """The enabled Ray nodes of this host, by name."""
        nodes = {"ray-cpu": self.ray.cpu, "ray-gpu": self.ray.gpu}
        return {name: node for name, node in nodes.items() if node.enabled}

    @property
    def own_images(self) -> dict[str, OwnImageSettings]:
        """The images that this host builds from Dockerfiles of its owner, by the service whose key names them."""
        owners = dict.fromkeys(map(image_owner, self.services()))
        images = {name: self.service(name).image for name in owners}
        return {name: image for name, image in images.items() if isinstance(image, OwnImageSettings) and image.is_own}

    def gpus_of(self, service: str) -> Gpus:
        """The GPUs that a service gets."""
        on_gpus = service in ("ray-gpu", "exporter") or (
            service == "transcription" and self.transcription.variant == "cuda"
        )
        return self.gpu.offered if on_gpus else NO_GPUS

    @property
    def workspace_users(self) -> dict[str, ServiceSettings]:
        """The enabled services of this host that work in its scratch and home, by name."""
        head = {"ray-head": self.ray.head} if self.ray.head.enabled else {}
        notebooks = {name: self.service(name) for name in self.notebooks} if self.marimo.enabled else {}
        devel = {"devel": self.devel} if self.devel.enabled else {}
        return {**self.ray_nodes, **head, **notebooks, **devel}

    def datasets_of(self, service: str) -> dict[str, DatasetSettings]:
        """The datasets of this host that a service mounts, by name."""
        return self.datasets if listed_as(service) in DATASET_USERS else {}

    @property
    def head_candidates(self) -> tuple[str, ...]:
        """The enabled Ray nodes that may become head, the preferred one first. In a cluster of several hosts none:
        they are always workers.
        """
        if self.membership:
            return ()
        return tuple(name for name in self.ray.head_whitelist if name in self.ray_nodes)

    @property
    def variant(self) -> Variant:
        """The (CUDA, Python) pair of the images, with its pins."""
        return resolve(self.images.cuda, self.images.python)

    @property
    def torch(self) -> Literal["auto", "cpu", "cuda"]:
        """The PyTorch build, where it does not depend on what can be reached."""
        return "cuda" if self.images.torch == "auto" and self.gpu.enabled else self.images.torch

    def published_ports(self) -> list[tuple[Path, int]]:
        """Path below the key and port, for each port of this host that an enabled service publishes."""
        return [(path, port) for _, path, port in self.ports_by_service()]

    def ports_by_service(self) -> list[tuple[str, Path, int]]:
        """The same, each after its service."""
        return [
            (name, self.key(name, *path), port)
            for name in self.services()
            if not (self.membership and name in RAY_NODES)  # on the host network, with the ports of config/ports.py
            for path, port in self.service(name).host_ports.items()
        ]

    def bind_address(self, service: str) -> str:
        """The address of this host on which a service's ports are published."""
        return self.membership.address if self.membership and service in OPEN_TO_HOSTS else self.network.bind_address

    @property
    def names(self) -> tuple[str, ...]:
        """Names under which people reach this host, the best one first."""
        return (
            *self.network.names,
            *(self.membership.cluster.hosts[self.membership.host].names if self.membership else ()),
        )

    def base_url(self, service: str) -> str | None:
        """The service's URL or path at a reverse proxy, if it is behind one."""
        settings = self.ray if self.key(service)[0] == "ray" else self.service(service)
        return getattr(settings, "base_url", None)

    @property
    def behind_tls(self) -> tuple[str, ...]:
        """The enabled services whose web port the service `tls` publishes in their place."""
        return tuple(name for name in self.services() if web_port(name)) if self.tls.enabled else ()

    def publisher(self, service: str, port: int) -> str:
        """The service whose container publishes a port of a service: `tls`, or itself."""
        return "tls" if service in self.behind_tls and port == self.web_port_of(service) else service

    def web_port_of(self, service: str) -> int | None:
        """The port of this host on which people reach a service's pages; None where it is not published."""
        ports = self.service(service).host_ports
        return ports.get(("port",), ports.get(("ports", "dashboard")))

    def reach(self, service: str, own_addresses: Sequence[str]) -> Reach | None:
        """How people reach a service of this host; None if it has no port for people."""
        port, address = self.web_port_of(service), self.bind_address(service)
        if self.membership and service == "ray-gateway":  # which listens by itself, where all hosts of the cluster do
            port, address = RAY_DASHBOARD, self.membership.address
        if port is None:
            return None
        return Reach(
            port=port,
            addresses=published_on(address, own_addresses),
            names=self.names,
            aliases=(self.membership.host,) if self.membership else (),
            base_url=self.base_url(service),
            scheme="https" if service in self.behind_tls else "http",
        )


def _with(model: Model, path: tuple[str, ...], values: dict[str, object]) -> Model:
    """The model with other values of some keys below a path."""
    if not path:
        return model.model_copy(update=values)
    return model.model_copy(update={path[0]: _with(getattr(model, path[0]), path[1:], values)})
