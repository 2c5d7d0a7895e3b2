"""Facts about a host that a deployment needs: size, networks, routes, ports in use, folders, GPUs.

Reads Linux's own tables, with psutil except for routes, and asks the Docker Engine; changes nothing and contacts no
other host, unless ``DOCKER_HOST`` names one. Unknown facts stay empty, which skips the checks that need them.
"""

import ipaddress
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import DockerException

from config.mount_sources import spellings
from coordination.own_address import source_address
from docker_api.address import engine_is_local
from preflight.gpu_facts import GpuFacts

ENGINE_TIMEOUT = 5  # seconds
# In the environment of the official image, and in the PATH of Debian's and ours.
POSTGRES_MAJOR = re.compile(r"^PG_MAJOR=(\d+)|/usr/lib/postgresql/(\d+)/bin", re.MULTILINE)
DOCKER_BRIDGE = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}")  # names of interfaces
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
NVIDIA_TOOLKIT = ("nvidia-container-toolkit", "nvidia-container-runtime-hook", "nvidia-ctk")
SPECIAL = {
    stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a disk", stat.S_IFCHR: "a device", stat.S_IFIFO: "a pipe",
}  # fmt: skip
LABEL_PROJECT, LABEL_STACK, LABEL_COMPONENT = "cslr.project", "cslr.stack", "cslr.component"


@dataclass(frozen=True, kw_only=True)
class DockerNetwork:
    """A network of the Docker Engine."""

    name: str
    subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    interface: str = ""  # its bridge on the host


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route of the host, other than the default one."""

    network: str
    interface: str


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A TCP port that a process of the host listens on."""

    address: str  # "0.0.0.0" and "::" are all addresses
    port: int
    process: str | None = None  # None if unknown, usually for lack of permission


@dataclass(frozen=True, kw_only=True)
class ContainerPort:
    """A port of the host that a running container publishes."""

    container: str
    address: str
    port: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HostNetworkContainer:
    """A running container on the host network."""

    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataMount:
    """A folder or volume that a container of a stack mounts, running or stopped."""

    container: str
    source: str  # a path, or a volume's name
    target: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DockerVolume:
    """A named volume of the Docker Engine."""

    mountpoint: str = ""
    device: str = ""  # the host folder behind a volume that was made to show one


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A file or folder of the host, as a bind mount sees it."""

    is_folder: bool = True
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    has_acl: bool = False  # access control lists may allow more than the mode says
    special: str = ""  # a socket, a device, a pipe: in words

    @classmethod
    def at(cls, path: str) -> "Folder | None":
        """The folder at ``path``, or None. A folder that this user may not inspect counts as accessible."""
        try:
            facts = Path(path).stat()
        except PermissionError:
            return cls(has_acl=True)
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            if "system.posix_acl_access" in os.listxattr(path):
                return cls(has_acl=True)
        return cls(
            is_folder=stat.S_ISDIR(facts.st_mode),
            uid=facts.st_uid,
            gid=facts.st_gid,
            mode=facts.st_mode,
            special=next((words for kind, words in SPECIAL.items() if kind == stat.S_IFMT(facts.st_mode)), ""),
        )

    def allows(self, uid: int, gid: int, *, write: bool) -> bool:
        """Whether a process of that user and group may list the folder and, with ``write``, change it."""
        wanted = (0o7 if write else 0o5) if self.is_folder else (0o6 if write else 0o4)
        shift = 6 if uid == self.uid else 3 if gid == self.gid else 0
        return self.has_acl or (self.mode >> shift) & wanted == wanted


@dataclass(frozen=True, kw_only=True)
class RunningPostgres:
    """A running Postgres of a stack."""

    labels: Mapping[str, str]
    major: int  # version; 0: unknown


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """One host at one moment, as one stack sees it. Every default means "unknown", and no check fails for it."""

    project: str = "cslr"
    stack: str = "dev"
    cpus: int = 0
    memory_bytes: int = 0
    addresses: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()
    listeners: tuple[Listener, ...] = ()
    docker_reachable: bool = False
    engine_version: str = ""
    docker_networks: tuple[DockerNetwork, ...] = ()
    container_ports: tuple[ContainerPort, ...] = ()
    host_network: tuple[HostNetworkContainer, ...] = ()
    data_mounts: tuple[DataMount, ...] = ()
    postgres: tuple[RunningPostgres, ...] = ()
    postgres_in: Callable[[str], int] = lambda _: 0  # major version in an image; 0: unknown, or the image is not here
    gpu_runtime: bool = False
    gpus: GpuFacts = field(default_factory=GpuFacts)
    folder: Callable[[str], Folder | None] = Folder.at
    spellings: Callable[[str, str], tuple[str, ...]] = spellings
    docker_root: str = ""  # where the Engine keeps its data
    docker_volumes: Mapping[str, DockerVolume] = field(default_factory=dict)

    @classmethod
    def probe(cls, project: str, stack: str, *, gpus: bool = False) -> "HostFacts":
        """Probe the Docker Engine's host: this one, unless ``DOCKER_HOST`` names another.

        Without an Engine, only facts of this host. Takes a fraction of a second, plus NVML's time with ``gpus``.
        """
        local = engine_is_local()
        facts: dict[str, Any] = {"project": project, "stack": stack}
        if local:
            facts |= {
                "cpus": os.cpu_count() or 0,
                "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
                "addresses": host_addresses(),
                "routes": read_routes(_read("/proc/net/route")),
                "listeners": host_listeners(),
                "gpus": GpuFacts.probe() if gpus else GpuFacts(),
            }
        else:
            facts |= {"folder": lambda _: Folder(has_acl=True), "spellings": lambda path, _: (path,)}
        with suppress(DockerException, OSError, ValueError):
            facts |= _ask_engine(local=local)
        return cls(**facts)

    def all_spellings(self, source: str) -> tuple[str, ...]:
        """The other paths of a file on the Engine's host."""
        return self.spellings(source, self.docker_root)

    @property
    def ports_in_use(self) -> frozenset[int]:
        """Ports in use, on any address."""
        return frozenset({x.port for x in self.listeners} | {x.port for x in self.container_ports})

    @property
    def on_host_network(self) -> frozenset[str]:
        """Services of this stack on the host network, for which Docker does not list ports."""
        return frozenset(x.labels.get(LABEL_COMPONENT, "") for x in self.host_network if self.owns(x.labels))

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether a Docker object with these labels belongs to this stack."""
        return (labels.get(LABEL_PROJECT), labels.get(LABEL_STACK)) == (self.project, self.stack)


def outside_addresses() -> tuple[str, ...]:
    """This host's IPv4 addresses at which others may reach it, the one of the default route first.

    Without those of Docker's bridges, such as the stack's own, which exist only while their network does.
    """
    routes = read_routes(_read("/proc/net/route"))
    bridges = [ipaddress.IPv4Network(route.network) for route in routes if DOCKER_BRIDGE.fullmatch(route.interface)]
    found = sorted(map(ipaddress.IPv4Address, host_addresses()))
    outside = [one for one in found if not one.is_loopback and not any(one in bridge for bridge in bridges)]
    best = source_address("192.0.2.1")  # reserved for documentation, so the default route leads there
    return tuple(sorted(map(str, outside), key=lambda address: address != best))


def read_routes(table: str) -> tuple[Route, ...]:
    """The routes in the text of ``/proc/net/route``, without default routes."""
    routes = []
    for line in table.splitlines()[1:]:
        interface, destination, *rest = line.split()
        network = ipaddress.IPv4Network((_address(destination), _address(rest[5])), strict=False)
        if network.prefixlen:
            routes.append(Route(network=str(network), interface=interface))
    return tuple(routes)


def host_addresses() -> frozenset[str]:
    """The host's own IPv4 addresses, including those of interfaces that are down."""
    found = psutil.net_if_addrs().values()
    return frozenset(one.address for addresses in found for one in addresses if one.family == socket.AF_INET)


def host_listeners() -> tuple[Listener, ...]:
    """The listening TCP sockets, with their processes if this user may inspect them."""
    return tuple(
        Listener(address=_plain(one.laddr.ip), port=one.laddr.port, process=_process(one.pid))
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr
    )


def _plain(address: str) -> str:
    """An address in its usual notation; IPv4 in IPv6 becomes IPv4."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _process(number: int | None) -> str | None:
    """Name and number of a process."""
    try:
        return f"{psutil.Process(number).name()} (process {number})" if number else None
    except psutil.Error:  # it has ended, or may not be inspected
        return None


def _address(text: str) -> str:
    """The kernel's hexadecimal notation, little-endian, as an address."""
    return str(ipaddress.IPv4Address(bytes.fromhex(text)[::-1]))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _ask_engine(*, local: bool) -> dict[str, Any]:
    client = docker.from_env(timeout=ENGINE_TIMEOUT)
    try:
        info, networks, containers = client.api.info(), client.api.networks(), client.api.containers()
        of_stacks = client.api.containers(all=True, filters={"label": LABEL_STACK})
        volumes = client.api.volumes()["Volumes"] or ()
        postgres = tuple(_running_postgres(container, client) for container in containers if _is_postgres(container))
    finally:
        client.close()
    return {
        "docker_reachable": True,
        "engine_version": info.get("ServerVersion", ""),
        "cpus": info["NCPU"],
        "memory_bytes": info["MemTotal"],
        "docker_root": info["DockerRootDir"],
        "docker_volumes": {volume["Name"]: _volume(volume) for volume in volumes},
        "docker_networks": tuple(_network(network) for network in networks),
        "container_ports": tuple(port for container in containers for port in _container_ports(container)),
        "host_network": tuple(
            HostNetworkContainer(labels=container.get("Labels") or {})
            for container in containers
            if container.get("HostConfig", {}).get("NetworkMode") == "host"
        ),
        "data_mounts": tuple(mount for container in of_stacks for mount in _data_mounts(container)),
        "postgres": postgres,
        "postgres_in": _postgres_in,
        "gpu_runtime": "nvidia" in (info.get("Runtimes") or {}) or (local and _has_nvidia_toolkit()),
    }


def _volume(volume: dict[str, Any]) -> DockerVolume:
    options = volume.get("Options") or {}
    return DockerVolume(mountpoint=volume.get("Mountpoint") or "", device=options.get("device") or "")


def _network(network: dict[str, Any]) -> DockerNetwork:
    bridge = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return DockerNetwork(
        name=network["Name"],
        subnets=tuple(c["Subnet"] for c in (network["IPAM"].get("Config") or ()) if "." in c.get("Subnet", "")),
        labels=network.get("Labels") or {},
        interface=bridge or f"br-{network['Id'][:12]}",
    )


def _container_ports(container: dict[str, Any]) -> Iterable[ContainerPort]:
    for port in container.get("Ports") or ():
        if "PublicPort" in port and port.get("Type") == "tcp":
            yield ContainerPort(
                container=container["Names"][0].lstrip("/"),
                address=port.get("IP", "0.0.0.0"),  # noqa: S104 - this is what the Engine leaves out
                port=port["PublicPort"],
                labels=container.get("Labels") or {},
            )


def _data_mounts(container: dict[str, Any]) -> Iterable[DataMount]:
    for mount in container.get("Mounts") or ():
        yield DataMount(
            container=container["Names"][0].lstrip("/"),
            source=mount.get("Name") or mount.get("Source", ""),
            target=mount.get("Destination", ""),
            labels=container.get("Labels") or {},
        )


def _is_postgres(container: dict[str, Any]) -> bool:
    return (container.get("Labels") or {}).get(LABEL_COMPONENT) == "postgres"


def _running_postgres(container: dict[str, Any], client: docker.DockerClient) -> RunningPostgres:
    return RunningPostgres(labels=container["Labels"], major=postgres_major(container["ImageID"], client))


def postgres_major(image: str, client: docker.DockerClient) -> int:
    """The major version of Postgres in an image, as far as its environment says; 0 if it does not, or is not here."""
    with suppress(docker.errors.ImageNotFound):
        found = POSTGRES_MAJOR.search("\n".join(client.images.get(image).attrs["Config"].get("Env") or ()))
        return int(found[1] or found[2]) if found else 0
    return 0


def _postgres_in(image: str) -> int:
    with suppress(DockerException), closing(docker.from_env(timeout=ENGINE_TIMEOUT)) as client:
        return postgres_major(image, client)
    return 0


def _has_nvidia_toolkit() -> bool:
    specifications = [file for folder in CDI_FOLDERS for file in Path(folder).glob("*nvidia*")]
    return bool(specifications) or any(shutil.which(program) for program in NVIDIA_TOOLKIT)
