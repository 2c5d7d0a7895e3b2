"""The base class of service components, with their common inputs, program mounts and container."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.docker import ContainerSpec, PublishedPort, data_volume, run_container
from components.grafana_files import Panels
from components.network import RayNetwork
from components.topology import Topology
from components.volume_owner import give_volume
from components.workspace import Workspace
from config.datasets import DatasetSettings
from config.services import VolumeMount
from config.tls import web_port
from contracts import mlflow_login, ray_tls
from contracts.datasets import target
from stack import programs
from stack.http_proxy import HttpProxy
from stack.identity import StackIdentity
from stack.mount import Mount
from stack.ray_tls import RayCertificate
from stack.secrets import RAY_TOKEN, SecretFiles
from stack.state import HostFiles


@dataclass(frozen=True, kw_only=True)
class Host:
    """Values and resources that all services of a stack share on their host."""

    identity: StackIdentity
    network: RayNetwork
    files: HostFiles
    secrets: SecretFiles
    env_secrets: Callable[[str], tuple[Mount, ...]]  # service → the files of its secret environment variables
    bind_address: Callable[[str], str]  # service → the address of this host that its ports are published on
    topology: Topology
    workspace: Workspace
    python: str  # the interpreter of this program, for the commands that it declares
    proxy: HttpProxy
    links: Mount  # links that tasks and notebooks print for people (entrypoints/hooks/mlflow_links.py)
    panels: Panels = field(default_factory=Panels)  # of Ray's dashboard, if there is Grafana
    mlflow_logins: bool = False  # whether MLflow wants to know who asks
    ray_certificate: RayCertificate | None = None  # by which Ray's processes know each other, with Ray's own TLS
    behind_tls: tuple[str, ...] = ()  # services whose web port the service `tls` publishes in their place
    first: tuple[pulumi.Resource, ...] = ()  # resources that every container waits for

    def program(self, file: str) -> Mount:
        """The mount of a single-file program."""
        source = self.files.program(programs.ENTRYPOINTS / file)
        return Mount(source=source, target=programs.program_path(file), read_only=True)

    def programs(self, *files: str) -> tuple[Mount, ...]:
        """Mounts of several single-file programs."""
        return tuple(self.program(file) for file in files)

    def module(self, *names: str) -> tuple[Mount, ...]:
        """Mounts of modules that a container starts (full names), of their imports, and of with_python.sh."""
        return (self.program("with_python.sh"), *self._modules(names))

    def mlflow_login(self, user: str) -> tuple[Mount, ...]:
        """The mount of the password of the platform's account in MLflow; none where there are no logins."""
        return (self.secrets.mount(mlflow_login.SERVICE_SECRET, user=user),) if self.mlflow_logins else ()

    def ray_access(self, user: str) -> tuple[Mount, ...]:
        """Mounts of what a process of Ray or a Ray Client shows: the token, and its certificate with Ray's own TLS."""
        files = self.ray_certificate.files if self.ray_certificate else {}
        certificate = (self.secrets.document(name, text, user=user) for name, text in files.items())
        return (self.secrets.mount("ray-token", user=user), *certificate)

    @property
    def ray_access_environment(self) -> Mapping[str, str]:
        """What tells Ray where that is."""
        return {**RAY_TOKEN, **(ray_tls.environment() if self.ray_certificate else {})}

    def examples(self) -> Mount:
        """The mount of the archive of the examples."""
        source = self.files.document(programs.EXAMPLES, programs.examples())
        return Mount(source=source, target=programs.program_path(programs.EXAMPLES), read_only=True)

    def ray_hooks(self) -> tuple[Mount, ...]:
        """Mounts of the hooks into Ray and of the sitecustomize module that installs them (HOOKS_PATH)."""
        return (self.links, *self._modules(programs.modules_in("entrypoints.hooks")))

    def _modules(self, names: Iterable[str]) -> tuple[Mount, ...]:
        """Mounts of the modules, their imports, and the files that these read."""
        return tuple(
            Mount(source=self.files.program(source), target=programs.mounted_at(source), read_only=True)
            for name in sorted({module for name in names for module in programs.imported_modules(name)})
            for source in (programs.source_of(name), *programs.given_with(name))
        )


def distinct(*mounts: Mount) -> tuple[Mount, ...]:
    """The mounts, one for each target."""
    return tuple({mount.target: mount for mount in mounts}.values())


def extra_mounts(volumes: Sequence[VolumeMount]) -> tuple[Mount, ...]:
    """The mounts that a stack's settings add to a service."""
    return tuple(
        Mount(source=v.source, target=v.target, read_only=v.read_only, bind=v.source.startswith("/")) for v in volumes
    )


def dataset_mounts(service: str, datasets: Mapping[str, DatasetSettings]) -> tuple[Mount, ...]:
    """The mounts of a host's datasets in a service."""
    return tuple(
        Mount(source=each.source, target=target(service, name), read_only=each.read_only)
        for name, each in datasets.items()
    )


class Service(pulumi.ComponentResource):
    """A component with one container. Ready when that container is healthy."""

    host: str  # alias on the network; a constant, so previews know it
    port: int  # inside the network
    container: docker.Container

    def __init__(
        self, token: str, name: str, *, deployed_on: Host, port: int, opts: pulumi.ResourceOptions | None
    ) -> None:
        super().__init__(token, name, None, opts)
        self.host = name
        self.port = port
        self._deployed_on = deployed_on

    def _publish(self, internal: int, external: int | None) -> tuple[PublishedPort, ...]:
        """The service's published port; none if the settings name no host port, or nginx publishes it."""
        if self.host in self._deployed_on.behind_tls and internal == web_port(self.host):
            return ()
        address = self._deployed_on.bind_address(self.host)
        return (PublishedPort(internal=internal, external=external, ip=address),) if external else ()

    def _data(self, location: str | None, part: str, target: str) -> Mount:
        """The data's mount: a folder of the host (absolute path), a volume of the given name, or the default volume."""
        if location is not None and location.startswith("/"):
            return Mount(source=location, target=target)
        identity = self._deployed_on.identity
        volume = data_volume(
            f"{self.host}-{part}",
            location or identity.object_name(f"{self.host}-{part}"),
            self.host,
            identity=identity,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return Mount(source=volume.name, target=target, bind=False)

    def _run(self, spec: ContainerSpec, *, after: Sequence[pulumi.Resource] = ()) -> None:
        """Starts the container once `after` is ready, and registers the component's outputs."""
        self.container = run_container(
            f"{self.host}-container",
            spec,
            identity=self._deployed_on.identity,
            network=self._deployed_on.network,
            proxy=self._deployed_on.proxy,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*self._deployed_on.first, *after, *self._given_volumes(spec)]
            ),
        )
        self.register_outputs({"host": self.host, "port": self.port, "container_id": self.container.id})

    def _given_volumes(self, spec: ContainerSpec) -> Iterator[pulumi.Resource]:
        """The volumes that the settings add, once they belong to the service's user."""
        for mount in spec.mounts:
            if isinstance(mount.source, str) and not mount.bind and not mount.read_only:
                yield give_volume(
                    f"{self.host}-volume-{mount.source}",
                    mount.source,
                    target=mount.target,
                    image=spec.image,
                    user=spec.user,
                    python=self._deployed_on.python,
                    opts=pulumi.ResourceOptions(parent=self),
                )
