"""Compares Docker objects with the inputs that they were made with, field by field.

A field is compared in the Engine API's form: what the engine asks for on creation against what `docker inspect` shows.
Imports no Pulumi, so that `ws ps` can use it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.notation import format_quantity
from docker_api.api import Json
from embedded_engine.changes import CONTAINER, IMAGE, NETWORK, VOLUME
from embedded_engine.container_body import NANOSECONDS, body
from embedded_engine.differences import differences
from embedded_engine.labels import recorded_inputs

KINDS = {CONTAINER: "container", NETWORK: "network", VOLUME: "volume", IMAGE: "image"}
MISSING = "is missing"
UNDECLARED = "is not declared"
RUNNING = "running"
DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval")  # of a health check
ON_DISK = ("bind", "volume")  # types of mounts that the program declares


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One difference between an object on the host and its declaration. Without a field, it is about the whole."""

    kind: str  # container
    name: str  # cslr-dev-redis
    field: str = ""  # memory
    difference: str  # 512m → 1g


@dataclass(frozen=True, kw_only=True)
class Field:
    """How a field is read from the request that creates an object, and from the inspection of it."""

    declared: Callable[[Json], Any]
    found: Callable[[Json], Any]
    optional: bool = False  # whether it is compared only where it is declared: Docker has a default


def _config(key: str) -> Field:
    # Engines report an empty list, or none at all.
    return Field(declared=lambda body: body[key] or None, found=lambda inspected: inspected["Config"].get(key) or None)


def _host(key: str, shown: Callable[[Any], Any] = lambda value: value) -> Field:
    return Field(
        declared=lambda body: shown(body["HostConfig"].get(key)),
        found=lambda inspected: shown(inspected["HostConfig"].get(key)),
    )


def _undeclared(key: str) -> Field:
    """A limit that no service has. Docker reports none as 0, -1, an empty text or nothing."""

    def found(inspected: Json) -> Any:  # noqa: ANN401
        value = inspected["HostConfig"].get(key)
        return None if value in (0, -1, "", None) else value

    return Field(declared=lambda _: None, found=found)


def _size(value: int | None) -> str:
    return format_quantity(value) if value and value > 0 else str(value or 0)


def _listed(value: list[Any] | None) -> list[Any]:
    return sorted(value or [])


def _published(bindings: Mapping[str, list[Mapping[str, str]] | None] | None) -> list[str]:
    return sorted(
        f"{one.get('HostIp') or '*'}:{one['HostPort']} → {port}"
        for port, ends in (bindings or {}).items()
        for one in ends or ()
    )


def _devices(requests: list[Mapping[str, Any]] | None) -> list[str]:
    return [
        f"{one['Driver']} {one.get('DeviceIDs') or one.get('Count')} {one.get('Capabilities')}"
        for one in requests or ()
    ]


def _mount(source: str, target: str, *, writable: bool) -> str:
    return f"{source} → {target}{'' if writable else ' (read-only)'}"


def _mounted(inspected: Json) -> list[str]:
    return sorted(
        _mount(
            one["Name"] if one["Type"] == "volume" else one["Source"], one["Destination"], writable=one.get("RW", True)
        )
        for one in inspected.get("Mounts") or ()
        if one["Type"] in ON_DISK
    )


def _check(check: Json) -> Json:
    """A health check, whose times Docker has in nanoseconds."""
    return {key: f"{value / NANOSECONDS:g} s" if key in DURATIONS and value else value for key, value in check.items()}


DOCKERS_OWN = "label=disable"  # a security option that Docker adds where a container sees the host's processes
FIELDS: dict[str, Field] = {
    "state": Field(declared=lambda _: RUNNING, found=lambda inspected: inspected["State"]["Status"]),
    "image": Field(declared=lambda body: body["Image"], found=lambda inspected: inspected["Image"]),
    "hostname": _config("Hostname"),
    "entrypoint": _config("Entrypoint"),
    "command": _config("Cmd"),
    "user": _config("User"),
    "stop signal": _config("StopSignal"),
    "stop timeout": _config("StopTimeout"),
    "health check": Field(
        declared=lambda body: _check(body["Healthcheck"]),
        found=lambda inspected: _check(inspected["Config"].get("Healthcheck") or {}),
    ),
    "cpus": _host("NanoCpus", lambda value: f"{(value or 0) / NANOSECONDS:g}"),
    "memory": _host("Memory", _size),
    "memory with swap": _host("MemorySwap", _size),
    "shared memory": Field(
        declared=lambda body: _size(body["HostConfig"]["ShmSize"]) if "ShmSize" in body["HostConfig"] else None,
        found=lambda inspected: _size(inspected["HostConfig"].get("ShmSize")),
        optional=True,
    ),
    "restart": _host("RestartPolicy", lambda policy: policy["Name"]),
    "init": _host("Init", bool),
    "read-only": _host("ReadonlyRootfs", bool),
    "network mode": _host("NetworkMode"),
    "PID mode": _host("PidMode", lambda value: value or ""),
    "dropped capabilities": _host("CapDrop", _listed),
    "added capabilities": _host("CapAdd", _listed),
    "security options": _host("SecurityOpt", _listed),
    "log": _host("LogConfig"),
    "tmpfs": _host("Tmpfs", lambda value: value or {}),
    "hosts": _host("ExtraHosts", _listed),
    "devices": _host("DeviceRequests", _devices),
    "ports": _host("PortBindings", _published),
    "mounts": Field(
        declared=lambda body: sorted(
            _mount(one["Source"], one["Target"], writable=not one["ReadOnly"]) for one in body["HostConfig"]["Mounts"]
        ),
        found=_mounted,
    ),
    "CPU shares": _undeclared("CpuShares"),
    "CPU quota": _undeclared("CpuQuota"),
    "CPU set": _undeclared("CpusetCpus"),
    "memory reservation": _undeclared("MemoryReservation"),
    "process limit": _undeclared("PidsLimit"),
    "block I/O weight": _undeclared("BlkioWeight"),
    "privileged": _undeclared("Privileged"),
}


def made_with(labels: Mapping[str, str] | None) -> Json | None:
    """The inputs that this engine made a container with; None for another's, or a version's that had others."""
    inputs = recorded_inputs(labels)
    try:
        return inputs if inputs and body(inputs, {}) else None
    except (KeyError, TypeError, ValueError):
        return None


def drifted_fields(inspected: Json) -> tuple[str, ...]:
    """The fields in which a container of this engine differs from what it was made with, without its state."""
    inputs = made_with(inspected["Config"]["Labels"])
    found = container(inputs, inspected, None) if inputs else ()
    return tuple(dict.fromkeys(one.field for one in found if one.field != "state"))


def container(inputs: Json, inspected: Json, image: Json | None) -> Iterator[Drift]:
    """What differs in a container from its inputs. `image`: the inspection of its image, None if that is gone."""
    name, asked = inspected["Name"].removeprefix("/"), body(inputs, {})
    if not isinstance(asked["Image"], str):  # not known: it has yet to be built
        asked["Image"] = inspected["Image"]
    declared = {field: how.declared(asked) for field, how in FIELDS.items()}
    declared = {field: value for field, value in declared.items() if value is not None or not FIELDS[field].optional}
    found = {field: FIELDS[field].found(inspected) for field in declared}
    of_image = (image or {}).get("Config") or {}
    found["mounts"] = [one for one in found["mounts"] if one in declared["mounts"] or not _is_of_image(one, of_image)]
    found["security options"] = [
        one for one in found["security options"] if one in declared["security options"] or one != DOCKERS_OWN
    ]
    found["health check"] = _known(declared["health check"], found["health check"])
    declared["networks"], found["networks"] = _networks(inputs, inspected)
    declared["labels"], found["labels"] = _labels(inputs, inspected["Config"]["Labels"])
    yield from _drifts("container", name, declared, found)
    for difference in _variables(*_environments(asked["Env"], inspected["Config"]["Env"] or [], of_image)):
        yield Drift(kind="container", name=name, field="env", difference=difference)


def network(inputs: Json, inspected: Json) -> Iterator[Drift]:
    """What differs in a network from its inputs."""
    declared, found = {"driver": inputs["driver"]}, {"driver": inspected["Driver"]}
    for field, asked, reported in (("subnet", "subnet", "Subnet"), ("gateway", "gateway", "Gateway")):
        declared[field] = [one[asked] for one in inputs["ipamConfigs"]]
        found[field] = [one.get(reported) for one in inspected["IPAM"]["Config"] or ()]
    declared["labels"], found["labels"] = _labels(inputs, inspected["Labels"])
    yield from _drifts("network", inspected["Name"], declared, found)


def volume(inputs: Json, inspected: Json) -> Iterator[Drift]:
    """What differs in a volume from its inputs. Its labels are its owner's: a volume of the user's own has none."""
    yield from _drifts("volume", inputs["name"], {"driver": inputs["driver"]}, {"driver": inspected["Driver"]})


def _drifts(kind: str, name: str, declared: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Drift]:
    for field, wanted in declared.items():
        for line in differences({field: wanted}, {field: found[field]}):
            yield Drift(kind=kind, name=name, field=field, difference=line.removeprefix(field).lstrip(":. "))


def _environments(asked: list[str], there: list[str], of_image: Json) -> tuple[dict[str, str], dict[str, str]]:
    """The variables that are declared, and those that are there, without the image's own."""
    own = set(of_image.get("Env") or ())
    declared, found = _by_name(asked), _by_name(there)
    kept = {
        name: value for name, value in found.items() if name in declared or (of_image and f"{name}={value}" not in own)
    }
    return declared, kept


def _by_name(variables: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (one.partition("=") for one in variables)}


def _variables(declared: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """A line for each variable that differs, without values: whoever changed one may have put a secret there."""
    for name in sorted({*declared, *found}):
        if name not in found:
            yield f"{name} is missing"
        elif name not in declared:
            yield f"{name} was added"
        elif declared[name] != found[name]:
            yield f"{name} has another value"


def _is_of_image(mount: str, of_image: Json) -> bool:
    """Whether it is the anonymous volume that Docker makes for a folder that the image names."""
    target = mount.partition(" → ")[2]
    return not of_image or target in (of_image.get("Volumes") or {})


def _known(declared: Json, found: Json | None) -> Json:
    """The part of a mapping that is declared; newer Engines report more."""
    return {key: (found or {}).get(key) for key in declared}


def _networks(inputs: Json, inspected: Json) -> tuple[list[str], list[str]]:
    """Networks with the names and the address that the container has in each, as far as they are declared."""
    asked = {one["name"]: one for one in inputs.get("networksAdvanced") or ()}
    there: dict[str, Json] = inspected["NetworkSettings"]["Networks"]
    if not asked:
        return [inputs["networkMode"]], sorted(there)
    found = []
    for name, one in there.items():
        # Docker adds the container's own ID.
        aliases = set(one.get("Aliases") or ()) & set(asked.get(name, {}).get("aliases", ()))
        address = (one.get("IPAMConfig") or {}).get("IPv4Address", "") if name in asked else ""
        found.append(_network(name, aliases, address))
    declared = [_network(name, one["aliases"], one.get("ipv4Address", "")) for name, one in asked.items()]
    return sorted(declared), sorted(found)


def _network(name: str, aliases: Iterable[str], address: str) -> str:
    """A network in words: ``cslr-dev at 10.0.0.7 as mlflow, tracking``."""
    names = ", ".join(sorted(aliases))
    return f"{name}{f' at {address}' if address else ''}{f' as {names}' if names else ''}"


def _labels(inputs: Json, there: Mapping[str, str] | None) -> tuple[Json, Json]:
    """The labels that the program sets. Engines and images add theirs."""
    asked = {one["label"]: one["value"] for one in inputs.get("labels", ())}
    return asked, {label: (there or {})[label] for label in asked if label in (there or {})}
