"""Keys that a host of a cluster may not set, because the cluster file decides them for all hosts.

Nothing here looks at the host or at its peers: that is ``preflight/cluster.py``.
"""

import ipaddress
from collections.abc import Callable, Iterator

from config.cluster import CLUSTER_SERVICES, Membership
from config.cluster_file import lan_owner
from config.platform import PlatformSettings
from config.problems import Path, Problem, Remove, Set
from config.services import SERVICES, Settings
from config.types import spare_subnet

# Key → why a cluster has no use for it, and the key of the cluster that says the same, if any.
DECIDED_BY_THE_CLUSTER: dict[Path, tuple[str, str | None]] = {
    ("ray", "head_whitelist"): ("all hosts must agree on which hosts may lead", "head_whitelist"),
    ("ray", "head_address"): ("where the head is, is the same for all hosts", "head_address"),
    ("ray", "health_url"): ("each host has a gateway, which finds the head", None),
    ("ray", "cpu", "ports"): ("Ray has the same ports on every host (docs/several-hosts.md)", None),
    ("ray", "gpu", "ports"): ("Ray has the same ports on every host (docs/several-hosts.md)", None),
    ("redis", "port"): ("other hosts must know it too", "redis.port"),
    ("redis", "replica", "port"): ("other hosts must know it too", "redis.replica_port"),
    ("datasets",): ("which hosts hold them is the same for all hosts", "datasets"),
    ("mlflow", "port"): ("other hosts must know it too", "mlflow.port"),
    ("mlflow", "base_url"): ("other hosts must know it too", "mlflow.base_url"),
    ("mlflow", "logins"): ("other hosts must know it too", "mlflow.logins"),
}


def run(settings: PlatformSettings, membership: Membership) -> list[Problem]:
    """Every problem of settings, as they are written, on one member host."""
    return [problem for check in CHECKS for problem in check(settings, membership)]


def shared_keys_are_in_the_cluster(settings: PlatformSettings, membership: Membership) -> Iterator[Problem]:
    """Values that all hosts must agree on are set once, in the cluster file."""
    for path, (why, shared) in DECIDED_BY_THE_CLUSTER.items():
        value = _written(settings, path)
        if value is None or (path[-1] == "port" and value == _written(settings.with_membership(membership), path)):
            continue
        reason = f"has no meaning on a host of the cluster {membership.cluster.name}: {why}"
        advice = f"Set {membership.names(shared)} instead, and remove this key:" if shared else "Remove it:"
        yield Problem(path, reason, advice, (Remove(path),))


def services_are_where_the_cluster_has_them(settings: PlatformSettings, membership: Membership) -> Iterator[Problem]:
    """No stack runs, or does without, what the cluster has elsewhere, or here."""
    for service in CLUSTER_SERVICES:
        path, runs = (*SERVICES[service], "enabled"), membership.runs(service)
        value = _written(settings, path)
        if value is None or value == runs:
            continue
        hosts = " and ".join(membership.hosts_of(service)) or "no host"
        yield Problem(
            path,
            f"the cluster {membership.cluster.name} has {service} on {hosts}, and this is {membership.host}",
            f"Change that in {membership.file} for all hosts, or remove this key:",
            (Remove(path),),
        )


def ports_are_outside_the_plan(settings: PlatformSettings, membership: Membership) -> Iterator[Problem]:
    """This host's published ports leave Ray's ports free, which are the same on every host."""
    merged = settings.with_membership(membership)
    taken = {port for _, port in merged.published_ports()}
    for path, port in merged.published_ports():
        owner = lan_owner(port, merged.services())
        if owner:
            other = next(
                p for p in (*range(port + 1, 65536), *range(1024, port)) if not lan_owner(p) and p not in taken
            )
            taken.add(other)
            reason = f"{port} is the port of {owner} on every host of a cluster"
            yield Problem(path, reason, "Choose another port, for example:", (Set(path, other),))


def containers_and_hosts_have_their_own_networks(
    settings: PlatformSettings, membership: Membership
) -> Iterator[Problem]:
    """A host with an address of the containers' network could not be reached from them."""
    path, subnet = ("network", "subnet"), settings.network.ipv4
    inside = [name for name, host in membership.cluster.hosts.items() if ipaddress.IPv4Address(host.address) in subnet]
    if inside:
        free = spare_subnet([host.address for host in membership.cluster.hosts.values()])
        yield Problem(
            path,
            f"{subnet} contains the addresses of {', '.join(inside)}, which containers could then not reach",
            "Choose a network for containers that no host of the cluster is in, for example:",
            (Set(path, free),),
        )


def _written(settings: PlatformSettings, path: Path) -> object:
    """A stack's value of a key; None if it is not set. An empty list counts as set."""
    node: object = settings
    for step in path:
        if not isinstance(node, Settings) or step not in node.model_fields_set:
            return None
        node = getattr(node, str(step))
    return node


CHECKS: tuple[Callable[[PlatformSettings, Membership], Iterator[Problem]], ...] = (
    shared_keys_are_in_the_cluster,
    services_are_where_the_cluster_has_them,
    ports_are_outside_the_plan,
    containers_and_hosts_have_their_own_networks,
)
