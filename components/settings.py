"""Stack config: the object ``cslr:platform`` of a ``Pulumi.<stack>.yaml``, validated, with every default.

Owns the models and what follows from them alone. What keys demand of each other is in ``checks.py``, what the host can
bear in ``host.py``, the wording of errors in ``problems.py``. Attribute paths are the YAML's keys. An empty object is a
valid stack for a host without GPU.
"""

import ipaddress
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components import checks
from components.explain import explain
from components.problems import Path, SettingsError
from components.variants import VARIANTS, Variant
from components.vocabulary import (
    AsMapping,
    AsTuple,
    BindAddress,
    Count,
    Cpus,
    Devices,
    EnvironmentName,
    EnvironmentValue,
    HeadAddress,
    HostPort,
    ImageReference,
    Location,
    Memory,
    NetworkName,
    RegistryPrefix,
    Seconds,
    Subnet,
    Target,
    Url,
    User,
    Version,
)

__all__ = ["KEY", "SERVICES", "PlatformSettings", "SettingsError", "load"]

KEY = "cslr:platform"
RAY_NODES = ("ray-cpu", "ray-gpu")
# Service → its path below KEY, in the order that they start in.
SERVICES = {
    "redis": ("redis",),
    "postgres": ("postgres",),
    "mlflow": ("mlflow",),
    "health": ("health",),
    "ray-cpu": ("ray", "cpu"),
    "ray-gpu": ("ray", "gpu"),
    "marimo": ("marimo",),
}
DEFAULT_VARIANT = VARIANTS[1]
MIB, GIB = 2**20, 2**30

PORT = "Port of this host, on `network.bind_address`."

# Described once here, because the defaults differ from service to service.
CpuLimit = Annotated[Cpus, Field(description="Limit of CPU cores, to hundredths.")]
MemoryLimit = Annotated[Memory, Field(description="Limit of memory, in Docker's notation: `512m`, `8g`.")]
GcsPort = Annotated[HostPort, Field(description="Host port of the cluster's control store, which other nodes join.")]
DataLocation = Annotated[
    Location | None,
    Field(description="Where its data lives: a volume's name or an absolute path. Unset: a volume of this stack."),
]
DashboardPort = Annotated[HostPort, Field(description="Host port of the dashboard and of the Jobs API.")]
ClientPort = Annotated[HostPort, Field(description="Host port of the Ray Client (`ray://`).")]


class Settings(BaseModel):
    """What every model here has in common: no unknown keys, no guessing at types, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_empty_section(cls, value: object) -> object:
        """A section whose keys are all commented out is null in YAML."""
        return {} if value is None else value


class NetworkSettings(Settings):
    """The Docker network of the stack, and where its ports are published."""

    name: NetworkName = Field(default="ray-network", description="Name of the Docker network.")
    subnet: Subnet = Field(
        default="172.28.0.0/16",
        description="IPv4 network of the containers: private, unused on this host, from /12 to /27.",
    )
    bind_address: BindAddress = Field(
        default="127.0.0.1",
        description="Address of this host that ports are published on: 127.0.0.1 for this host only, 0.0.0.0 for all.",
    )

    @property
    def ipv4(self) -> ipaddress.IPv4Network:
        """The subnet as a network."""
        return ipaddress.IPv4Network(self.subnet)

    @property
    def gateway(self) -> str:
        """The host's own address on the network: the first one."""
        return str(self.ipv4[1])

    @property
    def dynamic_range(self) -> str:
        """The upper half of the subnet, from which Docker gives addresses to all that have no fixed one."""
        return str(list(self.ipv4.subnets())[1])

    def fixed_address(self, index: int) -> str:
        """The fixed address number ``index`` (from 0), in the lower half of the subnet."""
        return str(self.ipv4[10 + index])


class GpuSettings(Settings):
    """The NVIDIA GPUs of this host."""

    enabled: bool = Field(default=False, description="Whether this host offers its NVIDIA GPUs to the stack.")
    devices: Devices = Field(
        default="all", description="Which GPUs: `all`, or a list of numbers or UUIDs as `nvidia-smi -L` prints them."
    )


class MirrorSettings(Settings):
    """Where image builds find packages."""

    debian: Url | None = Field(
        default=None, description="Mirror of the Debian archive. Unset: this host's, else Debian's."
    )
    pypi: Url | None = Field(
        default=None, description="Mirror of the Python package index. Unset: the one of this host's pip."
    )
    pytorch: Url | None = Field(default=None, description="Mirror of PyTorch's wheel index. Unset: PyTorch's own.")


class ImagesSettings(Settings):
    """The image family that this stack runs on."""

    cuda: Version = Field(default=DEFAULT_VARIANT.cuda, description="CUDA version of the images.")
    python: Version = Field(default=DEFAULT_VARIANT.python, description="Python version of the images, in quotes.")
    torch: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="PyTorch build. `auto`: `cpu` on a stack without GPU where PyTorch's own wheel index can be "
        "reached, which saves 4 GB, else `cuda`, which runs on CPUs as well.",
    )
    registry: RegistryPrefix | None = Field(
        default=None, description="Prefix of the names of built images, for example `registry.example.org:5000/cslr`."
    )
    bases: Literal["auto", "registry", "bootstrap"] = Field(
        default="auto",
        description="Where base images come from: a `registry`, or Debian's packages (`bootstrap`). `auto`: a registry "
        "if it can be reached.",
    )
    parallel_builds: Count = Field(default=2, description="How many images are built at the same time.")
    mirrors: MirrorSettings = Field(default=MirrorSettings(), description=MirrorSettings.__doc__)


class ImageSettings(Settings):
    """Where the image of a service comes from."""

    source: Literal["build", "pull"] = Field(
        default="build", description="`build` it here, or `pull` it from a registry."
    )
    reference: ImageReference | None = Field(
        default=None, description="The image to pull, with its tag or digest. Only with source `pull`."
    )


class VolumeSettings(Settings):
    """One more volume or folder of the host inside a container."""

    source: Location = Field(description="Name of a volume, or absolute path of a folder of this host.")
    target: Target = Field(description="Absolute path inside the container.")
    read_only: bool = Field(default=False, description="Whether the container may only read it.")


class ServiceSettings(Settings):
    """What every service can be told."""

    enabled: bool = Field(default=True, description="Whether this host runs the service.")
    image: ImageSettings = Field(default=ImageSettings(), description=ImageSettings.__doc__)
    cpus: CpuLimit
    memory: MemoryLimit
    env: Annotated[dict[EnvironmentName, EnvironmentValue], AsMapping] = Field(
        default={},
        description="Extra environment variables, name → value. Not for secrets: who may use Docker can read them.",
    )
    volumes: Annotated[tuple[VolumeSettings, ...], AsTuple] = Field(
        default=(), description="Extra volumes and bind mounts: a list of `source`, `target`, `read_only`."
    )
    user: User = Field(
        default="1000:1000", description="User and group of the container. A pulled image may need its own."
    )

    @property
    def host_ports(self) -> dict[Path, int]:
        """The ports of this host that the service publishes, by their path below the service's key."""
        return {}

    @property
    def location(self) -> tuple[Path, str] | None:
        """The path below the service's key, and the value, of where its own data lives; None is the default volume."""
        keys = [(name, getattr(self, name, None)) for name in ("data", "artifacts", "notebooks")]
        return next((((name,), value) for name, value in keys if value is not None), None)


class SinglePortSettings(ServiceSettings):
    """A service with one port."""

    port: HostPort | None

    @property
    def host_ports(self) -> dict[Path, int]:
        """See the base class."""
        return {} if self.port is None else {("port",): self.port}


class RayPorts(Settings):
    """The ports of this host that a Ray node publishes."""

    gcs: GcsPort
    dashboard: DashboardPort
    client: ClientPort


class RayCpuPorts(RayPorts):
    """The ports of this host that the node ray-cpu publishes."""

    gcs: GcsPort = 6379
    dashboard: DashboardPort = 8265
    client: ClientPort = 10001


class RayGpuPorts(RayPorts):
    """The ports of this host that the node ray-gpu publishes."""

    gcs: GcsPort = 6380
    dashboard: DashboardPort = 8266
    client: ClientPort = 10002


class RayNodeSettings(ServiceSettings):
    """A Ray node of this host."""

    ports: RayPorts

    @property
    def host_ports(self) -> dict[Path, int]:
        """See the base class."""
        return {("ports", name): getattr(self.ports, name) for name in RayPorts.model_fields}


class RayCpuSettings(RayNodeSettings):
    """The Ray node that offers CPUs only."""

    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 6 * GIB
    ports: RayCpuPorts = Field(default=RayCpuPorts(), description=RayCpuPorts.__doc__)


class RayGpuSettings(RayNodeSettings):
    """The Ray node that offers the stack's GPUs. Needs `gpu.enabled`."""

    enabled: bool = Field(default=False, description="Whether this host runs the node.")
    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 16 * GIB
    ports: RayGpuPorts = Field(default=RayGpuPorts(), description=RayGpuPorts.__doc__)


class RaySettings(Settings):
    """The Ray cluster, and the nodes that this host adds to it."""

    head_whitelist: Annotated[tuple[str, ...], AsTuple] = Field(
        default=RAY_NODES, description="Nodes of this host that may become the cluster's head, the preferred one first."
    )
    head_address: HeadAddress | None = Field(
        default=None,
        description="host:port of a head elsewhere, which this host's nodes join. Unset: decided on start.",
    )
    health_url: Url | None = Field(
        default=None, description="Health service that knows the existing head. Unset: the one of this stack."
    )
    health_timeout: Seconds = Field(default=1.0, description="Seconds to wait for the health service's answer.")
    cpu: RayCpuSettings = Field(default=RayCpuSettings(), description=RayCpuSettings.__doc__)
    gpu: RayGpuSettings = Field(default=RayGpuSettings(), description=RayGpuSettings.__doc__)


class RedisSettings(SinglePortSettings):
    """Redis, which keeps the Ray cluster's state."""

    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort = Field(default=6381, description=PORT)
    data: DataLocation = None


class PostgresSettings(SinglePortSettings):
    """Postgres, which keeps MLflow's runs."""

    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort | None = Field(default=None, description="Host port. Unset: not published.")
    data: DataLocation = None


class MlflowSettings(SinglePortSettings):
    """MLflow: experiment tracking, with artifacts served through it."""

    cpus: CpuLimit = 1.0
    memory: MemoryLimit = 2 * GIB
    port: HostPort = Field(default=5000, description=PORT)
    artifacts: DataLocation = None


class MarimoSettings(SinglePortSettings):
    """Marimo: notebooks connected to the Ray cluster and to MLflow."""

    cpus: CpuLimit = 1.0
    memory: MemoryLimit = 4 * GIB
    port: HostPort = Field(default=8080, description=PORT)
    notebooks: DataLocation = None


class HealthSettings(SinglePortSettings):
    """The health service: what runs, and where the head is."""

    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 256 * MIB
    port: HostPort = Field(default=8888, description=PORT)


class PlatformSettings(Settings):
    """One host's part of the platform."""

    network: NetworkSettings = Field(default=NetworkSettings(), description=NetworkSettings.__doc__)
    gpu: GpuSettings = Field(default=GpuSettings(), description=GpuSettings.__doc__)
    images: ImagesSettings = Field(default=ImagesSettings(), description=ImagesSettings.__doc__)
    ray: RaySettings = Field(default=RaySettings(), description=RaySettings.__doc__)
    redis: RedisSettings = Field(default=RedisSettings(), description=RedisSettings.__doc__)
    postgres: PostgresSettings = Field(default=PostgresSettings(), description=PostgresSettings.__doc__)
    mlflow: MlflowSettings = Field(default=MlflowSettings(), description=MlflowSettings.__doc__)
    marimo: MarimoSettings = Field(default=MarimoSettings(), description=MarimoSettings.__doc__)
    health: HealthSettings = Field(default=HealthSettings(), description=HealthSettings.__doc__)

    def service(self, name: str) -> ServiceSettings:
        """The settings of a service by its name, enabled or not.

        Raises:
            KeyError: no service has that name.
        """
        node: object = self
        for step in SERVICES[name]:
            node = getattr(node, step)
        return cast(ServiceSettings, node)

    def services(self) -> tuple[str, ...]:
        """Names of the enabled services, in the order that they start in."""
        return tuple(name for name in SERVICES if self.service(name).enabled)

    @property
    def ray_nodes(self) -> dict[str, RayNodeSettings]:
        """The enabled Ray nodes of this host, by name."""
        nodes = {"ray-cpu": self.ray.cpu, "ray-gpu": self.ray.gpu}
        return {name: node for name, node in nodes.items() if node.enabled}

    @property
    def head_candidates(self) -> tuple[str, ...]:
        """The enabled Ray nodes that may become head, the preferred one first."""
        return tuple(name for name in self.ray.head_whitelist if name in self.ray_nodes)

    @property
    def variant(self) -> Variant:
        """The (CUDA, Python) pair of the images, with its pins."""
        return next(v for v in VARIANTS if (v.cuda, v.python) == (self.images.cuda, self.images.python))

    def published_ports(self) -> list[tuple[Path, int]]:
        """Path below the key and port, for each port of this host that an enabled service publishes."""
        return [
            ((*SERVICES[name], *path), port)
            for name in self.services()
            for path, port in self.service(name).host_ports.items()
        ]


def load(raw: object, *, stack_file: str, key: str = KEY) -> PlatformSettings:
    """The settings in ``raw``, the value of ``key`` in ``stack_file`` as YAML or JSON delivers it; None: all defaults.

    Raises:
        SettingsError: with every problem that can be seen without looking at the host.
    """
    try:
        settings = PlatformSettings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(explain(error, PlatformSettings), stack_file, key) from None
    if problems := checks.run(settings):
        raise SettingsError(problems, stack_file, key)
    return settings
