"""Finds the settings of a cluster: in the stack file, or in a cluster file that all hosts' stack files name.

Reads and validates them, and finds out which of the hosts this is. An error names the file that holds the settings,
and the keys as they are in that file.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from config import datasets
from config.cluster import HOST_KEY, KEY, REAL_GCS, ClusterSettings, Membership
from config.explain import explained
from config.json_text import parse_json
from config.keys import CLUSTER_KEY_SECRET
from config.ports import host_ports
from config.problems import Path as KeyPath
from config.problems import Problem, Remove, Set, SettingsError, closest, did_you_mean, dotted
from config.project import FOLDER
from config.services import SERVICES
from config.yaml_file import InvalidYamlError, read_yaml
from coordination.own_address import source_address

EXAMPLE = "cluster.example.yaml"
LONGEST_NAME = 255  # characters of a file's path that a message shows

ConfigText = Callable[[str], str | None]  # the text of a key of this project: "cluster", "host"


def find_membership(config: ConfigText, *, stack: str, stack_file: str, folder: Path = FOLDER) -> Membership | None:
    """This host's membership in its cluster; None for a single host.

    Raises:
        SettingsError: the block cannot work, or is not about this host.
    """
    text = config(KEY.partition(":")[2])
    if text is None:
        _refuse_half_a_cluster(config, stack_file)
        return None
    if text in ("", "null"):  # a forgotten value must not deploy a single host
        advice = f"Name the file that holds the cluster's block, as {EXAMPLE} does, or remove the key:"
        problem = Problem((), "has no value", advice, (Set((), "cluster.yaml"), Remove(())))
        raise SettingsError([problem], stack_file, KEY)
    raw, file, key = _read(text, stack_file, folder)
    cluster = parse(raw, file=file, key=key)
    if cluster.topology == "single":
        return None
    host = _own_host(cluster, config(HOST_KEY.partition(":")[2]), stack, stack_file, file)
    return Membership(cluster=cluster, host=host, file=file, key=key)


def _refuse_half_a_cluster(config: ConfigText, stack_file: str) -> None:
    for key in (HOST_KEY, *CLUSTER_KEY_SECRET):
        if config(key.partition(":")[2]) is not None:
            advice = f"Name the cluster's file with {KEY}, or remove the key, for a host on its own:"
            problem = Problem((), f"has no meaning without {KEY}", advice, (Remove(()),))
            raise SettingsError([problem], stack_file, key)


def parse(raw: object, *, file: str, key: str) -> ClusterSettings:
    """The settings in `raw`, which `file` has below `key`.

    Raises:
        SettingsError: with every problem that can be seen without looking at a host.
    """
    try:
        cluster = ClusterSettings.model_validate(raw)
    except ValidationError as error:
        raise explained(error, ClusterSettings, file, key) from None
    problems = [problem for check in CHECKS for problem in check(cluster)]
    if problems:
        raise SettingsError(problems, file, key)
    return cluster


def _read(text: str, stack_file: str, folder: Path) -> tuple[object, str, str]:
    """The block, the file that holds it, and its key in there."""
    try:
        raw = parse_json(text)
    except ValueError:
        raw = text
    if not isinstance(raw, str):
        return raw, stack_file, KEY
    path, name = folder / raw, raw[:LONGEST_NAME]
    try:
        return read_yaml(path), raw, ""
    except FileNotFoundError:
        reason, advice = f"{folder} has no file {name!r}", "Write it, the same for all hosts, for example from:"
        command = f"cp {EXAMPLE} {shlex.quote(name)}"
        raise SettingsError([Problem((), reason, advice, (command,))], stack_file, KEY) from None
    except (OSError, ValueError) as error:  # the latter for a NUL
        reason = f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
        problem = Problem((), reason, "Name a YAML file beside the stack files.")
        raise SettingsError([problem], stack_file, KEY) from None
    except InvalidYamlError as error:
        reason = f"is not valid YAML: {error}"
        raise SettingsError([Problem((), reason, f"{EXAMPLE} shows how it is written.")], raw, "") from None


def _own_host(cluster: ClusterSettings, named: str | None, stack: str, stack_file: str, file: str) -> str:
    """Which host of the cluster this is: as the stack says, or is called, or by the address of this machine."""
    if named is not None:
        if named not in cluster.hosts:
            meant = closest(named, cluster.hosts) or next(iter(cluster.hosts))
            reason = f"{named[:60]!r} is not a host of the cluster in {file}"
            problem = Problem((), reason, did_you_mean(named, cluster.hosts), (Set((), meant),))
            raise SettingsError([problem], stack_file, HOST_KEY)
        return named
    if stack in cluster.hosts:
        return stack
    # What is sent to an own address comes from that very address.
    own = [name for name, host in cluster.hosts.items() if source_address(host.address) == host.address]
    if len(own) == 1:
        return own[0]
    found = f"this machine has the addresses of {' and '.join(own)}" if own else "this machine has no address of theirs"
    problem = Problem(
        (),
        f"is needed: no host of the cluster in {file} is called {stack} as this stack is, and {found}",
        f"Say which of {', '.join(cluster.hosts)} this host is, for example:",
        (Set((), (own or list(cluster.hosts))[0]),),
    )
    raise SettingsError([problem], stack_file, HOST_KEY)


def there_are_hosts(cluster: ClusterSettings) -> Iterator[Problem]:
    """A cluster has a host."""
    if not cluster.hosts:
        example = {"alpha": {"address": "192.168.1.10"}}
        yield Problem(("hosts",), "names no host", "Name every host with its address:", (Set(("hosts",), example),))


def addresses_are_distinct(cluster: ClusterSettings) -> Iterator[Problem]:
    """No two hosts have one address."""
    owners: dict[str, str] = {}
    for name, host in cluster.hosts.items():
        owner = owners.setdefault(host.address, name)
        if owner != name:
            path = ("hosts", name, "address")
            yield Problem(
                path,
                f"{host.address} is already the address of {owner}",
                f"Give {name} its own address, as `ip -4 address` there shows it, or remove the host:",
                (Remove(("hosts", name)),),
            )


def named_hosts_exist(cluster: ClusterSettings) -> Iterator[Problem]:
    """Every host that a key names is one of the cluster's."""
    named = {("redis", "host"): cluster.redis.host, ("redis", "replica"): cluster.redis.replica}
    if cluster.mlflow:
        named["mlflow", "host"] = cluster.mlflow.host
    for path, name in named.items():
        if name is not None and name not in cluster.hosts:
            meant = closest(name, cluster.hosts) or next(iter(cluster.hosts), "alpha")
            yield Problem(path, _unknown(name), did_you_mean(name, cluster.hosts), (Set(path, meant),))
    lists: dict[KeyPath, tuple[str, ...]] = {("head_whitelist",): cluster.head_whitelist or ()}
    lists |= {(datasets.KEY, name, "hosts"): each.hosts or () for name, each in cluster.datasets.items()}
    for key, names in lists.items():
        for index, name in enumerate(names):
            entry: KeyPath = (*key, index)
            if name not in cluster.hosts:
                yield Problem(entry, _unknown(name), did_you_mean(name, cluster.hosts), (Remove(entry),))
            elif name in names[:index]:
                yield Problem(entry, f"{name} is listed twice", "Remove the second entry:", (Remove(entry),))


def _unknown(name: str) -> str:
    return f"{name[:60]!r} is not a host of this cluster"


def somebody_may_lead(cluster: ClusterSettings) -> Iterator[Problem]:
    """There is a host that may lead, or a head elsewhere."""
    if cluster.head_whitelist == () and cluster.head_address is None:
        yield Problem(
            ("head_whitelist",),
            "it is empty, so the Ray cluster would never have a head",
            "List the hosts that may lead, or remove the key, so that all may:",
            (Set(("head_whitelist",), list(cluster.hosts)[:3]),),
        )


def datasets_are_held(cluster: ClusterSettings) -> Iterator[Problem]:
    """A dataset is on some host, and no folder that hosts themselves depend on."""
    yield from datasets.problems(cluster.datasets)
    for name, dataset in cluster.datasets.items():
        if dataset.hosts == ():
            path = (datasets.KEY, name, "hosts")
            yield Problem(
                path,
                f"it is empty, so no host holds {name}",
                "List the hosts that hold it, or remove the key where all do:",
                (Set(path, list(cluster.hosts)[:3]), Remove(path)),
            )


def head_address_is_one_of_a_head(cluster: ClusterSettings) -> Iterator[Problem]:
    """A head that is a host of the cluster has its GCS on the planned port, and may lead; else no host here does."""
    host, path = cluster.single_head, ("head_address",)
    if cluster.head_address is None:
        return
    name, _, port = cluster.head_address.rpartition(":")
    if host is None:
        if "." not in name and (meant := closest(name, cluster.hosts)):
            remedies = (Set(path, f"{meant}:{REAL_GCS}"), Remove(path))
            yield Problem(
                path,
                _unknown(name),
                f"{did_you_mean(name, cluster.hosts)} A head elsewhere has a full name or an address.",
                remedies,
            )
        elif cluster.head_whitelist:
            whitelist = ("head_whitelist",)
            reason = f"it lists hosts that may lead, but the head is elsewhere, at {cluster.head_address}"
            yield Problem(whitelist, reason, "Remove one of the two keys:", (Remove(whitelist), Remove(path)))
        return
    if int(port) != REAL_GCS:
        yield Problem(
            path,
            f"the GCS of a head on a host of this cluster has the port {REAL_GCS}, not {port}",
            "Name that port, or remove the key, and the hosts elect their head:",
            (Set(path, f"{name}:{REAL_GCS}"), Remove(path)),
        )
    if cluster.head_whitelist is not None and host not in cluster.head_whitelist:
        yield Problem(
            path,
            f"{host} would be the only head, but head_whitelist says that it never leads",
            "Add it there, name another host, or remove the key, and the hosts elect their head:",
            (Set(("head_whitelist",), [host, *cluster.head_whitelist]), Remove(path)),
        )


def replica_is_elsewhere(cluster: ClusterSettings) -> Iterator[Problem]:
    """A replica on the host of Redis would be lost with it."""
    redis, path = cluster.redis, ("redis", "replica")
    if redis.replica == redis.host and redis.host in cluster.hosts:
        others = [name for name in cluster.hosts if name != redis.host]
        yield Problem(
            path,
            f"{redis.replica} runs Redis itself, and a replica there would be lost together with it",
            "Name another host, or remove the key:",
            (*(Set(path, name) for name in others[:1]), Remove(path)),
        )


def ports_are_outside_the_plan(cluster: ClusterSettings) -> Iterator[Problem]:
    """Ports that this block gives away are not those of Ray, and no two on one host are the same."""
    ports = {("redis", "port"): cluster.redis.port}
    if cluster.redis.replica:
        ports["redis", "replica_port"] = cluster.redis.replica_port
    if cluster.mlflow:
        ports["mlflow", "port"] = cluster.mlflow.port
    counts = Counter(ports.values())
    for path, port in ports.items():
        owner = lan_owner(port)
        twice = [dotted(other) for other, same in ports.items() if same == port and other != path]
        if owner or (counts[port] > 1 and path != ("redis", "port")):
            free = next(p for p in range(6381, 65536) if not lan_owner(p) and p not in counts)
            counts[free] += 1
            used = f"the port of {owner}" if owner else twice[0]
            yield Problem(path, f"{port} is already {used}", "Choose another port, for example:", (Set(path, free),))


def lan_owner(port: int, services: tuple[str, ...] = tuple(SERVICES)) -> str | None:
    """Which of some services has a port of its host in a cluster, and what for, in words; None for a free one."""
    for service in services:
        for purpose, first, last in host_ports(service):
            if first <= port <= last:
                return f"{service} ({purpose})"
    return None


CHECKS: tuple[Callable[[ClusterSettings], Iterator[Problem]], ...] = (
    there_are_hosts,
    addresses_are_distinct,
    named_hosts_exist,
    somebody_may_lead,
    datasets_are_held,
    head_address_is_one_of_a_head,
    replica_is_elsewhere,
    ports_are_outside_the_plan,
)
