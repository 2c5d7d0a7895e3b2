"""What a person's computer reaches of a stack, and whether it needs a tunnel for that. Plain values only."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config.addresses import prefix_of
from config.notation import EVERYWHERE, notebooks_of
from config.notation import NOTEBOOKS as SHARED_NOTEBOOKS
from config.platform import PlatformSettings
from config.ports import RAY_CLIENT, RAY_DASHBOARD
from ws.errors import WsError
from ws.queue import of_stack

LOOPBACK = "127.0.0.1"
LAST_PORT = 65535
DASHBOARD, CLIENT, MLFLOW, NOTEBOOKS, HOME = "dashboard", "client", "mlflow", "notebooks", "home"
QUEUE = "queue"
TITLES = {
    HOME: "home page",
    DASHBOARD: "Ray's dashboard and Jobs API",
    CLIENT: "Ray Client",
    MLFLOW: "MLflow",
    NOTEBOOKS: "Marimo notebooks",
    QUEUE: "queue",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A port that a host publishes."""

    name: str
    bound: str  # the host's address
    port: int
    prefix: str = ""  # of all paths
    tls: bool = False


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One service as programs on the person's computer reach it."""

    name: str
    host: str
    port: int
    prefix: str = ""
    tls: bool = False
    target: str = ""  # where its tunnel leads to, as the stack's host sees it (host:port); empty: it needs no tunnel

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.name]

    @property
    def url(self) -> str:
        """Its address."""
        scheme = "ray" if self.name == CLIENT else "https" if self.tls else "http"
        return f"{scheme}://{self.host}:{self.port}{self.prefix}"

    @property
    def forward(self) -> str:
        """Its tunnel, as `ssh -L` takes it."""
        return f"{self.host}:{self.port}:{self.target}"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the person's computer reaches the stack's host."""

    host: str  # its name or address
    tunnel: bool = False  # also to what is open to other machines
    shift: int = 0  # added to the port of each service at the person's end of the tunnel
    person: str | None = None  # whose notebooks, where people have their own


def endpoints(settings: PlatformSettings, way: Way) -> tuple[Endpoint, ...]:
    """All of a stack's, in the order of `TITLES`. Raises `WsError` for a shift that leads to no port."""
    found = {one.name: _endpoint(one, way) for one in _published(settings, way.person)}
    return tuple(found[name] for name in TITLES if name in found)


def default_host(settings: PlatformSettings, own_addresses: Sequence[str]) -> str | None:
    """The name or address by which people know the stack's host best; None where it has neither."""
    names = [name.partition(":")[0] for name in settings.names]
    addresses = [settings.membership.address] if settings.membership else [*own_addresses]
    return next(iter((*names, *addresses)), None)


def refused_names(settings: PlatformSettings, way: Way, own_addresses: Sequence[str]) -> bool:
    """Whether MLflow would refuse requests for the name of the host that the bundle uses."""
    names = {name.partition(":")[0] for name in settings.names}
    known = {LOOPBACK, *names, *own_addresses, settings.network.bind_address}
    if settings.membership:
        known |= {host.address for host in settings.membership.cluster.hosts.values()} | {settings.membership.host}
    return any(one.name == MLFLOW and one.host not in known for one in endpoints(settings, way))


def has_own_notebooks(settings: PlatformSettings, person: str | None) -> bool:
    """Whether a person has notebooks of their own."""
    return settings.marimo.enabled and person in settings.marimo.users


def _published(settings: PlatformSettings, person: str | None) -> Iterator[Published]:
    yield from _of_ray(settings)
    enabled = settings.services()
    notebooks = notebooks_of(person) if person and has_own_notebooks(settings, person) else SHARED_NOTEBOOKS
    for name, service in ((MLFLOW, "mlflow"), (NOTEBOOKS, notebooks), (HOME, "health")):
        if service in enabled:
            yield Published(
                name=name,
                bound=settings.bind_address(service),
                port=settings.service(service).host_ports["port",],
                prefix=prefix_of(settings.base_url(service)),
                tls=settings.tls.enabled,
            )
    elsewhere = settings.membership and "mlflow" not in enabled and settings.membership.mlflow_reach
    if elsewhere:
        yield Published(name=MLFLOW, bound=elsewhere.addresses[0], port=elsewhere.port, prefix=elsewhere.prefix)
    if queue := of_stack.published(settings):
        yield Published(name=QUEUE, bound=queue[0], port=queue[1], tls=settings.tls.enabled)


def _of_ray(settings: PlatformSettings) -> Iterator[Published]:
    """The head's: behind the gateway in a cluster; else of the node that is the head unless it fails."""
    if settings.membership:
        address = settings.membership.address
        yield Published(name=DASHBOARD, bound=address, port=RAY_DASHBOARD)
        yield Published(name=CLIENT, bound=address, port=RAY_CLIENT)
    elif settings.head_candidates and not settings.ray.head_address:
        head = settings.head_candidates[0]
        ports, address = settings.ray_nodes[head].ports, settings.bind_address(head)
        yield Published(name=DASHBOARD, bound=address, port=ports.dashboard, tls=settings.tls.enabled)
        yield Published(name=CLIENT, bound=address, port=ports.client)


def _endpoint(one: Published, way: Way) -> Endpoint:
    everywhere = one.bound in EVERYWHERE
    if not way.tunnel and (everywhere or not ipaddress.ip_address(one.bound).is_loopback):
        host = way.host if everywhere else one.bound
        return Endpoint(name=one.name, host=host, port=one.port, prefix=one.prefix, tls=one.tls)
    port = one.port + way.shift
    if not 0 < port <= LAST_PORT:
        raise WsError(f"--shift {way.shift}: {TITLES[one.name]} would get port {port}, and ports end at {LAST_PORT}")
    target = f"{LOOPBACK if everywhere else one.bound}:{one.port}"
    return Endpoint(name=one.name, host=LOOPBACK, port=port, prefix=one.prefix, tls=one.tls, target=target)
