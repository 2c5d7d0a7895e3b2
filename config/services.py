"""The settings of each service, with their defaults: image, limits, ports, environment, where data lives.

Attribute paths are the YAML's keys. Cross-field validation is in ``platform_rules.py``.
A model's docstring is what editors and the reference of keys say about its section.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.notation import listed_as
from config.problems import Path
from config.types import (
    AsMapping,
    AsPeople,
    AsTuple,
    BaseUrl,
    Checkpoints,
    Cpus,
    DashboardUrl,
    DockerfilePath,
    Duration,
    EnvironmentName,
    EnvironmentValue,
    HeadAddress,
    HostPort,
    ImageReference,
    Location,
    MailAddress,
    MailServer,
    Memory,
    PersonName,
    Seconds,
    Share,
    Source,
    StageName,
    Target,
    Url,
    User,
    is_path,
)
from contracts.checkpoints import FOLDER as CHECKPOINTS_TARGET

# Service → its path below KEY, in the order that they start in.
SERVICES = {
    "firewall": ("firewall",),
    "redis": ("redis",),
    "redis-replica": ("redis", "replica"),
    "postgres": ("postgres",),
    "mlflow": ("mlflow",),
    "health": ("health",),
    "ray-gateway": ("ray", "gateway"),
    "ray-head": ("ray", "head"),
    "ray-cpu": ("ray", "cpu"),
    "ray-gpu": ("ray", "gpu"),
    "marimo": ("marimo",),
    "queue": ("queue",),
    "devel": ("devel",),
    "transcription": ("transcription",),
    "keeper": ("keeper",),
    "transcription-frontend": ("transcription_frontend",),
    "exporter": ("exporter",),
    "alertmanager": ("metrics", "alertmanager"),
    "redis-exporter": ("metrics", "redis_exporter"),
    "postgres-exporter": ("metrics", "postgres_exporter"),
    "prometheus": ("metrics",),
    "grafana": ("metrics", "grafana"),
    "tls": ("tls",),
}
RAY_NODES = ("ray-cpu", "ray-gpu")  # those that compute
# Service → the one whose image it runs.
IMAGE_OF = {
    "redis-replica": "redis",
    "ray-gateway": "health",
    "ray-head": "ray-cpu",
    "keeper": "health",
    "alertmanager": "prometheus",
    "redis-exporter": "prometheus",
    "postgres-exporter": "prometheus",
}
# Service → the services without which a host does not run it, whatever its own key says.
PART_OF = {
    "alertmanager": ("prometheus",),
    "redis-exporter": ("prometheus", "redis"),
    "postgres-exporter": ("prometheus", "postgres"),
    "grafana": ("prometheus",),
}
MIB, GIB = 2**20, 2**30


def image_owner(service: str) -> str:
    """The service whose key names the image that a service runs: its own, or one that shares it."""
    name = listed_as(service)
    return IMAGE_OF.get(name, name)


PORT = "Host port, on `network.bind_address`."

# Described once here, because the defaults differ from service to service.
CpuLimit = Annotated[Cpus, Field(description="Limit of CPU cores, with up to two decimals.")]
MemoryLimit = Annotated[Memory, Field(description="Limit of memory, in Docker's notation: `512m`, `8g`.")]
GcsPort = Annotated[
    HostPort | None,
    Field(
        description="Host port of the cluster's control store (GCS), for nodes and drivers elsewhere. Anyone who "
        "reaches it can kill the head with one message, without a token. Unset: not published; the platform "
        "does not need it."
    ),
]
DataLocation = Annotated[
    Location | None,
    Field(description="Where its data is kept: a volume's name or an absolute path. Unset: a volume of this stack."),
]
OfTheCluster = Annotated[
    bool, Field(description="Decided by `cslr:cluster`. Only a cluster of several hosts has this service.")
]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
DashboardPort = Annotated[HostPort, Field(description="Host port of the dashboard and of the Jobs API.")]
ClientPort = Annotated[HostPort, Field(description="Host port of the Ray Client (`ray://`).")]
ProxyAddress = Annotated[
    BaseUrl | None,
    Field(
        description="Where a reverse proxy serves it: the address that people open, such as "
        "`https://gpuhost.example.org/mlflow`, or only the path. Unset: it is reached at its port, without a path."
    ),
]
SharedMemory = Annotated[
    Memory | None,
    Field(
        description="Limit of shared memory for programs, such as the workers of a PyTorch `DataLoader`. Ray's object "
        "store is not included. Memory in use counts against `memory`. Unset: a fraction of `memory`."
    ),
]


EnvSecretNames = Annotated[
    tuple[EnvironmentName, ...],
    AsTuple,
    Field(
        description="Names of environment variables that are secrets, such as `HF_TOKEN`. Set their values in "
        "`cslr:envSecrets` or in files of this host; no state, output or `docker inspect` shows them (docs/secrets.md)."
    ),
]


class Settings(BaseModel):
    """What every model here has in common: no unknown keys, no guessing at types, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_empty_section(cls, value: object) -> object:
        """A section whose keys are all commented out is null in YAML."""
        return {} if value is None else value


class ImageSettings(Settings):
    """Where the image of a service comes from."""

    source: Literal["build", "pull"] = Field(default="build", description="`build` the image here, or `pull` it.")
    reference: ImageReference | None = Field(
        default=None, description="The image to pull, with its tag or digest. Only with `source: pull`."
    )


class OwnImageSettings(ImageSettings):
    """The image of a service that runs users' code: it can also be built from a Dockerfile of your own."""

    # Wider than in the base class, which every other service has.
    source: Literal["build", "pull", "dockerfile"] = Field(  # type: ignore[assignment]
        default="build",
        description="`build` the image here, `pull` it, or build your own `dockerfile` on it (docs/own-dockerfile.md).",
    )
    path: DockerfilePath | None = Field(
        default=None,
        description="Your Dockerfile, relative to the project folder: `docker/mine/Dockerfile`. Its folder is the "
        "context of the build. Only with `source: dockerfile`.",
    )
    target: StageName | None = Field(
        default=None, description="The Dockerfile's stage to build. Unset: its last. Only with `source: dockerfile`."
    )
    size_limit: Memory = Field(
        default=5 * GIB,
        description="How large the layers of your Dockerfile may be: the deployment stops at more. Only with "
        "`source: dockerfile`.",
    )

    @property
    def is_own(self) -> bool:
        """Whether it is built from a Dockerfile of the stack's owner."""
        return self.source == "dockerfile"


class PulledImageSettings(ImageSettings):
    """The image of a service that neither Debian nor PyPI has, so it cannot be built here."""

    source: Literal["pull"] = Field(default="pull", description="`pull`: it cannot be built here.")
    reference: ImageReference = Field(description="The image to pull, with its tag or digest.")


class VolumeMount(Settings):
    """One more volume or folder of the host inside a container."""

    source: Location = Field(
        description="Name of a volume (a new one belongs to the service's user), or absolute path of a folder or file "
        "of this host. System paths (`/proc`, `/run`, Docker's data, …) are refused."
    )
    target: Target = Field(description="Absolute path inside the container.")
    read_only: bool = Field(default=False, description="Whether the container can only read it.")


class ServiceSettings(Settings):
    """What every service can be told."""

    data_key: ClassVar[str | None] = None  # the key, if any, that says where the service's own data lives

    enabled: bool = Field(default=True, description="Whether this host runs the service.")
    image: ImageSettings = ImageSettings()
    cpus: CpuLimit
    memory: MemoryLimit
    env: Annotated[dict[EnvironmentName, EnvironmentValue], AsMapping] = Field(
        default={},
        description="More environment variables, name → value. They replace the platform's defaults and extend its "
        "lists (`PYTHONPATH`). Variables that the platform relies on are refused. Not for secrets: Docker shows them.",
    )
    volumes: Annotated[tuple[VolumeMount, ...], AsTuple] = Field(
        default=(), description="Extra volumes and bind mounts: a list of `source`, `target`, `read_only`."
    )
    user: User = Field(
        default="1000:1000", description="User and group in the container. A pulled image may need its own."
    )

    @property
    def host_ports(self) -> dict[Path, int]:
        """The ports of this host that the service publishes, by their path below the service's key."""
        return {}

    @property
    def read_locations(self) -> dict[str, str | None]:
        """Volumes and folders of this host that the service reads, by key."""
        return {}

    @property
    def location(self) -> str | None:
        """Where the service's own data lives: a volume's name, a folder's path, or None for the default volume."""
        return getattr(self, self.data_key) if self.data_key else None


class SinglePortSettings(ServiceSettings):
    """A service with one port."""

    port: HostPort | None

    @property
    def host_ports(self) -> dict[Path, int]:
        """See the base class."""
        return {} if self.port is None else {("port",): self.port}


class FirewallSettings(ServiceSettings):
    """The firewall: lets other machines reach what the stack publishes to them, and nothing else."""

    enabled: bool = Field(
        default=True,
        description="Whether this host runs the firewall where it needs one: with Docker before 28, and in a cluster "
        "of several hosts. If `false`, `ws doctor` shows the rules to set by hand.",
    )
    cpus: CpuLimit = 0.2
    memory: MemoryLimit = 64 * MIB
    user: Literal["0:0"] = Field(default="0:0", description="Root, to whom alone Docker gives a capability.")
    allow: Annotated[tuple[Source, ...], AsTuple] = Field(
        default=(),
        description="Further addresses or networks to admit, such as a Prometheus server's.",
    )


class RayPorts(Settings):
    """The ports of this host that a Ray node publishes."""

    gcs: GcsPort = None
    dashboard: DashboardPort
    client: ClientPort


class RayCpuPorts(RayPorts):
    """The ports of this host that the node ray-cpu publishes."""

    dashboard: DashboardPort = 8265
    client: ClientPort = 10001


class RayGpuPorts(RayPorts):
    """The ports of this host that the node ray-gpu publishes."""

    dashboard: DashboardPort = 8266
    client: ClientPort = 10002


class RayNodeSettings(ServiceSettings):
    """A Ray node of this host."""

    image: OwnImageSettings = OwnImageSettings()
    torch: bool = Field(
        default=True,
        description="Whether its built image has PyTorch and PyG. Without them, it is a tenth of the size.",
    )
    shm: SharedMemory = None
    ports: RayPorts

    @property
    def host_ports(self) -> dict[Path, int]:
        """See the base class."""
        ports = {name: getattr(self.ports, name) for name in RayPorts.model_fields}
        return {("ports", name): port for name, port in ports.items() if port is not None}

    @property
    def logical_cpus(self) -> int:
        """How many CPUs the node offers to Ray: whole ones, and at least one."""
        return max(1, int(self.cpus))


class RayCpuSettings(RayNodeSettings):
    """The Ray node that offers only CPUs."""

    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 6 * GIB
    ports: RayCpuPorts = RayCpuPorts()


class RayGpuSettings(RayNodeSettings):
    """The Ray node that offers the stack's GPUs. Needs `gpu.enabled`."""

    enabled: bool = Field(default=False, description="Whether this host runs the node.")
    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 16 * GIB
    ports: RayGpuPorts = RayGpuPorts()


class RayHeadSettings(ServiceSettings):
    """The head of a cluster of several hosts, on each host that may lead. It offers no CPUs or GPUs to tasks."""

    enabled: OfTheCluster = False
    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 3 * GIB


class RayGatewaySettings(ServiceSettings):
    """The gateway of each host of a cluster of several hosts: forwards to the head, wherever it is."""

    enabled: OfTheCluster = False
    cpus: CpuLimit = 1.0
    memory: MemoryLimit = 256 * MIB


class RaySettings(Settings):
    """The Ray cluster, and the nodes that this host adds to it."""

    head_whitelist: Annotated[tuple[str, ...], AsTuple] = Field(
        default=RAY_NODES, description="Nodes of this host that may become the cluster's head, in order of preference."
    )
    head_address: HeadAddress | None = Field(
        default=None,
        description="`host:port` of a head elsewhere, which the nodes here join. Unset: they find the head at start.",
    )
    health_url: Url | None = Field(
        default=None, description="Health service that knows the existing head. Unset: this stack's own."
    )
    health_timeout: Seconds = Field(default=1.0, description="Seconds to wait for the health service's answer.")
    base_url: DashboardUrl | None = Field(
        default=None,
        description="Address of the dashboard behind a reverse proxy, for links: `https://gpuhost.example.org/ray`. "
        "The proxy must strip the path, since the dashboard has none. Unset: links lead to its port.",
    )
    tls: bool = Field(
        default=False,
        description="Whether Ray encrypts its own traffic, and admits nobody without a certificate of this stack: "
        "between nodes, tasks, notebooks and Ray Clients (docs/tls.md#between-rays-processes).",
    )
    scratch: Location | None = Field(
        default=None,
        description="Where `/scratch` of nodes and notebooks is kept, with Ray's sessions, spilled objects, temporary "
        "files and downloaded packages: a volume's name or an absolute path. Unset: a volume of this stack.",
    )
    scratch_limit: Memory = Field(
        default=40 * 10**9 // MIB * MIB,
        description="How much disk the scratch folder may use. Files that are no longer needed are deleted first; if "
        "that is not enough, the job that holds the most is ended.",
    )
    home: Location | None = Field(
        default=None,
        description="Where `HOME` of nodes and notebooks is kept, with results (`~/ray_results`) and caches of models: "
        "a volume's name or an absolute path. Unset: a volume of this stack.",
    )
    checkpoints: Checkpoints | None = Field(
        default=None,
        description="Where Ray Train and Tune keep results and checkpoints unless a program says: a folder that all "
        "hosts mount, such as NFS, seen at `/checkpoints`, or an `s3://` or `gs://` URL (docs/checkpoints.md). Unset: "
        "`~/ray_results` in `home`, which a single host's nodes and notebooks share.",
        examples=["/mnt/nfs/checkpoints"],
    )
    env_secrets: EnvSecretNames = ()
    head: RayHeadSettings = RayHeadSettings()
    gateway: RayGatewaySettings = RayGatewaySettings()
    cpu: RayCpuSettings = RayCpuSettings()
    gpu: RayGpuSettings = RayGpuSettings()

    @property
    def work_locations(self) -> dict[str, str | None]:
        """Where the work of jobs and notebooks lies, by key."""
        return {"scratch": self.scratch, "home": self.home, "checkpoints": self.checkpoints_folder}

    @property
    def storage_path(self) -> str | None:
        """What Ray Train and Tune are told, as nodes and notebooks see it; None: Ray's own default."""
        return CHECKPOINTS_TARGET if self.checkpoints_folder else self.checkpoints

    @property
    def checkpoints_folder(self) -> str | None:
        """The folder of this host that holds checkpoints, if one is named."""
        return self.checkpoints if self.checkpoints and is_path(self.checkpoints) else None


class RedisReplicaSettings(SinglePortSettings):
    """The Redis replica on another host of the cluster, which can take over when Redis's host is lost."""

    data_key = "data"
    enabled: OfTheCluster = False
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort = Field(
        default=6382,
        description="Host port. In a cluster of several hosts, set `redis.replica_port` in the cluster file.",
    )
    data: DataLocation = None


class RedisSettings(SinglePortSettings):
    """Redis, which keeps the Ray cluster's state."""

    data_key = "data"
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort = Field(default=6381, description=PORT)
    data: DataLocation = None
    replica: RedisReplicaSettings = RedisReplicaSettings()


class PostgresSettings(SinglePortSettings):
    """Postgres, which keeps MLflow's runs."""

    data_key = "data"
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort | None = Field(default=None, description="Host port. Unset: not published.")
    data: DataLocation = None
    version: Literal[17, 18] = Field(
        default=17,
        description="Major version of Postgres in the built image. To bring the data of another one along: "
        "`ws postgres upgrade`.",
    )


class MLflowSettings(SinglePortSettings):
    """MLflow: experiment tracking, with artifacts served through it."""

    data_key = "artifacts"
    cpus: CpuLimit = 1.0
    memory: MemoryLimit = 2 * GIB
    env_secrets: EnvSecretNames = ()
    port: HostPort = Field(default=5000, description=PORT)
    base_url: ProxyAddress = None
    artifacts: DataLocation = None
    logins: bool = Field(
        default=False,
        description="Whether MLflow asks who is there: people have accounts by `ws user add`, tasks and notebooks use "
        "one of the platform.",
    )


class NotebookUserSettings(Settings):
    """What a person's notebooks have in place of what `marimo` says for all."""

    cpus: CpuLimit | None = Field(default=None, description="Limit of CPU cores. Unset: `marimo.cpus`.")
    memory: MemoryLimit | None = Field(default=None, description="Limit of memory. Unset: `marimo.memory`.")
    port: HostPort | None = Field(
        default=None,
        description="Host port. Unset: `marimo.port` for the first of `users`, the next one for the second, and so on.",
    )


class MarimoSettings(SinglePortSettings):
    """Marimo: notebooks connected to the Ray cluster and to MLflow."""

    data_key = "notebooks"
    image: OwnImageSettings = OwnImageSettings()
    cpus: CpuLimit = 1.0
    memory: MemoryLimit = 4 * GIB
    env_secrets: EnvSecretNames = ()
    port: HostPort = Field(default=8080, description=PORT)
    base_url: ProxyAddress = None
    shm: SharedMemory = None
    notebooks: DataLocation = None
    users: Annotated[dict[PersonName, NotebookUserSettings], AsPeople] = Field(
        default={},
        description="People with notebooks of their own: a list of names, or name → `cpus`, `memory`, `port`. Each "
        "has a container, a volume and a token. Unset: one notebook server for all (docs/notebooks.md).",
    )
    idle: Duration | None = Field(
        default=None,
        description="Time after which the kernel of a notebook that nobody uses and that computes nothing is ended, so "
        "that its memory and its Ray client are free again: `2h`. Unset: never.",
    )

    def of(self, person: str) -> "MarimoSettings":
        """The settings of the service that is one person's.

        Raises:
            KeyError: it is none of `users`.
        """
        own = self.users[person]
        port = own.port or self.port + list(self.users).index(person)
        return self.model_copy(
            update={
                "cpus": own.cpus or self.cpus,
                "memory": own.memory or self.memory,
                "port": port,
                "base_url": f"{self.base_url.rstrip('/')}/{person}" if self.base_url else None,
                "notebooks": self.notebooks and f"{self.notebooks}{'/' if is_path(self.notebooks) else '-'}{person}",
                "users": {},
            }
        )


class HealthSettings(SinglePortSettings):
    """The health service: reports what runs, and where the head is."""

    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 256 * MIB
    port: HostPort = Field(default=8888, description=PORT)


class KeeperSettings(ServiceSettings):
    """The keeper: restarts containers of this stack that stay unhealthy. It has no network."""

    cpus: CpuLimit = 0.2
    memory: MemoryLimit = 96 * MIB


class TranscriptionFrontendSettings(SinglePortSettings):
    """The page of the transcription service: files, jobs, and a player with the text to correct."""

    enabled: bool = Field(default=False, description="Whether this host runs the service.")
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 128 * MIB
    port: HostPort = Field(default=8091, description=PORT)


class TranscriptionJobsSettings(Settings):
    """Jobs over folders of media."""

    run_on: Literal["container", "ray"] = Field(
        default="container",
        description="`container`: one file after the other, on the service's own CPUs. `ray`: as a job of the Ray "
        "cluster, a task for each file. The Ray nodes then mount `dataset`, `models` and `data` and need the package "
        "`faster-whisper` (docs/transcription.md).",
    )
    cpus: Cpus = Field(default=1.0, description="CPUs of Ray that a file takes on the cluster.")
    gpus: Share = Field(
        default=0.0,
        description="Share of a GPU that a file takes on the cluster: `0.25` lets four files share one. 0: none.",
    )


class TranscriptionSettings(SinglePortSettings):
    """Transcription: speech of audio and video as text, subtitles and ELAN tiers, on this host's CPUs or on Ray."""

    data_key = "data"
    enabled: bool = Field(default=False, description="Whether this host runs the service.")
    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 3 * GIB
    port: HostPort = Field(default=8090, description=PORT)
    variant: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="`cuda`: it works on this host's GPUs, which no Ray node may offer then. Its image stands on the "
        "family's, of CUDA 12.8.1.",
    )
    dataset: Location | None = Field(
        default=None,
        description="Media to transcribe: a volume's name or an absolute path of a folder. It is only read. Unset: "
        "uploads alone.",
    )
    models: Location | None = Field(
        default=None,
        description="Models beside the bundled one, each a folder in CTranslate2's form (`model.bin`, `config.json`): "
        "a volume's name or an absolute path. It is only read; nothing is ever downloaded.",
    )
    model: ModelName | None = Field(
        default=None, description="The model that is used unless a caller names another. Unset: the first of `models`."
    )
    jobs: TranscriptionJobsSettings = TranscriptionJobsSettings()
    data: DataLocation = None

    @property
    def read_locations(self) -> dict[str, str | None]:
        """See the base class."""
        return {"dataset": self.dataset, "models": self.models}


class ExporterSettings(SinglePortSettings):
    """The exporter: figures of GPUs, containers and this host for Prometheus. It sees this host's processes."""

    enabled: bool = Field(default=False, description="Whether this host runs the service.")
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 192 * MIB
    user: User = Field(
        default="65534:65534",
        description="User and group in the container. Not those of other services, whose processes it could look into.",
    )
    port: HostPort = Field(default=9410, description=PORT)
    demo_gpus: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="Show so many invented GPUs instead of real ones, to try dashboards and alerts."
    )


class AlertMailSettings(Settings):
    """Alerts by mail, through an SMTP server."""

    server: MailServer = Field(
        description="`host:port` of the SMTP server, which must offer TLS.", examples=["smtp.example.org:587"]
    )
    sender: MailAddress = Field(description="The address that mails come from.", examples=["cslr@example.org"])
    to: Annotated[tuple[MailAddress, ...], AsTuple, Field(min_length=1)] = Field(
        description="The addresses that mails go to.", examples=[["group@example.org"]]
    )
    user: str | None = Field(
        default=None, description="Login at the server; its password is the secret `cslr:mailPassword`. Unset: none."
    )


class AlertmanagerSettings(SinglePortSettings):
    """Alertmanager: sends alerts to Slack, Discord, mail or a webhook, and keeps silences. Runs beside Prometheus."""

    data_key = "data"
    cpus: CpuLimit = 0.2
    memory: MemoryLimit = 128 * MIB
    port: HostPort = Field(default=9093, description=PORT)
    mail: AlertMailSettings | None = Field(default=None, description="Unset: no mail is sent.")
    repeat_hours: Annotated[int, Field(ge=1, le=168)] = Field(
        default=12, description="Hours after which an alert that still fires is sent again."
    )
    data: DataLocation = None


class RedisExporterSettings(ServiceSettings):
    """Figures of Redis for Prometheus. Runs beside Prometheus on the host of Redis."""

    cpus: CpuLimit = 0.1
    memory: MemoryLimit = 64 * MIB


class PostgresExporterSettings(ServiceSettings):
    """Figures of Postgres for Prometheus. Runs beside Prometheus on the host of Postgres."""

    cpus: CpuLimit = 0.1
    memory: MemoryLimit = 64 * MIB


class GrafanaSettings(SinglePortSettings):
    """Grafana: dashboards of the figures, also in Ray's dashboard. Its image is pulled. Runs beside Prometheus."""

    data_key = "data"
    enabled: bool = Field(default=False, description="Whether this host runs Grafana; its image is pulled.")
    image: PulledImageSettings = PulledImageSettings(reference="grafana/grafana:12.3.0")
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 384 * MIB
    user: User = Field(default="472:0", description="User and group in the container: those of Grafana's image.")
    port: HostPort = Field(default=3000, description=PORT)
    data: DataLocation = None


class RetentionSettings(Settings):
    """How long figures are kept: until either limit is reached."""

    days: Annotated[int, Field(ge=1, le=3650)] = Field(default=15, description="Days that figures are kept.")
    size: Memory = Field(
        default=5 * GIB, description="How much disk they may take, in Docker's notation; the oldest go first."
    )


class MetricsSettings(SinglePortSettings):
    """Prometheus: collects the figures of the stack's services, and fires alerts."""

    data_key = "data"
    enabled: bool = Field(default=False, description="Whether this host runs Prometheus and Alertmanager.")
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 512 * MIB
    port: HostPort = Field(default=9090, description=PORT)
    interval: Annotated[int, Field(ge=1, le=60)] = Field(
        default=15, description="Seconds from one collection of figures to the next; rules are evaluated as often."
    )
    retention: RetentionSettings = RetentionSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    redis_exporter: RedisExporterSettings = RedisExporterSettings()
    postgres_exporter: PostgresExporterSettings = PostgresExporterSettings()
    grafana: GrafanaSettings = GrafanaSettings()
    data: DataLocation = None
