"""Checks before anything starts that a host fits into its cluster, and names the conflicting hosts.

Uses only settings, ``HostFacts`` and ``ClusterFacts``. The rules between the cluster file and a host's own settings are
in ``config/cluster_file.py`` and ``config/cluster_rules.py``.
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from config.cluster import ClusterSettings, Membership
from config.cluster_file import lan_owner
from config.packages import lock_name
from config.platform import KEY, PlatformSettings
from config.ports import GATEWAY_LOOPBACK, host_ports
from config.problems import Notice, Path, Problem, Set, SettingsError
from config.remedies import set_command
from config.types import EVERYWHERE
from preflight import datasets
from preflight.cluster_facts import ClosedPort, ClusterFacts
from preflight.host import port_owner
from preflight.host_facts import LABEL_COMPONENT, LABEL_STACK, HostFacts
from stack.advertised_facts import versions

CLOCK_ERROR, CLOCK_WARNING = 5.0, 2.0  # seconds
VERSIONS = {"cuda": "CUDA", "python": "Python", "ray": "Ray"}
# Service → the key of the port to which other hosts connect.
SHARED_PORTS: dict[str, Path] = {
    "redis": ("redis", "port"),
    "redis-replica": ("redis", "replica_port"),
    "mlflow": ("mlflow", "port"),
}
CHECKPOINTS, EXAMPLE_CHECKPOINTS = "ray.checkpoints", "/mnt/nfs/checkpoints"
SETTABLE = ("cuda", "python")  # by keys below `images`; Ray follows from the version of this project

Finding = Problem | Notice


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The input of the checks."""

    settings: PlatformSettings
    membership: Membership
    host: HostFacts
    cluster: ClusterFacts


Check = Callable[[Situation], Iterator[Finding]]


def check(settings: PlatformSettings, host: HostFacts, cluster: ClusterFacts) -> list[Notice]:
    """Passes if the host fits into its cluster; returns notices. A single host always passes.

    Raises:
        SettingsError: with every reason why it does not.
    """
    membership = settings.membership
    if membership is None:
        return []
    situation = Situation(settings=settings, membership=membership, host=host, cluster=cluster)
    found = [finding for each in CHECKS for finding in each(situation)]
    problems = [finding for finding in found if isinstance(finding, Problem)]
    if problems:
        raise SettingsError(problems, membership.file, membership.key)
    return [finding for finding in found if isinstance(finding, Notice)]


def single_point(cluster: ClusterSettings) -> str | None:
    """A sentence about the host that is a single point of failure; None if another one has a replica."""
    redis = cluster.redis
    if redis.replica:
        return None
    lead = f", and {redis.host} may lead as well" if redis.host in cluster.candidates else ""
    return (
        f"Redis on {redis.host} is the single point of this cluster{lead}: while that host is down there is no head, "
        "and if its disk is lost, so is the state of the cluster. A replica on another host, `redis.replica`, "
        "prevents that"
    )


def address_is_ours(situation: Situation) -> Iterator[Finding]:
    """This host's address belongs to this machine, and is not the one that its containers see."""
    membership, host = situation.membership, situation.host
    path, own = _address(membership), membership.address
    if host.addresses and own not in host.addresses:
        others = sorted(a for a in host.addresses if not ipaddress.IPv4Address(a).is_loopback)
        yield Problem(
            path,
            f"{own} is not an address of this machine, which has {', '.join(others) or 'only the loopback'}",
            f"Correct it for all hosts; or this is not {membership.host}: then set which host it is in the stack file:",
            (set_command(host.stack, {"cslr:host": "NAME"}),),
        )
    for network in host.docker_networks:
        if any(ipaddress.IPv4Address(own) in ipaddress.IPv4Network(subnet) for subnet in network.subnets):
            yield Problem(
                path,
                f"{own} is in the Docker network {network.name}, which no other host can reach",
                "Give it the address that this host has in the network that the hosts share: `ip -4 address`.",
            )


def routes_lead_from_our_address(situation: Situation) -> Iterator[Finding]:
    """Traffic from this host to another has its own address as its source, by which Ray's nodes know it."""
    membership, host, cluster = situation.membership, situation.host, situation.cluster
    if host.addresses and membership.address not in host.addresses:
        return  # reported already
    for peer, source in cluster.sources.items():
        address = membership.peers[peer]
        if source is None:
            reason = f"{membership.host} has no route to {peer} at {address}"
            yield Problem(_address(membership, peer), reason, f"Connect them, or correct {peer}'s address.")
        elif source != membership.address:
            yield Problem(
                _address(membership),
                f"the route from here to {peer} at {address} leaves from {source}, not from {membership.address}",
                "Other hosts would see another host than the one they know. Give both addresses in one network:",
                (Set(_address(membership), source),),
            )


def ports_are_free(situation: Situation) -> Iterator[Finding]:
    """Ports that are the same on every host, or known to other hosts, are free on this one."""
    settings, membership, host = situation.settings, situation.membership, situation.host
    for service in settings.services():
        taken = () if service in host.on_host_network else tuple(_taken(membership, service, host))
        if not taken:  # or our own container listens there
            continue
        rival = next(
            (x.labels.get(LABEL_STACK) for x in host.host_network if x.labels.get(LABEL_COMPONENT) == service), ""
        )
        ports = ", ".join(f"{port} ({purpose}) by {owner}" for port, purpose, owner in taken)
        yield Problem(
            ("hosts", membership.host),
            f"ports of {service} are in use on {membership.host}: {ports}"
            + (f". The stack {rival} runs a {service} there" if rival else ""),
            "Ray has the same ports on every host of a cluster. "
            + ("Bring that stack down first:" if rival else "Stop that, or move it to other ports."),
            (f"ws down -s {rival}",) if rival else (),
        )
    for service, path in SHARED_PORTS.items():
        port = settings.service(service).host_ports["port",]
        owner = port_owner(port, membership.address, host) if membership.runs(service) else None
        if owner:
            free = next(p for p in range(port + 1, 65536) if p not in host.ports_in_use and not lan_owner(p))
            yield Problem(
                path,
                f"{port} is in use on {membership.host} by {owner}",
                "Stop that, or choose another port for all hosts, and deploy each of them again, for example:",
                (Set(path, free),),
            )


def _taken(membership: Membership, service: str, host: HostFacts) -> Iterator[tuple[int, str, str]]:
    """The ports of a service that others use, with their purpose and the process."""
    for purpose, first, last in host_ports(service):
        for port in sorted(port for port in host.ports_in_use if first <= port <= last):
            owner = next(filter(None, (port_owner(port, a, host) for a in _bound(membership, service, purpose))), None)
            if owner:
                yield port, purpose, owner


def _bound(membership: Membership, service: str, purpose: str) -> tuple[str, ...]:
    """The addresses that a port of the host network is bound to."""
    if service != "ray-gateway":
        return EVERYWHERE[:1]
    return (GATEWAY_LOOPBACK,) if purpose == "gcs" else (membership.address, "127.0.0.1")


def redis_answers(situation: Situation) -> Iterator[Finding]:
    """Redis accepts this host's login. It may also be down: hosts start in any order."""
    membership, cluster = situation.membership, situation.cluster
    if cluster.refusal:
        yield Problem(
            ("hosts", membership.host),
            f"the Redis of {membership.redis_host} does not let {membership.host} in: {cluster.refusal.rstrip('.')}",
            f"Both must have the same key of the cluster: `ws cluster key` on {membership.redis_host} says how to "
            "copy it.",
        )
    elif cluster.silence and membership.host != membership.redis_host:
        yield Notice(
            f"{membership.redis_host}'s Redis does not answer yet ({cluster.silence}): the Ray nodes of "
            f"{membership.host} wait "
            f"for it. Whether {membership.host} agrees with the other hosts could not be checked. If it is up: its "
            "firewall "
            f"lets in the hosts of its own block, so deploy {membership.redis_host} with the same block first (`ws "
            "up`)",
            warning=False,
        )


def clocks_agree(situation: Situation) -> Iterator[Finding]:
    """Clocks agree, so that events of all hosts can be ordered. The election does not depend on it."""
    membership, cluster = situation.membership, situation.cluster
    ahead = cluster.clock_ahead
    if ahead is None or abs(ahead) <= CLOCK_WARNING:
        return
    said = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} that of Redis on {membership.redis_host}"
    if abs(ahead) > CLOCK_ERROR:
        advice = "Let both hosts take the time from one server, for example:"
        yield Problem(
            ("hosts", membership.host),
            f"the clock of {membership.host} is {said}",
            advice,
            ("sudo timedatectl set-ntp true",),
        )
    else:
        yield Notice(f"the clock of {membership.host} is {said}")


def host_is_not_taken(situation: Situation) -> Iterator[Finding]:
    """No other machine that is up has this host's name or address, and no host's address differs from its report."""
    membership, cluster = situation.membership, situation.cluster
    for member in cluster.up:
        machine = member.facts.get("machine")
        path: Path = ("hosts", member.host)
        if member.host == membership.host and cluster.machine and machine and machine != cluster.machine:
            yield Problem(
                path,
                f"{membership.host} is up on another machine, at {member.address}, and reported {member.age:.0f} s ago",
                "Give this one another name. If it is the same machine whose state folder was lost, stop its gateway\n"
                "first; the name is free 10 s later:",
                (f"docker stop $(docker ps -q -f label=cslr.stack={member.facts.get('stack')} -f name=ray-gateway)",),
            )
        elif member.host != membership.host and member.address == membership.address:
            yield Problem(
                path,
                f"{member.host}, which is up, has the address {member.address}, which is {membership.host}'s here",
                f"Give {membership.host} its own address, or bring {member.host} down first: `ws down` there.",
            )
        elif member.host in membership.peers and member.address != membership.peers[member.host]:
            yield Problem(
                (*path, "address"),
                f"{membership.peers[member.host]} is not what {member.host} itself has, which is up at "
                f"{member.address}",
                "Hosts have different blocks: give all of them the same file, and deploy those again that change.",
            )


def versions_agree(situation: Situation) -> Iterator[Finding]:
    """All hosts that are up run the same Ray and Python, and images for the same CUDA."""
    settings, membership, cluster = situation.settings, situation.membership, situation.cluster
    own = versions(settings)
    for member in cluster.up:
        if member.host != membership.host:
            theirs = {name: str(member.facts.get(name, "")) for name in VERSIONS}
            yield from _version_problems(situation, own, theirs, member.host, "has")
    head = cluster.state.head if cluster.state else None
    if cluster.state and head and head.host != membership.host:
        running = dict(cluster.state.versions)
        running["python"] = ".".join(running.get("python", "").split(".")[:2])
        variant = settings.variant
        mine = own | {"cuda": variant.torch_cuda if own["cuda"] else ""}
        if not any(member.host == head.host and member.facts.get("ray") for member in cluster.up):
            yield from _version_problems(situation, mine, running, head.host, "leads the cluster with")


def packages_agree(situation: Situation) -> Iterator[Finding]:
    """Code finds the same packages on every host. Only a notice, because hosts are deployed one after another."""
    membership, cluster = situation.membership, situation.cluster
    own = versions(situation.settings)["packages"]
    for member in cluster.up:
        theirs = str(member.facts.get("packages", ""))
        if member.host != membership.host and own and theirs and theirs != own:
            lock = lock_name(f"Pulumi.{member.facts.get('stack', 'STACK')}.yaml")
            yield Notice(
                f"{membership.host} and {member.host} have different packages of their own ({own} here, {theirs} "
                "there), so "
                "that tasks find other modules on the one than on the other: give both the same images.packages, "
                f"images.apt and lock ({lock} on {member.host}), and deploy them"
            )


def checkpoints_are_shared(situation: Situation) -> Iterator[Finding]:
    """Runs find their checkpoints on every host. Only a notice, because hosts are deployed one after another."""
    membership, cluster, stack = situation.membership, situation.cluster, situation.host.stack
    key, own = f"{KEY}.{CHECKPOINTS}", situation.settings.ray.storage_path
    if own is None and membership.peers:
        yield Notice(
            f"{CHECKPOINTS} is not set, so {membership.host} keeps checkpoints in a home folder of its own, and a "
            "run that moves to another host starts from the beginning. If runs are to continue there, name a folder "
            f"that all hosts mount, or the URL of an object store: {set_command(stack, {key: EXAMPLE_CHECKPOINTS})} "
            "(docs/checkpoints.md)",
            warning=False,
        )
    for member in cluster.up:
        theirs = member.facts.get("checkpoints")
        # Hosts of earlier versions do not tell. A folder may have another path on each host.
        if member.host != membership.host and theirs is not None and theirs != (own or ""):
            yield Notice(
                f"{membership.host} and {member.host} keep checkpoints in different places ({own or 'its home folder'} "
                f"here, {theirs or 'its home folder'} there), so a run that moves from one to the other "
                f"starts from the beginning: set the same {CHECKPOINTS} on both, and deploy them"
            )


def _version_problems(
    situation: Situation, own: dict[str, str], theirs: dict[str, str], host: str, has: str
) -> Iterator[Problem]:
    membership, stack = situation.membership, situation.host.stack
    for name, word in VERSIONS.items():
        mine, other = own.get(name, ""), theirs.get(name, "")
        if mine and other and mine != other:
            commands = (set_command(stack, {f"{KEY}.images.{name}": other}),) if name in SETTABLE else ()
            yield Problem(
                ("hosts", membership.host),
                f"{membership.host} has images with {word} {mine}, but {host} {has} {word} {other}, and Ray refuses "
                "nodes of another version",
                "Deploy all hosts from the same version of this project, with the same pair of CUDA and Python"
                + (":" if commands else "."),
                commands,
            )


def networks_are_apart(situation: Situation) -> Iterator[Finding]:
    """No host that is up has containers with addresses of other hosts."""
    membership, cluster = situation.membership, situation.cluster
    for member in cluster.up:
        subnet = member.facts.get("subnet")
        if member.host == membership.host or not subnet:
            continue
        network = ipaddress.IPv4Network(subnet)
        if ipaddress.IPv4Address(membership.address) in network:
            yield Problem(
                _address(membership),
                f"{membership.address} is in {network}, the containers' network of {member.host}: {member.host} "
                "could not "
                "reach this host",
                f"Give the containers of {member.host} another network in its stack, and deploy it again:",
                (set_command(str(member.facts.get("stack")), {f"{KEY}.network.subnet": "…"}),),
            )


def peers_can_be_reached(situation: Situation) -> Iterator[Finding]:
    """Nothing between the hosts blocks the ports of their nodes."""
    membership, cluster = situation.membership, situation.cluster

    def peer(port: ClosedPort) -> str:
        return port.host

    for name, group in groupby(sorted(cluster.closed, key=peer), peer):
        closed = list(group)
        ports = ", ".join(f"{port.port} {port.purpose}" for port in closed)
        numbers = ",".join(str(port.port) for port in closed)
        yield Problem(
            ("hosts", name),
            f"from {membership.host} ({membership.address}) to {name} ({membership.peers[name]}), which is up, "
            "nothing gets through "
            f"to {ports}: {closed[0].error}",
            f"If {membership.host} is new in the block: `ws up` on {name} with the same block lets it in, and "
            "replaces\n"
            "the firewall alone. Else another firewall is in the way; docs/several-hosts.md has all ports:",
            (f"sudo iptables -I INPUT -p tcp -s {membership.address} -m multiport --dports {numbers} -j ACCEPT",),
        )
    epoch = cluster.state.epoch if cluster.state else 0
    leads = bool(cluster.state and cluster.state.head and cluster.state.head.host == membership.host)
    for member in cluster.up if leads else ():
        if member.blind == epoch:
            yield Notice(f"from {member.host} to {membership.host}, which leads, nothing gets through to its head")


def somebody_can_take_over(situation: Situation) -> Iterator[Finding]:
    """A notice names the cluster's single point of failure."""
    membership = situation.membership
    point, candidates = single_point(membership.cluster), membership.candidates
    if point:
        yield Notice(point)
    if membership.static_head:
        yield Notice(
            f"election is off: {membership.names('head_address')} says that the head is at {membership.static_head}, "
            "and no "
            "other host takes over when that is lost"
        )
    elif len(candidates) == 1:
        yield Notice(
            f"only {candidates[0]} may lead ({membership.names('head_whitelist')}): no host takes over when it is lost"
        )


def datasets_are_here(situation: Situation) -> Iterator[Finding]:
    """This host has the datasets that the cluster file says it holds."""
    yield from datasets.problems(situation.settings, situation.host)


def _address(membership: Membership, host: str | None = None) -> Path:
    return ("hosts", host or membership.host, "address")


CHECKS: tuple[Check, ...] = (
    address_is_ours,
    datasets_are_here,
    routes_lead_from_our_address,
    host_is_not_taken,
    ports_are_free,
    redis_answers,
    somebody_can_take_over,
    clocks_agree,
    versions_agree,
    packages_agree,
    checkpoints_are_shared,
    peers_can_be_reached,
    networks_are_apart,
)
