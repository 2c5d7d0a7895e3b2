"""Addresses of a host's services: for people, and for the health service."""

import ipaddress
import json
from collections.abc import Mapping

from components.topology import Topology
from config.addresses import Reach, prefix_of
from config.devel import host_entry
from config.notation import NOTEBOOKS, listed_as
from config.platform import PlatformSettings
from config.ports import (
    ALERTMANAGER,
    BRIDGE_RAY_PORTS,
    DEVEL,
    EXPORTER,
    GRAFANA,
    HOST_RAY_PORTS,
    MARIMO,
    METRICS_FLAG,
    MLFLOW,
    POSTGRES,
    PROMETHEUS,
    QUEUE,
    RAY_DASHBOARD,
    REDIS,
    TRANSCRIPTION,
    TRANSCRIPTION_FRONTEND,
)
from config.services import RAY_NODES
from contracts.devel import USER
from contracts.health import Kind, WatchedService
from stack.identity import StackIdentity

# Services besides Ray that the health service probes inside the bridge network: kind and port.
WATCHED = {
    "redis": (Kind.REDIS, REDIS),
    "redis-replica": (Kind.REDIS, REDIS),
    "postgres": (Kind.POSTGRES, POSTGRES),
    "mlflow": (Kind.MLFLOW, MLFLOW),
    "marimo": (Kind.MARIMO, MARIMO),
    "queue": (Kind.QUEUE, QUEUE),
    "devel": (Kind.DEVEL, DEVEL),
    "transcription-frontend": (Kind.TRANSCRIPTION_FRONTEND, TRANSCRIPTION_FRONTEND),
    "exporter": (Kind.EXPORTER, EXPORTER),
    "transcription": (Kind.TRANSCRIPTION, TRANSCRIPTION),
    "alertmanager": (Kind.ALERTMANAGER, ALERTMANAGER),
    "prometheus": (Kind.PROMETHEUS, PROMETHEUS),
    "grafana": (Kind.GRAFANA, GRAFANA),
}
# Services that answer nobody: the health service hears of them from the keeper.
KEPT = {"keeper": Kind.KEEPER, "firewall": Kind.FIREWALL, "tls": Kind.TLS}
# Of services that are not web pages: how their URLs begin.
BEGINNINGS = {
    "redis": "redis://",
    "redis-replica": "redis://",
    "postgres": "postgresql://",
    "devel": f"ssh://{USER}@",
}


def urls(settings: PlatformSettings, topology: Topology, own_addresses: tuple[str, ...]) -> dict[str, str]:
    """The URL of each published service, for people and clients."""
    reaches = {name: settings.reach(name, own_addresses) for name in topology.linked(settings.services())}
    return {name: _link(name, reach) for name, reach in reaches.items() if reach}


def _link(service: str, reach: Reach) -> str:
    """The URL of a service. Only web pages can be behind a reverse proxy."""
    beginning = BEGINNINGS.get(service)
    return f"{beginning}{reach.address}" if beginning else reach.link


def ssh(settings: PlatformSettings, identity: StackIdentity, own_addresses: tuple[str, ...]) -> str | None:
    """The command that logs in to the devel container, and the lines for `~/.ssh/config`; None without one."""
    reach = settings.reach("devel", own_addresses) if "devel" in settings.services() else None
    if reach is None:
        return None
    host, _, port = reach.address.partition(":")
    known = next(iter((*(name.partition(":")[0] for name in settings.names), *own_addresses)), "THIS-HOST")
    entry = host_entry(identity.object_name("devel"), host=host, port=int(port))
    jump = "" if reach.addresses else f"\n    # from other computers:  ProxyJump {known}"
    return f"ssh -p {port} {USER}@{host}\n{entry}{jump}"


def watched_services(settings: PlatformSettings, topology: Topology) -> tuple[WatchedService, ...]:
    """The services of this host that the health service probes."""
    # Ports on all addresses are listed with 127.0.0.1: the health page substitutes the host name that its reader used.
    links = urls(settings, topology, ())
    found = [_watched(settings, topology, name, links) for name in settings.services()]
    return tuple(service for service in found if service)


def kept_services(settings: PlatformSettings) -> tuple[WatchedService, ...]:
    """The services of this host that the keeper tells the health service of."""
    found = settings.services()
    return tuple(
        WatchedService(name=name, kind=kind, host=name, port=0) for name, kind in KEPT.items() if name in found
    )


def _watched(
    settings: PlatformSettings, topology: Topology, name: str, links: Mapping[str, str]
) -> WatchedService | None:
    if name in RAY_NODES:
        host, linked = topology.dashboard_of(name)
        return WatchedService(
            name=topology.node(name), kind=Kind.RAY, host=host, port=RAY_DASHBOARD, url=links.get(linked)
        )
    if listed_as(name) not in WATCHED:
        return None
    kind, port = WATCHED[listed_as(name)]
    prefix = prefix_of(settings.base_url(name))
    return WatchedService(name=name, kind=kind, host=name, port=port, url=links.get(name), prefix=prefix)


def ray_metrics(topology: Topology) -> dict[str, int]:
    """End of a Ray node's name → the port of its figures, also for nodes of other hosts."""
    plan = HOST_RAY_PORTS if topology.kind == "lan" else dict.fromkeys(RAY_NODES, BRIDGE_RAY_PORTS)
    return {service: ports[METRICS_FLAG] for service, ports in plan.items()}


def peers(settings: PlatformSettings) -> dict[str, int]:
    """Services with figures that other hosts of the cluster publish as this one does, and their ports there."""
    if settings.membership is None or ipaddress.IPv4Address(settings.network.bind_address).is_loopback:
        return {}
    enabled = settings.services()
    return {name: settings.service(name).host_ports["port",] for name in ("health", "exporter") if name in enabled}


def alertmanager(settings: PlatformSettings) -> str | None:
    """Where the health service asks for alerts (host:port)."""
    return f"alertmanager:{ALERTMANAGER}" if "alertmanager" in settings.services() else None


def link_files(settings: PlatformSettings, topology: Topology, own_addresses: tuple[str, ...]) -> dict[str, str]:
    """Files that map addresses inside the network to those that people open: name → content."""

    def own(service: str) -> Reach | None:
        return settings.reach(service, own_addresses) if service in settings.services() else None

    mlflow = topology.reach_of_mlflow(own("mlflow"))
    # The inner address also where no person can open it: tasks log in there alone (entrypoints/hooks/mlflow_login.py).
    inside = {"inside": topology.mlflow_url} if topology.mlflow_url else {}
    links = {**inside, "outside": mlflow.link} if mlflow else inside
    # Each person's server takes requests of its own pages alone: a browser sends its cookie to all ports of a host.
    reaches = {service: own(service) for service in (NOTEBOOKS, *settings.notebooks)}
    return {
        "mlflow.json": json.dumps(links),
        **{f"{name}.json": json.dumps({"origins": reach.origins if reach else ()}) for name, reach in reaches.items()},
    }
