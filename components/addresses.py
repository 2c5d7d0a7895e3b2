"""Addresses of a host's services: for people, and for the health service."""

import ipaddress
import json
from collections.abc import Mapping

from components.topology import Topology
from config.addresses import Reach, prefix_of
from config.platform import PlatformSettings
from config.ports import (
    ALERTMANAGER,
    BRIDGE_RAY_PORTS,
    EXPORTER,
    GRAFANA,
    HOST_RAY_PORTS,
    MARIMO,
    METRICS_FLAG,
    MLFLOW,
    POSTGRES,
    PROMETHEUS,
    RAY_DASHBOARD,
    REDIS,
    TRANSCRIPTION,
    TRANSCRIPTION_FRONTEND,
)
from config.services import RAY_NODES
from contracts.health import Kind, WatchedService

# Services besides Ray that the health service probes inside the bridge network: kind and port.
WATCHED = {
    "redis": (Kind.REDIS, REDIS),
    "redis-replica": (Kind.REDIS, REDIS),
    "postgres": (Kind.POSTGRES, POSTGRES),
    "mlflow": (Kind.MLFLOW, MLFLOW),
    "marimo": (Kind.MARIMO, MARIMO),
    "transcription-frontend": (Kind.TRANSCRIPTION_FRONTEND, TRANSCRIPTION_FRONTEND),
    "exporter": (Kind.EXPORTER, EXPORTER),
    "transcription": (Kind.TRANSCRIPTION, TRANSCRIPTION),
    "alertmanager": (Kind.ALERTMANAGER, ALERTMANAGER),
    "prometheus": (Kind.PROMETHEUS, PROMETHEUS),
    "grafana": (Kind.GRAFANA, GRAFANA),
}
# Services that answer nobody: the health service hears of them from the keeper.
KEPT = {"keeper": Kind.KEEPER, "firewall": Kind.FIREWALL}
SCHEMES = {"redis": "redis", "redis-replica": "redis", "postgres": "postgresql"}  # of services that are not web pages


def urls(settings: PlatformSettings, topology: Topology, own_addresses: tuple[str, ...]) -> dict[str, str]:
    """The URL of each published service, for people and clients."""
    reaches = {name: settings.reach(name, own_addresses) for name in topology.linked(settings.services())}
    return {name: _link(name, reach) for name, reach in reaches.items() if reach}


def _link(service: str, reach: Reach) -> str:
    """The URL of a service. Only web pages can be behind a reverse proxy."""
    scheme = SCHEMES.get(service)
    return f"{scheme}://{reach.address}" if scheme else reach.link


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
    if name not in WATCHED:
        return None
    kind, port = WATCHED[name]
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

    mlflow, notebooks = topology.reach_of_mlflow(own("mlflow")), own("marimo")
    links = {"inside": topology.mlflow_url, "outside": mlflow.link} if mlflow else {}
    origins = {"origins": notebooks.origins if notebooks else ()}
    return {"mlflow.json": json.dumps(links), "marimo.json": json.dumps(origins)}
