"""Whether a host can bear a stack, found out before anything changes.

``check`` looks only at settings and ``HostFacts``; what reads the host is in ``host_facts.py``.
"""

import ipaddress
import shlex
from collections.abc import Callable, Iterator

from components.checks import MINIMUM_MEMORY
from components.cluster_settings import ON_THE_LAN
from components.host_facts import LABEL_STACK, ContainerPort, HostFacts
from components.problems import Path, Problem, Remove, Set, SettingsError
from components.service_settings import SERVICES
from components.settings import KEY, PlatformSettings
from components.vocabulary import EVERYWHERE, format_quantity, is_path, parse_quantity, spare_subnet

__all__ = ["HostFacts", "check"]

HEADROOM = 0.75  # share of the host's memory that one service is advised to take at most
STEP = 2**28  # bytes; advised quantities are multiples of 256 MiB


def check(settings: PlatformSettings, facts: HostFacts, stack_file: str, key: str = KEY) -> None:
    """Passes if the host can bear the stack.

    Raises:
        SettingsError: with every reason why it cannot.
    """
    problems = [problem for find in CHECKS for problem in find(settings, facts)]
    if problems:
        raise SettingsError(problems, stack_file, key)


def subnet_is_free(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No route and no Docker network of others has addresses of the subnet."""
    wanted = settings.network.ipv4
    bridges = {network.interface for network in facts.docker_networks}
    others = [n for n in facts.docker_networks if not facts.owns(n.labels)]
    used = {subnet: f"the Docker network {network.name}" for network in others for subnet in network.subnets}
    used |= {r.network: f"a route over {r.interface}" for r in facts.routes if r.interface not in bridges}
    for subnet, owner in used.items():
        if wanted.overlaps(ipaddress.IPv4Network(subnet)):
            yield Problem(
                ("network", "subnet"),
                f"{wanted} overlaps {subnet}, which is {owner} on this host",
                "Addresses there would become unreachable. Choose a network that is free, for example:",
                (Set(("network", "subnet"), spare_subnet(list(used))),),
            )


def network_name_is_free(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No Docker network of others has the name."""
    name = settings.network.name
    for network in facts.docker_networks:
        if network.name == name and not facts.owns(network.labels):
            stack = network.labels.get(LABEL_STACK)
            owner = f"belongs to the stack {stack}" if stack else "was not made by this stack"
            yield Problem(
                ("network", "name"),
                f"a Docker network {name} is there already, and it {owner}",
                "Choose another name, or remove that network if nothing needs it:",
                (Set(("network", "name"), f"{name}-{facts.stack}"), f"docker network rm {name}"),
            )


def bind_address_is_ours(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Ports are published on an address that the host has."""
    address = settings.network.bind_address
    if address in EVERYWHERE or ipaddress.IPv4Address(address).is_loopback or not facts.addresses:
        return
    if address not in facts.addresses:
        own = sorted(a for a in facts.addresses if not ipaddress.IPv4Address(a).is_loopback)
        yield Problem(
            ("network", "bind_address"),
            f"{address} is no address of this host",
            f"It has {', '.join(own) or 'only the loopback'}. For this host only, use:",
            (Set(("network", "bind_address"), "127.0.0.1"),),
        )


def ports_are_free(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No process and no container of others has a port that the stack publishes."""
    bind = settings.network.bind_address
    taken = {p for _, p in settings.published_ports()} | facts.ports_in_use
    shared = {SERVICES[name] for name in ON_THE_LAN} if settings.place else set()  # cluster_checks.py sees to these
    for path, port in settings.published_ports():
        owner = port_owner(port, bind, facts)
        if owner and path[:-1] not in shared:
            other = next(p for p in (*range(port + 1, 65536), *range(1024, port)) if p not in taken)
            taken.add(other)
            yield Problem(
                path,
                f"{port} is in use on this host by {owner}",
                f"Stop that, or publish on another port of {bind}, for example:",
                (Set(path, other),),
            )


def port_owner(port: int, bind: str, facts: HostFacts) -> str | None:
    """Who else has the port, in words; None if it is free or already this stack's."""
    containers = [c for c in facts.container_ports if c.port == port and _overlap(c.address, bind)]
    if any(facts.owns(container.labels) for container in containers):
        return None
    if containers:
        return _container_in_words(containers[0])
    listeners = [x for x in facts.listeners if x.port == port and _overlap(x.address, bind)]
    known = next((x.process for x in listeners if x.process), "a process that only root can name")
    return known if listeners else None


def _container_in_words(port: ContainerPort) -> str:
    stack = port.labels.get(LABEL_STACK)
    return f"the container {port.container}" + (f" of the stack {stack}" if stack else "")


def _overlap(one: str, other: str) -> bool:
    return one == other or one in EVERYWHERE or other in EVERYWHERE


def limits_fit(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No service is promised more memory or cores than the host has."""
    for name in settings.services():
        service, path = settings.service(name), SERVICES[name]
        if facts.memory_bytes and service.memory > facts.memory_bytes:
            advised = int(facts.memory_bytes * HEADROOM) // STEP * STEP
            fits = advised >= parse_quantity(MINIMUM_MEMORY[name])
            command = Set((*path, "memory"), format_quantity(advised)) if fits else Set((*path, "enabled"), value=False)
            yield Problem(
                (*path, "memory"),
                f"{format_quantity(service.memory)} is more than the {facts.memory_bytes / 2**30:.1f}g of this host",
                "Give it less:" if fits else f"{name} needs {MINIMUM_MEMORY[name]}, so it cannot run here:",
                (command,),
            )
        if facts.cpus and service.cpus > facts.cpus:
            yield Problem(
                (*path, "cpus"),
                f"{service.cpus:g} is more than the {facts.cpus} CPU cores of this host",
                "Docker refuses such a container. Give it at most:",
                (Set((*path, "cpus"), facts.cpus),),
            )


def folders_are_accessible(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Each folder to mount is there, and the service's user may use it as it needs to."""
    for name in settings.services():
        service = settings.service(name)
        uid, gid = map(int, service.user.split(":"))
        for path, source, write in _bind_mounts(settings, name):
            folder = facts.folder(source)
            if folder is None:
                reason, advice = f"there is no folder {source} on this host", "Make it:"
            elif folder.is_folder and not folder.allows(uid, gid, write=write):
                reason = f"{source} cannot be {'written' if write else 'read'} by user {uid}, which {name} runs as"
                advice = "Choose a folder of that user's, or give it this one:"
            else:
                continue
            yield Problem(
                path,
                reason,
                advice,
                (f"sudo install -d -o {uid} -g {gid} {shlex.quote(source)}",),
            )


def _bind_mounts(settings: PlatformSettings, name: str) -> Iterator[tuple[Path, str, bool]]:
    """Key path, folder, and whether it is written to, of each folder of the host that a service mounts."""
    service, path = settings.service(name), SERVICES[name]
    if service.data_key and service.location and is_path(service.location):
        yield (*path, service.data_key), service.location, True
    for index, volume in enumerate(service.volumes):
        if is_path(volume.source):
            yield (*path, "volumes", index, "source"), volume.source, not volume.read_only


def gpus_are_usable(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Where the stack offers GPUs, Docker can hand them to containers."""
    if settings.gpu.enabled and facts.docker_reachable and not facts.gpu_runtime:
        yield Problem(
            ("gpu", "enabled"),
            "Docker on this host has no NVIDIA runtime, so no container could use a GPU",
            "Install NVIDIA's driver and its Container Toolkit, then run the first two lines; or do without GPUs:",
            (
                "sudo nvidia-ctk runtime configure --runtime=docker",
                "sudo systemctl restart docker",
                Set(("gpu", "enabled"), value=False),
                Remove(("ray", "gpu", "enabled")),
            ),
        )


CHECKS: tuple[Callable[[PlatformSettings, HostFacts], Iterator[Problem]], ...] = (
    network_name_is_free,
    subnet_is_free,
    bind_address_is_ours,
    ports_are_free,
    limits_fit,
    folders_are_accessible,
    gpus_are_usable,
)
