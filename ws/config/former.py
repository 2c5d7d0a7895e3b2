"""The `config.yaml` and `nodes.yaml` of this platform's predecessor, as settings of a stack.

What has no counterpart is reported, key by key; nothing is dropped in silence. Sections of services may stand at the
top of the file or below `services`, and are known by the names that the predecessor's containers had.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config.platform_rules import FORMER_ENVIRONMENT, RESERVED_ENVIRONMENT
from config.ports import RAY_GCS
from images.variants import PAIRS

Keys = tuple[str, ...]

# Section of the former file → the keys of ours that hold the service.
SERVICES: Mapping[str, Keys] = {
    "ray-cpu": ("ray", "cpu"),
    "ray-gpu": ("ray", "gpu"),
    "redis": ("redis",),
    "ray-redis": ("redis",),
    "postgres": ("postgres",),
    "mlflow-postgres": ("postgres",),
    "mlflow": ("mlflow",),
    "marimo": ("marimo",),
    "health": ("health",),
}
RAY_NODES = (("ray", "cpu"), ("ray", "gpu"))
# Port inside a Ray container → the key of its host port.
RAY_PORTS = {6379: "gcs", 6380: "gcs", 8265: "dashboard", 8266: "dashboard", 10001: "client", 10002: "client"}
# Where containers had their own data → the key that says where it lives now.
DATA: Mapping[Keys, tuple[str, tuple[str, ...]]] = {
    ("redis",): ("data", ("/data",)),
    ("postgres",): ("data", ("/var/lib/postgresql/data",)),
    ("mlflow",): ("artifacts", ("/mlflow/artifacts", "/mlartifacts", "/mlruns")),
    ("marimo",): ("notebooks", ("/workspace/notebooks", "/notebooks", "/app/notebooks")),
}
GCS_IS_CLOSED = (
    "the GCS is not published: who reaches it can end the head without a token. If drivers outside need it: "
    "ws set {key} {value}"
)
# Keys of a service that have no counterpart, and why.
DROPPED = {
    "restart": "every container is restarted unless it was stopped",
    "depends_on": "each service waits for what it needs to be healthy",
    "healthcheck": "every service has a health check of its own",
    "container_name": "containers are called cslr-<stack>-<service>",
    "hostname": "a container is called as its service is",
    "networks": "all services are in the network of network.name",
    "command": "the platform says what a container starts",
    "entrypoint": "the platform says what a container starts",
    "privileged": "no container is privileged",
    "cap_add": "containers have no capabilities",
    "runtime": "gpu.enabled gives ray-gpu the GPUs",
    "deploy": "limits are the keys cpus and memory, GPUs gpu.devices",
    "shm_size": "shared memory follows from memory; ws set {service}.shm SIZE gives programs another part of it",
    "password": "passwords are generated; to keep the old one: ws set {service}Password (it is asked for)",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one former key."""

    former: str
    now: str = ""  # the key of ours; empty where there is none
    value: object = None
    why: str = ""  # why there is none, or what else to know


@dataclass(kw_only=True)
class Conversion:
    """Settings of ``cslr:platform``, and what became of each former key."""

    settings: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def lost(self) -> list[Finding]:
        """The former keys that have no counterpart."""
        return [finding for finding in self.findings if not finding.now]

    def put(self, former: str, keys: Keys, value: object, why: str = "") -> None:
        """Sets a key of ours."""
        place = self.settings
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        self.findings.append(Finding(former=former, now=".".join(keys), value=value, why=why))

    def lose(self, former: str, why: str = "this platform has nothing like it") -> None:
        """Reports a key that has no counterpart."""
        self.findings.append(Finding(former=former, why=why))


def convert(config: object, nodes: object, folder: Path) -> Conversion:
    """Converts both files as parsed. Relative paths in them are taken from `folder`."""
    done = Conversion()
    if not isinstance(config, Mapping):
        done.lose("config.yaml", "it is no mapping of keys to values")
        config = {}
    for name, value in _flat(config):
        if name in SERVICES:
            _service(done, name, value, folder)
        elif name in ("network", "networks"):
            _network(done, name, value)
        elif name in ("nodes", "head"):
            _nodes(done, name, value)
        else:
            done.lose(name)
    if nodes is not None:
        _nodes(done, "nodes.yaml", nodes)
    if done.settings.get("ray", {}).get("gpu", {}).get("enabled") is True:
        done.settings.setdefault("gpu", {}).setdefault("enabled", True)
    return done


def _flat(config: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The sections, those below `services` and those of `ray` among them, by one spelling of their names."""
    for key, value in config.items():
        name = str(key).replace("_", "-")
        if name == "services" and isinstance(value, Mapping):
            yield from _flat(value)
        elif name == "ray" and isinstance(value, Mapping):
            for inner, below in value.items():
                part = f"ray-{str(inner).replace('_', '-')}"
                yield (part if part in SERVICES else str(inner).replace("_", "-")), below
        else:
            yield name, value


def _service(done: Conversion, name: str, section: object, folder: Path) -> None:
    keys = SERVICES[name]
    if not isinstance(section, Mapping):
        done.lose(name, "it is no mapping of keys to values")
        return
    builds = _builds(section)
    for key, value in section.items():
        former, word = f"{name}.{key}", str(key)
        if (convert_one := _CONVERTERS.get(word)) is not None:
            convert_one(done, former, keys, value, folder)
        elif word == "image":
            _image(done, former, keys, value, builds=builds)
        elif word in DROPPED:
            done.lose(former, DROPPED[word].format(service=".".join(keys)))
        else:
            done.lose(former)


def _builds(section: Mapping[Any, Any]) -> bool:
    build = section.get("build")
    return bool(build.get("enabled", True)) if isinstance(build, Mapping) else bool(build)


def _image(done: Conversion, former: str, keys: Keys, value: object, *, builds: bool) -> None:
    reference = str(value)
    if builds or "cslr-exp-platform" in reference:
        done.lose(
            former, f"{reference} was the platform's own; images are built here, or `image.reference` names another"
        )
    else:
        done.put(former, (*keys, "image"), {"source": "pull", "reference": reference}, "see docs/pulled-images.md")


def _build(done: Conversion, former: str, _keys: Keys, value: object, _folder: Path) -> None:
    section = value if isinstance(value, Mapping) else {}
    args = section.get("args") or section.get("build_args") or {}
    pair = tuple(str(args.get(name, "")) for name in ("CUDA_VERSION", "PYTHON_VERSION")) if args else ("", "")
    if pair in PAIRS:
        done.put(f"{former}.args", ("images",), {"cuda": pair[0], "python": pair[1]})
    elif any(pair):
        done.lose(f"{former}.args", f"images are made for {'; '.join(f'CUDA {c} with Python {p}' for c, p in PAIRS)}")
    for key in section:
        if key == "enabled":
            done.findings.append(
                Finding(former=f"{former}.{key}", now="image.source", value="build", why="the default")
            )
        elif key not in ("args", "build_args"):
            done.lose(
                f"{former}.{key}",
                "images are built from the platform's own recipes; packages of yours: ws packages add. An image of "
                "another Dockerfile: build it, and name it in image.reference",
            )


def _plain(key: str, convert_value: Callable[[Any], object] = lambda value: value) -> Callable[..., None]:
    """A key that only has another name or form."""

    def put(done: Conversion, former: str, keys: Keys, value: object, _folder: Path) -> None:
        done.put(former, (*keys, key), convert_value(value))

    return put


def _memory(value: object) -> object:
    """As here: 8g, also for what Compose wrote as 8GB, 8Gi or 8G."""
    return str(value).strip().lower().removesuffix("ib").removesuffix("b").removesuffix("i") if value else value


def _port(name: str) -> Callable[..., None]:
    """The host port of a Ray node, or the only one of another service."""

    def put(done: Conversion, former: str, keys: Keys, value: object, _folder: Path) -> None:
        if keys not in RAY_NODES:
            done.put(former, (*keys, "port"), value)
        elif name == "gcs":
            done.lose(former, GCS_IS_CLOSED.format(key=f"{'.'.join(keys)}.ports.gcs", value=value))
        else:
            done.put(former, (*keys, "ports", name), value)

    return put


def _ports(done: Conversion, former: str, keys: Keys, value: object, folder: Path) -> None:
    for entry in value if isinstance(value, list) else [value]:
        *_, outside, inside = ["", *str(entry).partition("/")[0].split(":")]
        if not (outside.isdecimal() and inside.isdecimal()):
            done.lose(f"{former} {entry}", "a port must be named as HOST:CONTAINER")
        elif keys in RAY_NODES and int(inside) not in RAY_PORTS:
            done.lose(f"{former} {entry}", "Ray's nodes publish the dashboard and the Ray Client")
        else:
            _port(RAY_PORTS.get(int(inside), ""))(done, f"{former} {entry}", keys, int(outside), folder)


def _environment(done: Conversion, former: str, keys: Keys, value: object, _folder: Path) -> None:
    if isinstance(value, list):
        value = dict(str(entry).partition("=")[::2] for entry in value)
    for name, text in value.items() if isinstance(value, Mapping) else ():
        if name == "HEAD_ADDRESS":
            _head_address(done, f"{former}.{name}", text)
        elif name in FORMER_ENVIRONMENT:
            done.lose(f"{former}.{name}", FORMER_ENVIRONMENT[name])
        elif str(name).startswith(RESERVED_ENVIRONMENT):
            done.lose(f"{former}.{name}", "the platform sets it, from other keys")
        else:
            done.put(f"{former}.{name}", (*keys, "env", str(name)), "" if text is None else str(text))


def _volumes(done: Conversion, former: str, keys: Keys, value: object, folder: Path) -> None:
    for entry in value if isinstance(value, list) else ():
        source, _, rest = str(entry).partition(":")
        target, _, mode = rest.partition(":")
        if not target:
            done.lose(f"{former} {entry}", "a volume must be named as SOURCE:TARGET")
            continue
        if source.startswith((".", "~")):
            source = str((folder / Path(source).expanduser()).resolve())
        key, targets = DATA.get(keys, ("", ()))
        if target in targets:
            done.put(f"{former} {entry}", (*keys, key), source)
        else:
            mount = {"source": source, "target": target} | ({"read_only": True} if mode == "ro" else {})
            found = done.settings
            for step in keys:
                found = found.setdefault(step, {})
            done.put(f"{former} {entry}", (*keys, "volumes"), [*found.get("volumes", []), mount])


def _data(done: Conversion, former: str, keys: Keys, value: object, folder: Path) -> None:
    if keys not in DATA:
        done.lose(former)
        return
    text = str(value)
    path = str((folder / Path(text).expanduser()).resolve()) if text.startswith((".", "~", "/")) else text
    done.put(former, (*keys, DATA[keys][0]), path)


def _gpus(done: Conversion, former: str, _keys: Keys, value: object, _folder: Path) -> None:
    if isinstance(value, list):
        done.put(former, ("gpu", "devices"), value)
    elif value == "all":
        done.put(former, ("gpu", "devices"), "all")
    else:
        done.lose(former, "gpu.devices names GPUs by number or UUID, or all of them")


_CONVERTERS: Mapping[str, Callable[..., None]] = {
    "enabled": _plain("enabled"),
    "cpus": _plain("cpus", lambda value: float(value) if str(value).replace(".", "", 1).isdecimal() else value),
    "memory": _plain("memory", _memory),
    "mem_limit": _plain("memory", _memory),
    "user": _plain("user", str),
    "port": _port("dashboard"),
    "host_port": _port("dashboard"),
    "head_port": _port("gcs"),
    "gcs_port": _port("gcs"),
    "dashboard_port": _port("dashboard"),
    "client_port": _port("client"),
    "ports": _ports,
    "env": _environment,
    "environment": _environment,
    "volumes": _volumes,
    "notebooks": _data,
    "artifacts": _data,
    "data": _data,
    "build": _build,
    "gpus": _gpus,
    "devices": _gpus,
}


def _network(done: Conversion, former: str, value: object) -> None:
    if isinstance(value, str):
        done.put(former, ("network", "name"), value)
        return
    if not isinstance(value, Mapping):
        done.lose(former)
        return
    for key, inner in value.items():
        if key in ("name", "subnet", "bind_address"):
            done.put(f"{former}.{key}", ("network", str(key)), inner)
        else:
            done.lose(f"{former}.{key}")


def _head_address(done: Conversion, former: str, value: object) -> None:
    text = str(value)
    done.put(former, ("ray", "head_address"), text if ":" in text else f"{text}:{RAY_GCS}")


def _nodes(done: Conversion, former: str, value: object) -> None:
    """What said where the head is."""
    if not isinstance(value, Mapping):
        done.lose(former, "it is no mapping of keys to values")
        return
    for key, inner in value.items():
        name = f"{former}: {key}" if former.endswith(".yaml") else f"{former}.{key}"
        word = str(key).replace("-", "_")
        if word in ("health", "nodes", "head", "ray") and isinstance(inner, Mapping):
            prefixed = {f"{word}_{k}" if word == "health" else k: v for k, v in inner.items()}
            _nodes(done, former, prefixed)
        elif word in ("head_whitelist", "whitelist"):
            _whitelist(done, name, inner)
        elif word in ("head_address", "address") and inner:
            _head_address(done, name, inner)
        elif word in ("health_url", "health_check_url") and urlsplit(str(inner)).hostname in ("health", "localhost"):
            done.lose(name, "without ray.health_url, nodes ask the health service of their own stack")
        elif word in ("health_url", "health_check_url") and inner:
            done.put(name, ("ray", "health_url"), str(inner))
        elif word in ("health_timeout", "timeout", "health_check_timeout"):
            done.put(name, ("ray", "health_timeout"), inner)
        elif inner not in (None, "", []):
            done.lose(name)


def _whitelist(done: Conversion, former: str, value: object) -> None:
    names = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    known = [name for name in names if SERVICES.get(name) in RAY_NODES]
    if known:
        done.put(former, ("ray", "head_whitelist"), known)
    for name in names:
        if name not in known:
            done.lose(
                f"{former} {name}", "hosts that may lead are head_whitelist of cluster.yaml (docs/several-hosts.md)"
            )
