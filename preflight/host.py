"""Checks before anything changes that a host can run a stack.

``check`` uses only settings and ``HostFacts``; ``host_facts.py`` reads the host.
"""

import ipaddress
import shlex
from collections.abc import Callable, Iterator

from config.cluster import ON_THE_LAN
from config.mount_sources import refusal
from config.notation import listed_as
from config.platform import KEY, PlatformSettings
from config.platform_rules import MINIMUM_MEMORY, mounted, without_hint
from config.problems import Notice, Path, Problem, Remove, Set, SettingsError, Together, distinct
from config.services import SERVICES
from config.types import EVERYWHERE, format_quantity, is_path, parse_quantity, spare_subnet
from images.variants import VARIANTS
from preflight import datasets
from preflight.folders import closed_folder, missing_folder
from preflight.gpu_facts import GpuFacts
from preflight.host_facts import LABEL_COMPONENT, LABEL_STACK, ContainerPort, HostFacts
from preflight.shared_data import data_is_not_shared
from stack.identity import COMPOSE_LABEL, EMBEDDED_LABEL

__all__ = ["HostFacts", "check", "notices"]

HEADROOM = 0.75  # share of the host's memory that one service is advised to take at most
STEP = 2**28  # bytes; advised quantities are multiples of 256 MiB


def check(settings: PlatformSettings, facts: HostFacts, stack_file: str, key: str = KEY) -> None:
    """Passes if the host can run the stack.

    Raises:
        SettingsError: with every reason why it cannot.
    """
    if problems := distinct(problem for find in CHECKS for problem in find(settings, facts)):
        raise SettingsError(problems, stack_file, key)


def subnet_is_free(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No route and no other Docker network overlaps the subnet."""
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
    """No Docker network of another owner has the name."""
    name = settings.network.name
    for network in facts.docker_networks:
        if network.name == name and not facts.owns(network.labels):
            stack = network.labels.get(LABEL_STACK)
            owner = f"belongs to the stack {stack}" if stack else "was not made by this stack"
            yield Problem(
                ("network", "name"),
                f"a Docker network {name} is there already, and it {owner}",
                "Choose another name; the second line shows who uses that network:",
                (Set(("network", "name"), f"{name}-{facts.stack}"), f"docker network inspect {shlex.quote(name)}"),
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
            f"{address} is not an address of this host",
            f"It has {', '.join(own) or 'only the loopback'}. For this host only, use:",
            (Set(("network", "bind_address"), "127.0.0.1"),),
        )


def ports_are_free(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No foreign process or container uses a port that the stack publishes."""
    binds = {settings.key(name): settings.bind_address(name) for name in settings.services()}
    taken = {p for _, p in settings.published_ports()} | facts.ports_in_use
    shared = {SERVICES[name] for name in ON_THE_LAN} if settings.membership else set()  # cluster.py checks these
    for path, port in settings.published_ports():
        bind = binds.get(path[:-1], settings.network.bind_address)
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


def ports_are_given_up(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No container that Pulumi made holds a port that another service gets.

    Pulumi would start that service before it removes or replaces the container. The embedded engine and Compose free
    such ports first; `tls` starts after all services whose ports it takes.
    """
    gets = {port: (settings.publisher(name, port), path) for name, path, port in settings.ports_by_service()}
    refused: set[str] = set()
    for held in sorted(facts.container_ports, key=lambda one: (one.container, one.port)):
        service, path = gets.get(held.port, ("tls", ()))
        if service in ("tls", held.labels.get(LABEL_COMPONENT)) or not _is_by_pulumi(held, facts):
            continue
        if held.container not in refused:
            refused.add(held.container)
            yield Problem(
                path,
                f"{held.port} is held by {held.container}, which Pulumi would not end before {service} needs it",
                "End it, and deploy again (with Pulumi's own CLI: pulumi up --refresh). What runs in it ends, and its "
                "data is kept:",
                (f"docker rm --force {held.container}",),
            )


def postgres_reads_its_data(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """The Postgres that runs is of the version that the stack file asks for: no other one reads its data."""
    if "postgres" not in settings.services():
        return
    image = settings.postgres.image
    wanted = facts.postgres_in(image.reference) if image.reference else settings.postgres.version
    for running in facts.postgres:
        if facts.owns(running.labels) and 0 not in (running.major, wanted) and wanted != running.major:
            way = (
                f"Bring the data to {wanted}: ws postgres upgrade -s {facts.stack}. Or stay with {running.major}"
                if running.major < wanted
                else f"docs/operating.md has the way back to data of before the upgrade. To stay with {running.major}"
            )
            what = f"{wanted} does not read the data of Postgres {running.major}, which runs"
            if image.reference:
                reference = ("postgres", "image", "reference")
                yield Problem(reference, f"the image's Postgres {what}", f"{way}, name an image of it.")
            else:
                yield Problem(("postgres", "version"), what, f"{way}:", (Set(("postgres", "version"), running.major),))


def _is_by_pulumi(port: ContainerPort, facts: HostFacts) -> bool:
    return facts.owns(port.labels) and not {EMBEDDED_LABEL, COMPOSE_LABEL} & port.labels.keys()


def port_owner(port: int, bind: str, facts: HostFacts) -> str | None:
    """A description of the port's other owner; None if it is free or already this stack's."""
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
    """No service gets more memory or cores than the host has."""
    for name in settings.services():
        service, least = settings.service(name), MINIMUM_MEMORY[listed_as(name)]
        memory, cpus = settings.key(name, "memory"), settings.key(name, "cpus")
        if facts.memory_bytes and service.memory > facts.memory_bytes:
            advised = int(facts.memory_bytes * HEADROOM) // STEP * STEP
            fits = advised >= parse_quantity(least)
            disabled = Set(settings.key(name, "enabled"), value=False)
            yield Problem(
                memory,
                f"{format_quantity(service.memory)} is more than the {facts.memory_bytes / 2**30:.1f}g of this host",
                "Give it less:" if fits else f"{listed_as(name)} needs {least}, so it cannot run here:",
                (Set(memory, format_quantity(advised)) if fits else disabled,),
            )
        if facts.cpus and service.cpus > facts.cpus:
            yield Problem(
                cpus,
                f"{service.cpus:g} is more than the {facts.cpus} CPU cores of this host",
                "Docker refuses such a container. Give it at most:",
                (Set(cpus, facts.cpus),),
            )


def ray_nodes_share_the_cores(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """The host's compute nodes together get no more cores than the host has: Ray would use all at once."""
    limits = {name: node.cpus for name, node in settings.ray_nodes.items()}
    wanted = sum(limits.values())
    if len(limits) > 1 and max(limits.values()) <= facts.cpus < wanted:  # else limits_fit names the one
        parts = {name: max(int(limit * facts.cpus / wanted * 2) / 2, 0.5) for name, limit in limits.items()}
        yield Problem(
            (*SERVICES[next(iter(limits))], "cpus"),
            " and ".join(f"{limit:g} of {name}" for name, limit in limits.items())
            + f" are {wanted:g}, more than the {facts.cpus} CPU cores of this host",
            "Tasks of both would get in each other's way. Divide them, for example:",
            (Together(tuple(Set((*SERVICES[name], "cpus"), f"{part:g}") for name, part in parts.items())),),
        )


def ray_nodes_share_the_memory(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """The host's nodes together get no more memory than it has: the kernel would kill one of them."""
    nodes = [*settings.ray_nodes, *(("ray-head",) if settings.ray.head.enabled else ())]
    limits = {name: settings.service(name).memory for name in nodes}
    wanted, has = sum(limits.values()), facts.memory_bytes
    if len(limits) < 2 or not max(limits.values()) <= has < wanted:
        return
    parts = {name: int(limit * has / wanted * HEADROOM) // STEP * STEP for name, limit in limits.items()}
    fits = all(part >= parse_quantity(MINIMUM_MEMORY[name]) for name, part in parts.items())
    division = Together(tuple(Set((*SERVICES[name], "memory"), format_quantity(part)) for name, part in parts.items()))
    yield Problem(
        (*SERVICES[nodes[0]], "memory"),
        " and ".join(f"{format_quantity(limit)} of {name}" for name, limit in limits.items())
        + f" are {wanted / 2**30:g}g, more than the {has / 2**30:.1f}g of this host",
        "Divide it, for example:" if fits else "That is too little for all of them. Do without one, for example:",
        (division,) if fits else (Set((*SERVICES[nodes[0]], "enabled"), value=False),),
    )


def host_is_not_mounted(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No container mounts vital files of this host, under any path."""
    for removed, path, source, write in mounted(settings):
        volume = facts.docker_volumes.get(source)
        folder = volume.device if volume else source
        if not is_path(folder):
            continue
        found = facts.folder(folder)
        reasons = [refusal(one, write=write, docker_root=facts.docker_root) for one in facts.all_spellings(folder)]
        reason = next(filter(None, reasons), None)
        if found and found.special and not reason:
            reason = f"{source} is {found.special} of this host; only folders and files are mounted"
        if reason:
            same = "" if source in reason else f"{source} leads to what is not for containers: "
            reason = without_hint(reason, path)
            yield Problem(path, f"{same}{reason}", "Name another folder, or remove the key:", (Remove(removed),))


def folders_are_accessible(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Each folder to mount exists, and the service's user has the access that it needs.

    Existing files belong to someone: no remedy changes their owner or mode.
    """
    for name in settings.services():
        uid, gid = map(int, settings.service(name).user.split(":"))
        for path, source, write in _bind_mounts(settings, name):
            found = facts.folder(source)
            own = path[-1] != "source"  # the platform's own data, for which a volume would do too
            removed = path if own else path[:-1]
            if found is None:
                yield missing_folder(path, source, facts, f"-o {uid} -g {gid}", Remove(removed))
            elif own and not found.is_folder:
                reason = f"{source} is a file, and {name} needs a folder"
                yield Problem(path, reason, "Name a folder, or remove the key to get a volume:", (Remove(removed),))
            elif not found.allows(uid, gid, write=write):
                yield closed_folder(path, source, found, name=listed_as(name), uid=uid, write=write, removed=removed)


def _bind_mounts(settings: PlatformSettings, name: str) -> Iterator[tuple[Path, str, bool]]:
    """Key path and folder of each host folder that a service mounts, and whether it is written to."""
    service, path = settings.service(name), settings.key(name)
    if name == next(iter(settings.workspace_users), None):  # all of them mount the same folders
        for key, location in settings.ray.work_locations.items():
            if location and is_path(location):
                yield ("ray", key), location, True
    if service.data_key and service.location and is_path(service.location):
        yield (*path, service.data_key), service.location, True
    for key, location in service.read_locations.items():
        if location and is_path(location):
            yield (*path, key), location, False
    for index, volume in enumerate(service.volumes):
        if is_path(volume.source):
            yield (*path, "volumes", index, "source"), volume.source, not volume.read_only


def datasets_are_here(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Each dataset of a single host is a folder that containers can read; those of a cluster: preflight/cluster.py."""
    if not settings.membership:
        yield from datasets.problems(settings, facts)


def gpus_are_usable(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """If the stack offers GPUs, the host has them, and Docker can pass them to containers."""
    if not settings.gpu.enabled:
        return
    off = Set(("gpu", "enabled"), value=False)
    without = (Together((off, Set(("ray", "gpu", "enabled"), value=False))) if settings.ray.gpu.enabled else off,)
    if facts.gpus.silence:
        yield Problem(
            ("gpu", "enabled"), facts.gpus.silence, "Fix that, or do without GPUs:", (facts.gpus.remedy, *without)
        )
    if facts.docker_reachable and not facts.gpu_runtime:
        yield Problem(
            ("gpu", "enabled"),
            "Docker on this host has no NVIDIA runtime, so no container could use a GPU",
            "Install NVIDIA's driver and its Container Toolkit, then run the first two lines; or do without GPUs:",
            (
                "sudo nvidia-ctk runtime configure --runtime=docker",
                "sudo systemctl reload docker",  # a restart would end all containers of the host
                *without,
            ),
        )
    yield from _unknown_devices(settings, facts.gpus)
    yield from _old_driver(settings, facts.gpus)


def notices(settings: PlatformSettings, facts: HostFacts) -> Iterator[Notice]:
    """What works on this host with limits."""
    variant, branch = settings.variant, _branch_for_built(settings, facts.gpus)
    if settings.gpu.enabled and branch is not None and variant.oldest_driver <= branch < variant.driver:
        yield Notice(
            f"CUDA {variant.cuda} came with NVIDIA's driver branch {variant.driver}; this host has "
            f"{facts.gpus.driver}. "
            f"NVIDIA supports that from branch {variant.oldest_driver} on, with a limited feature set: kernels that an "
            "extension brings as PTX alone fail, and so does what needs the newer driver. Update it where you can"
        )


def _branch_for_built(settings: PlatformSettings, gpus: GpuFacts) -> int | None:
    """The driver's branch, where an image that is built here uses GPUs; what a pulled one needs is not known."""
    built = settings.torch == "cuda" and settings.ray.gpu.image.source != "pull"
    return gpus.branch if built else None


def _unknown_devices(settings: PlatformSettings, gpus: GpuFacts) -> Iterator[Problem]:
    if gpus.gpus is None:
        return
    there = ", ".join(map(str, (*gpus.gpus, *gpus.parts))) or "none"
    offered = settings.gpu.offered
    if offered.every and not gpus.gpus:
        reason = "the NVIDIA driver sees no GPU on this host"
        yield Problem(("gpu", "enabled"), reason, "Do without:", (Set(("gpu", "enabled"), value=False),))
    for index, device in enumerate(offered.devices):
        if not gpus.knows(device):
            yield Problem(
                ("gpu", "devices", index),
                f"there is no GPU {device} on this host",
                f"It has these: {there}. Name some of them by number or UUID, or take all:",
                (Set(("gpu", "devices"), "all"),),
            )


def _old_driver(settings: PlatformSettings, gpus: GpuFacts) -> Iterator[Problem]:
    needed, branch = settings.variant.oldest_driver, _branch_for_built(settings, gpus)
    if branch is None or branch >= needed:
        return
    possible = [variant for variant in VARIANTS if variant.oldest_driver <= branch]
    others = (
        (Together((Set(("images", "cuda"), possible[0].cuda), Set(("images", "python"), possible[0].python))),)
        if possible
        else ()
    )
    yield Problem(
        ("images", "cuda"),
        f"CUDA {settings.images.cuda} needs an NVIDIA driver of branch {needed} or newer; this host has {gpus.driver}",
        "Update the driver" + (", or choose images for an older CUDA:" if others else "."),
        others,
    )


CHECKS: tuple[Callable[[PlatformSettings, HostFacts], Iterator[Problem]], ...] = (
    network_name_is_free,
    subnet_is_free,
    bind_address_is_ours,
    ports_are_free,
    ports_are_given_up,
    postgres_reads_its_data,
    limits_fit,
    ray_nodes_share_the_cores,
    ray_nodes_share_the_memory,
    host_is_not_mounted,
    folders_are_accessible,
    data_is_not_shared,
    datasets_are_here,
    gpus_are_usable,
)
