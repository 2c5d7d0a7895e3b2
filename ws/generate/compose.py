"""What the program declares, in the words of Docker Compose: services, networks, volumes, secrets.

The same containers as `ws up` makes: images, limits, health checks, order. What Compose has no word for stays out: it
does not ask before running work ends, and verifies nothing.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from config.notation import listed_as, person_of
from config.services import SERVICES
from docker_api.volume_owner import IMAGE as OWNERS_IMAGE
from docker_api.volume_owner import SCRIPT, TARGET
from embedded_engine.changes import COMMAND, CONTAINER, NETWORK, VOLUME
from embedded_engine.registration import Registration
from stack.identity import VOLUME_OWNER, StackIdentity
from stack.programs import PROGRAMS_TARGET
from stack.secrets import NOTEBOOK_TOKEN, SECRETS_TARGET
from ws.generate.program import Declared

Json = dict[str, Any]
OWNER_MODULE = "docker_api.volume_owner"
USUAL_UID = "1000"  # of nearly every service's user
HEALTHY, ENDED = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
# Keys that stand in each service and mostly say the same: written once, where they do.
SHARED = ("init", "restart", "read_only", "cap_drop", "security_opt", "logging", "pull_policy")


@dataclass(frozen=True, kw_only=True)
class ComposeFile:
    """The parts of a Compose file, as plain values; `text.py` writes them."""

    name: str
    shared: Json  # what every service is given
    services: dict[str, Json]
    networks: Json = field(default_factory=dict)
    volumes: Json = field(default_factory=dict)
    secrets: Json = field(default_factory=dict)

    def as_dict(self) -> Json:
        """The file as Compose reads it, with what is shared in each service."""
        services = {name: {**self.shared, **service} for name, service in self.services.items()}
        parts = {"networks": self.networks, "volumes": self.volumes, "secrets": self.secrets}
        return {"name": self.name, "services": services, **{key: part for key, part in parts.items() if part}}


def compose_file(found: Declared) -> ComposeFile:
    """The Compose file of a stack."""
    (network,) = found.of_type(NETWORK)
    containers = sorted(found.of_type(CONTAINER), key=lambda one: _place(one.inputs["hostname"]))
    owners = {one.urn: one for one in found.of_type(COMMAND) if f"-m {OWNER_MODULE}" in one.inputs["create"]}
    names = {one.urn: str(one.inputs["hostname"]) for one in containers}
    conditions = {**dict.fromkeys(names.values(), HEALTHY), **dict.fromkeys(map(_owner_name, owners.values()), ENDED)}
    names |= {urn: _owner_name(one) for urn, one in owners.items()}
    secrets = {
        mount["source"]: secret_name(mount["source"], one.inputs["hostname"])
        for one in containers
        for mount in one.inputs.get("mounts", [])
        if _is_secret(mount)
    }
    services: dict[str, Json] = {names[urn]: _owner_service(one, found) for urn, one in owners.items()}
    for one in containers:
        needs = sorted(names[urn] for urn in one.dependencies if urn in names)
        waits = {name: conditions[name] for name in needs}
        services[names[one.urn]] = service_of(one.inputs, found.tags, secrets, waits)
    for service in services.values():
        # No registry has what was built here; Compose would ask for it.
        service["pull_policy"] = "never" if service["image"] in found.local_images else "missing"
    shared, services = _factored(services)
    return ComposeFile(
        name=f"{found.project}-{found.stack}",
        shared=shared,
        services=services,
        networks={"default": _network(network.inputs)},
        volumes=_volumes(found, services.values()),
        secrets={name: {"file": source} for source, name in sorted(secrets.items(), key=itemgetter(1))},
    )


def _place(service: str) -> tuple[int, str]:
    """Where the file has a service. People's notebooks are declared in any order, and an unchanged file is the same."""
    return list(SERVICES).index(listed_as(service)), service


def service_of(inputs: Json, tags: Mapping[str, str], secrets: Mapping[str, str], waits: Json) -> Json:
    """One container as a service. Maps are sorted: the engine's protocol keeps no order of theirs."""
    mounts = sorted(inputs.get("mounts", []), key=is_program)  # data first
    found: Json = {
        "image": tags.get(inputs["image"], inputs["image"]),
        "container_name": inputs["name"],
        "hostname": inputs["hostname"],
        "depends_on": waits,
        "entrypoint": inputs["entrypoints"],
        "command": inputs["command"],
        "user": inputs["user"],
        "environment": dict(variable.split("=", 1) for variable in inputs["envs"]),
        "labels": _labels(inputs),
        "ports": [
            f"{p['ip']}:{p['external']:.0f}:{p['internal']:.0f}/{p['protocol']}" for p in inputs.get("ports", [])
        ],
        "secrets": [
            {"source": secrets[m["source"]], "target": m["target"].removeprefix(f"{SECRETS_TARGET}/")}
            for m in mounts
            if _is_secret(m)
        ],
        "volumes": [_mount(m) for m in mounts if not _is_secret(m)],
        **_attachment(inputs),
        "pid": inputs.get("pidMode") or None,
        "extra_hosts": [f"{entry['host']}={entry['ip']}" for entry in inputs.get("hosts") or []],
        "cpus": float(inputs["cpus"]),
        "mem_limit": f"{inputs['memory']:.0f}m",
        "memswap_limit": f"{inputs['memorySwap']:.0f}m",
        "shm_size": f"{inputs['shmSize']:.0f}m" if inputs.get("shmSize") else None,
        "deploy": _gpus(inputs.get("deviceRequests") or []),
        "read_only": inputs["readOnly"],
        "tmpfs": [f"{path}:{options}" for path, options in sorted(inputs["tmpfs"].items())],
        "cap_drop": inputs["capabilities"]["drops"],
        "cap_add": inputs["capabilities"].get("adds"),
        "security_opt": inputs["securityOpts"],
        "init": inputs["init"],
        "restart": inputs["restart"],
        "stop_signal": inputs["stopSignal"],
        "stop_grace_period": f"{inputs['stopTimeout']:.0f}s",
        "logging": {"driver": inputs["logDriver"], "options": dict(sorted(inputs["logOpts"].items()))},
        "healthcheck": _healthcheck(inputs["healthcheck"]),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def secret_name(source: str, service: str) -> str:
    """The name in the Compose file of a service's secret: its file's, with the person and the user whose own it is.

    No other secret changes it, so that a further person or service leaves what is deployed as it is.
    """
    *_, uid, name = source.split("/")  # …/secrets/<digest>/<user>/<name>
    person = person_of(service) if name == NOTEBOOK_TOKEN else None
    return "-".join([name, *filter(None, [person, uid if uid != USUAL_UID else None])])


def is_program(mount: Json) -> bool:
    """Whether it is of a program of the platform, and not data."""
    return str(mount["target"]).startswith(f"{PROGRAMS_TARGET}/")


def _is_secret(mount: Json) -> bool:
    folder = mount["target"].rpartition("/")[0]
    return bool(mount["type"] == "bind" and mount["readOnly"] and folder == SECRETS_TARGET)


def read_only(source: str, target: str) -> Json:
    """A file of this host that a container reads."""
    return _mount({"type": "bind", "source": source, "target": target, "readOnly": True})


def _mount(mount: Json) -> Json:
    found = {"type": mount["type"], "source": mount["source"], "target": mount["target"]}
    closed = {"read_only": True} if mount["readOnly"] else {}
    # A missing file is an error; Compose would make a folder of that name.
    return {**found, **closed, **({"bind": {"create_host_path": False}} if mount["type"] == "bind" else {})}


def _attachment(inputs: Json) -> Json:
    networks = inputs.get("networksAdvanced") or []
    if not networks:
        return {"network_mode": inputs["networkMode"]}
    address = {"ipv4_address": networks[0]["ipv4Address"]} if networks[0].get("ipv4Address") else {}
    return {"networks": {"default": {"aliases": networks[0]["aliases"], **address}}}


def _gpus(requests: list[Json]) -> Json | None:
    """GPUs; a count of -1 is all of them."""
    devices = [
        {
            "driver": request["driver"],
            "capabilities": request["capabilities"],
            **({"device_ids": request["deviceIds"]} if request.get("deviceIds") else {"count": _count(request)}),
        }
        for request in requests
    ]
    return {"resources": {"reservations": {"devices": devices}}} if devices else None


def _count(request: Json) -> int | str:
    count = int(request.get("count") or -1)
    return "all" if count < 0 else count


def _healthcheck(health: Json) -> Json:
    return {
        "test": health["tests"],
        "interval": health["interval"],
        "timeout": health["timeout"],
        "start_period": health["startPeriod"],
        "retries": int(health["retries"]),
    }


def _network(inputs: Json) -> Json:
    pools = [{"subnet": c["subnet"], "ip_range": c["ipRange"], "gateway": c["gateway"]} for c in inputs["ipamConfigs"]]
    return {"name": inputs["name"], "driver": inputs["driver"], "ipam": {"config": pools}, "labels": _labels(inputs)}


def _volumes(found: Declared, services: Iterable[Json]) -> Json:
    """The stack's own volumes, and those that its settings name besides."""
    own = {
        one.inputs["name"]: {"name": one.inputs["name"], "labels": _labels(one.inputs)} for one in found.of_type(VOLUME)
    }
    mounts = (mount for service in services for mount in service.get("volumes", []))
    named = sorted({mount["source"] for mount in mounts if mount["type"] == "volume"} - own.keys())
    return dict(sorted((own | {name: {"name": name} for name in named}).items()))


def _labels(inputs: Json) -> Json:
    return {item["label"]: item["value"] for item in inputs["labels"]}


def _owner_name(command: Registration) -> str:
    return f"{_owner_arguments(command)[0]}-owner"


def _owner_arguments(command: Registration) -> list[str]:
    """Volume, user and target of a command that gives a volume to its user."""
    words = shlex.split(command.inputs["create"])
    return words[words.index(OWNER_MODULE) + 1 :]


def _owner_service(command: Registration, found: Declared) -> Json:
    """A service that ends once a new volume belongs to who writes to it."""
    volume, user, target = _owner_arguments(command)
    image = command.inputs["environment"][OWNERS_IMAGE]
    uid, gid = user.split(":")
    identity = StackIdentity(project=found.project, stack=found.stack)
    return {
        "image": found.tags.get(image, image),
        "container_name": identity.object_name(_owner_name(command)),
        "labels": identity.labels(VOLUME_OWNER),
        "entrypoint": ["sh", "-c", SCRIPT.strip(), "sh", uid, gid, target],
        "command": [],
        "user": "0:0",
        "volumes": [{"type": "volume", "source": volume, "target": TARGET, "volume": {"nocopy": True}}],
        "network_mode": "none",
        "mem_limit": "64m",
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": ["CAP_CHOWN"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "restart": "no",
        "healthcheck": {"disable": True},
    }


def _factored(services: dict[str, Json]) -> tuple[Json, dict[str, Json]]:
    """What most services say alike, and the services without it."""
    shared: Json = {}
    for key in SHARED:
        values = [service[key] for service in services.values() if key in service]
        common = max(values, key=values.count, default=None)
        if common is not None and all(key in service for service in services.values()):
            shared[key] = common
    own = {
        name: {key: value for key, value in service.items() if key not in shared or value != shared[key]}
        for name, service in services.items()
    }
    return shared, own
