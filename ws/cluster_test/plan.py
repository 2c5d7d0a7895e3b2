"""What another machine is to reach of a stack, from the ports that its containers publish. Plain values only."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.addresses import WATCHED
from config.addresses import prefix_of
from config.notation import NOTEBOOKS, listed_as
from config.platform import PlatformSettings
from config.ports import GATEWAY_PORTS, HOST_RAY_PORTS, RAY_CLIENT, RAY_DASHBOARD, RAY_GCS, host_ports
from config.services import RAY_NODES
from config.tls import web_port
from config.types import EVERYWHERE
from contracts.cluster_test import ClusterTestSettings, Door

# In containers of Ray nodes, beside the ports that may be published.
RAY_INSIDE = (RAY_GCS, RAY_DASHBOARD, RAY_CLIENT, 11001, 11002)
CHECK_OF = {"mlflow": "mlflow", "marimo": "marimo", "health": "health", "redis": "redis"}
FOR_HOSTS = ("redis", "redis-replica")  # in a cluster of several
OF_RAY = ("dashboard", "job_submission", "ray_client", "ray_client_without_token")
BRIDGE_WORKER = (
    "on one host the Ray nodes have addresses of the stack's own Docker network, {subnet}, which no other machine "
    "reaches: nodes of other machines join a cluster of several hosts (docs/several-hosts.md)"
)
HOST_WORKER = (
    "all nodes must reach each other, but no other host reaches addresses of this host's Docker networks, and the "
    "firewall admits the cluster's hosts alone to Ray's ports: nodes of other machines join as hosts of the cluster "
    "(docs/several-hosts.md)"
)
NO_RAY = "this stack has no Ray node"
CONTAINERS = "containers of this stack are reached past their published ports: no firewall stands before them"
HIDDEN = "it is published for this host alone, on {bound}"
GUARDED = "it is for the cluster's hosts alone: the firewall does not stand before it"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A port that a container publishes on this host."""

    service: str
    bound: str  # the host's address
    port: int  # of the host
    internal: int


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What is known of the running stack."""

    published: tuple[Published, ...]
    inside: Mapping[str, str] = field(default_factory=dict)  # service → its address in the stack's network
    own_addresses: tuple[str, ...] = ()  # of this host, the one that others know best first
    ray_token: Path | None = None  # in the client
    marimo_token: Path | None = None
    trusted: str = ""  # certificates of the web services, as PEM


def plan(settings: PlatformSettings, found: Deployed) -> ClusterTestSettings:
    """What the client checks."""
    open_doors = tuple(_open(settings, _behind_tls(settings, found)))
    urls = {(door.service, published.internal): f"{door.host}:{door.port}" for published, door in open_doors}
    dashboard, client = (_of_ray(urls, internal) for internal in (RAY_DASHBOARD, RAY_CLIENT))
    redis = next((door for published, door in open_doors if published.service == "redis"), None)
    return ClusterTestSettings(
        open=tuple(door for _, door in open_doors),
        closed=tuple(_closed(settings, found)),
        dashboard=f"{_scheme(settings)}://{dashboard}" if dashboard else "",
        ray_client=f"ray://{client}" if client else "",
        mlflow=_url(settings, "mlflow", urls),
        marimo=_url(settings, settings.notebooks[0], urls),
        health=_url(settings, "health", urls),
        redis=redis,
        ray_token=found.ray_token,
        ray_tls=settings.ray.tls,
        marimo_token=found.marimo_token,
        trusted=found.trusted if settings.tls.enabled else "",
        by_address=settings.tls.source == "generated",
        skipped=dict(_skipped(settings, _behind_tls(settings, found), urls)),
    )


def worker_reason(settings: PlatformSettings) -> str:
    """Why the test's worker cannot join the cluster."""
    if not settings.ray_nodes:
        return NO_RAY
    return HOST_WORKER if settings.membership else BRIDGE_WORKER.format(subnet=settings.network.subnet)


def opening(stack: str) -> str:
    """How a stack that only this host reaches is opened to other machines."""
    return (
        "to open it to other machines, set an address of this host, or 0.0.0.0 for all of them: "
        f"ws set network.bind_address 0.0.0.0 -s {stack}, then ws up -s {stack} (docs/network.md says what that opens)"
    )


def reached_at(bound: str, found: Deployed) -> str | None:
    """Where another machine reaches a port that is bound to an address of this host; None: nowhere."""
    if bound in EVERYWHERE:
        return next(iter(found.own_addresses), None)
    return None if ipaddress.ip_address(bound).is_loopback else bound


def _published(settings: PlatformSettings, found: Deployed) -> Iterator[Published]:
    """All that is published, also what listens on the host's network by itself."""
    yield from found.published
    if settings.membership:
        for purpose, internal in (("dashboard", RAY_DASHBOARD), ("client", RAY_CLIENT)):
            yield Published(
                service="ray-gateway",
                bound=settings.membership.address,
                port=GATEWAY_PORTS[purpose],
                internal=internal,
            )


def _is_guarded(settings: PlatformSettings, one: Published) -> bool:
    """Whether the firewall of a host of a cluster keeps the port for the cluster's hosts."""
    return settings.membership is not None and one.service in FOR_HOSTS


def _open(settings: PlatformSettings, found: Deployed) -> Iterator[tuple[Published, Door]]:
    for one in _published(settings, found):
        host = reached_at(one.bound, found)
        if host and not _is_guarded(settings, one):
            yield one, Door(service=one.service, host=host, port=one.port)


def _closed(settings: PlatformSettings, found: Deployed) -> Iterator[Door]:
    for service, address in sorted(found.inside.items()):
        published = {one.internal for one in found.published if one.service == service}
        behind = {web_port(service) or 0} if service in settings.behind_tls else set()
        for port in sorted({*_ports_inside(service), *published, *behind}):
            yield Door(service=service, host=address, port=port, why=CONTAINERS)
    for one in _published(settings, found):
        if reached_at(one.bound, found) is None:
            for host in found.own_addresses[:1]:
                yield Door(service=one.service, host=host, port=one.port, why=HIDDEN.format(bound=one.bound))
    if settings.membership and settings.firewall.enabled and not _admits(settings):
        yield from _kept_for_hosts(settings, settings.membership.address, found)


def _kept_for_hosts(settings: PlatformSettings, address: str, found: Deployed) -> Iterator[Door]:
    """What a host of a cluster opens to the cluster's hosts alone."""
    for service in settings.services():
        for port in _ports_on_host(service):
            yield Door(service=service, host=address, port=port, why=GUARDED)
    for one in found.published:
        if _is_guarded(settings, one):
            yield Door(service=one.service, host=address, port=one.port, why=GUARDED)


def _ports_inside(service: str) -> tuple[int, ...]:
    if service in RAY_NODES:
        return RAY_INSIDE
    return (WATCHED[listed_as(service)][1],) if listed_as(service) in WATCHED else ()


def _ports_on_host(service: str) -> Iterator[int]:
    """What a service of a cluster listens on in the host's network, for the cluster's hosts alone."""
    if service in HOST_RAY_PORTS:
        yield from (first for _, first, _ in host_ports(service))


def _admits(settings: PlatformSettings) -> bool:
    """Whether the firewall is told to admit the test network."""
    own = ipaddress.IPv4Network(settings.cluster_test.subnet)
    return any(own.overlaps(ipaddress.IPv4Network(one, strict=False)) for one in settings.firewall.allow)


def _of_ray(urls: Mapping[tuple[str, int], str], internal: int) -> str:
    """Where the head answers: the gateway, or the first node that publishes the port."""
    services = ("ray-gateway", *RAY_NODES)
    return next((urls[name, internal] for name in services if (name, internal) in urls), "")


def _url(settings: PlatformSettings, service: str, urls: Mapping[tuple[str, int], str]) -> str:
    address = next((address for (name, _), address in urls.items() if name == service), "")
    return f"{_scheme(settings)}://{address}{prefix_of(settings.base_url(service))}" if address else ""


def _scheme(settings: PlatformSettings) -> str:
    """Of all web services."""
    return "https" if settings.tls.enabled else "http"


def _behind_tls(settings: PlatformSettings, found: Deployed) -> Deployed:
    """The same with each port that nginx publishes as one of the service behind it."""
    behind = {settings.web_port_of(name): name for name in settings.behind_tls}

    def named(one: Published) -> Published:
        service = behind.get(one.port, one.service)
        return replace(one, service=service, internal=web_port(service) or one.internal)

    return replace(found, published=tuple(named(one) if one.service == "tls" else one for one in found.published))


def _skipped(
    settings: PlatformSettings, found: Deployed, urls: Mapping[tuple[str, int], str]
) -> Iterator[tuple[str, str]]:
    """Check → why it is not made."""
    if not urls:
        yield "published_ports", "nothing is published to other machines"
    checked = {settings.notebooks[0] if service == NOTEBOOKS else service: check for service, check in CHECK_OF.items()}
    for service, check in checked.items():
        if service not in settings.services():
            yield check, f"this stack has no {service}"
        elif not any(name == service for name, _ in urls):
            yield check, _why_not(service, found)
    for check in OF_RAY:
        internal = RAY_CLIENT if check.startswith("ray_client") else RAY_DASHBOARD
        if not settings.ray_nodes:
            yield check, NO_RAY
        elif not _of_ray(urls, internal):
            yield check, _why_not(next(iter(settings.ray_nodes)), found)
    if found.ray_token is None and settings.ray_nodes:
        yield "ray_client_without_token", "this stack has no token for Ray"


def _why_not(service: str, found: Deployed) -> str:
    bound = sorted({one.bound for one in found.published if one.service == service})
    if bound and any(address in EVERYWHERE for address in bound):
        return "this host has no address that another machine could reach it by"
    return f"published for this host alone ({', '.join(bound)})" if bound else f"{service} is not published"
