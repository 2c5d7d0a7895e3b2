"""What every service component shares: what it is given, what it offers, how its entry program is started."""

import ast
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pulumi
import pulumi_docker as docker

from components.cluster_settings import ClusterPlace
from components.docker import ContainerSpec, Mount, PublishedPort, data_volume, run_container
from components.files import HostFiles
from components.http_proxy import HttpProxy
from components.identity import StackIdentity
from components.network import RayNetwork
from components.ports import REDIS
from components.secrets import SecretFiles
from components.service_settings import VolumeMount
from components.volume_owner import give_volume
from components.workspace import Workspace
from entrypoints.ray_hooks import HOOKS

ENTRYPOINTS = Path(__file__).parent.parent / "entrypoints"
PROGRAMS_TARGET = "/run/cslr"
HOOKS_PATH = f"{PROGRAMS_TARGET}/{ENTRYPOINTS.name}/site"  # on PYTHONPATH
# The host network lacks Docker's own resolver. Where that of the host is dead, Ray takes 20 s longer to start, and the
# firewall waits as long for each name of a host before it sets its first rule.
IMPATIENT_RESOLVER = {"RES_OPTIONS": "timeout:1 attempts:1"}


@dataclass(frozen=True, kw_only=True)
class Host:
    """The part of one Docker host that a stack occupies; the same for all its services."""

    identity: StackIdentity
    network: RayNetwork
    files: HostFiles
    secrets: SecretFiles
    env_secrets: Callable[[str], tuple[Mount, ...]]  # service → the files of its secret environment variables
    bind_address: Callable[[str], str]  # service → the address of this host that its ports are published on
    place: ClusterPlace | None  # None: the cluster is this host alone
    workspace: Workspace
    python: str  # the interpreter of this program, for the commands that it declares
    proxy: HttpProxy
    links: Mount  # what tasks and notebooks print for people to open (entrypoints/mlflow_links.py)
    first: tuple[pulumi.Resource, ...] = ()  # what every container waits for

    @property
    def ray_namespace(self) -> str:
        """The part of Redis that is this cluster's: others may keep theirs beside it."""
        return self.place.namespace if self.place else self.identity.prefix

    @property
    def redis_addresses(self) -> tuple[str, ...]:
        """Where the cluster's state is, as host:port: Redis as it was deployed, then its copy."""
        return self.place.redis_addresses if self.place else (f"redis:{REDIS}",)

    def program(self, file: str) -> Mount:
        """An entry program, mounted so that it works with pulled images too and needs no image build."""
        return Mount(source=self.files.program(ENTRYPOINTS / file), target=f"{PROGRAMS_TARGET}/{file}", read_only=True)

    def programs(self, *files: str) -> tuple[Mount, ...]:
        """Several entry programs."""
        return tuple(self.program(file) for file in files)

    def module(self, name: str) -> tuple[Mount, ...]:
        """An entry program of the package ``entrypoints``, the others of it that it imports, and what starts them."""
        return (self.program("with_python.sh"), *self._modules(imported_modules(name)))

    def ray_hooks(self) -> tuple[Mount, ...]:
        """The hooks into Ray, and what installs them in every Python process (HOOKS_PATH)."""
        hooks = {target.partition(":")[0] for targets in HOOKS.values() for target in targets}
        starter = Mount(
            source=self.files.program(ENTRYPOINTS / "site/sitecustomize.py"),
            target=f"{HOOKS_PATH}/sitecustomize.py",
            read_only=True,
        )
        modules = {module for name in ("ray_hooks", *hooks) for module in imported_modules(name)}
        return (starter, self.links, *self._modules(sorted(modules)))

    def _modules(self, names: Iterable[str]) -> tuple[Mount, ...]:
        folder = f"{PROGRAMS_TARGET}/{ENTRYPOINTS.name}"
        return tuple(
            Mount(source=self.files.program(source_of(name)), target=f"{folder}/{name}.py", read_only=True)
            for name in names
        )


def source_of(module: str) -> Path:
    """The file of a module of the package ``entrypoints``."""
    return ENTRYPOINTS / f"{module}.py"


@functools.cache
def imported_modules(name: str) -> tuple[str, ...]:
    """A module of the package ``entrypoints`` and all others of it that it imports, also by way of others, sorted."""
    known: set[str] = set()
    new = {name}
    while new:
        known |= new
        trees = [ast.parse(source_of(module).read_bytes()) for module in new]
        new = {module for tree in trees for node in ast.walk(tree) for module in _imports(node)} - known
    return tuple(sorted(known))


def _imports(node: ast.AST) -> Iterator[str]:
    """Modules of the package that a statement imports: ``from entrypoints.a import b``, ``from .a import b``."""
    if isinstance(node, ast.ImportFrom) and node.level == 1:
        yield from (str(node.module),) if node.module else (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module == ENTRYPOINTS.name:
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{ENTRYPOINTS.name}."):
        yield str(node.module).partition(".")[2]
    elif isinstance(node, ast.Import):
        names = [alias.name.partition(".") for alias in node.names]
        yield from (module for package, _, module in names if package == ENTRYPOINTS.name and module)


def program_path(file: str) -> str:
    """Where an entry program is inside a container."""
    return f"{PROGRAMS_TARGET}/{file}"


def run_python(file: str, *arguments: str) -> tuple[str, ...]:
    """Command that runs an entry program with whichever Python the image has."""
    return ("sh", program_path("with_python.sh"), program_path(file), *arguments)


def run_module(name: str, *arguments: str) -> tuple[str, ...]:
    """Command that runs one of the entry programs that import each other (`Host.module`)."""
    return ("sh", program_path("with_python.sh"), "-m", f"{ENTRYPOINTS.name}.{name}", *arguments)


def distinct(*mounts: Mount) -> tuple[Mount, ...]:
    """The mounts without those that are there before."""
    return tuple({mount.target: mount for mount in mounts}.values())


def extra_mounts(volumes: Sequence[VolumeMount]) -> tuple[Mount, ...]:
    """The mounts that a stack's settings add to a service."""
    return tuple(
        Mount(source=v.source, target=v.target, read_only=v.read_only, bind=v.source.startswith("/")) for v in volumes
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
        """A port on this host's address for the service; nothing where the settings name no host port."""
        address = self._deployed_on.bind_address(self.host)
        return (PublishedPort(internal=internal, external=external, ip=address),) if external else ()

    def _data(self, location: str | None, part: str, target: str) -> Mount:
        """Where data lives: a folder of the host (absolute path), a volume of the given name, or the default volume."""
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
        """Starts the container, once `after` is ready, and ends the component's construction."""
        proxied = self._deployed_on.proxy.environment(self.host, spec.env)
        self.container = run_container(
            f"{self.host}-container",
            replace(spec, env=proxied),
            identity=self._deployed_on.identity,
            network=self._deployed_on.network,
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
