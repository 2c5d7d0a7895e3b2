"""The HTTP proxy through which users' programs reach the internet, and the addresses exempt from it.

A program uses its environment's proxy for all requests: without exemptions, calls to MLflow inside the network go to
the proxy, which cannot resolve its name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from config.notation import NOTEBOOKS, listed_as
from config.platform import PlatformSettings
from config.services import RAY_NODES, SERVICES
from stack.identity import StackIdentity

PROXIES = ("http_proxy", "https_proxy")
# Other variables that people set in a service's `env` for the same purpose.
ANY_PROXY = (*PROXIES, "all_proxy")
EXCEPT = "no_proxy"
THIS_HOST = ("localhost", "127.0.0.1", "127.0.0.2", "::1")
# Services that run users' programs, or that contact other servers.
ASKING = ("alertmanager", "mlflow", "ray-head", "devel", *RAY_NODES, NOTEBOOKS)


@dataclass(frozen=True, kw_only=True)
class HttpProxy:
    """A stack's proxy settings, for the environment of its containers."""

    url: str | None  # None: none for all; a service may have one of its own
    near: tuple[str, ...]  # names, addresses and networks that are reached without it

    def environment(self, service: str, own: Mapping[str, str]) -> dict[str, str]:
        """A service's environment with the proxy added; programs read either spelling of the variables."""
        if listed_as(service) not in ASKING:
            return dict(own)
        proxies = {spelling: self.url for name in PROXIES for spelling in _spellings(name) if self.url}
        merged = {**proxies, **own}
        if not any(spelling in merged for name in ANY_PROXY for spelling in _spellings(name)):
            return merged
        written = [own.get(spelling, "") for spelling in _spellings(EXCEPT)]
        near = ",".join(dict.fromkeys([*_listed(written), *self.near]))
        return {**merged, **dict.fromkeys(_spellings(EXCEPT), near)}

    def serves(self, service: str, own: Mapping[str, str]) -> bool:
        """Whether a service has a proxy, the stack's or one of its own."""
        return EXCEPT in self.environment(service, own)

    def of_client(self, own: Mapping[str, str], *more_near: str) -> dict[str, str]:
        """The same for a program that asks as those of a service do, without the rest of its environment.

        `more_near`: names that it alone asks for, such as those of people's notebooks. No container has them, or each
        would be replaced whenever somebody comes or goes.
        """
        names = {spelling for name in (*ANY_PROXY, EXCEPT) for spelling in _spellings(name)}
        asking = replace(self, near=(*self.near, *more_near))
        return asking.environment(ASKING[-1], {name: value for name, value in own.items() if name in names})


def http_proxy(settings: PlatformSettings, identity: StackIdentity, nodes: Iterable[str]) -> HttpProxy:
    """The proxy of a stack. `nodes`: the addresses of its Ray nodes, for programs that know no networks."""
    network, membership = settings.network, settings.membership
    hosts = membership.cluster.hosts.items() if membership else ()
    near = [
        *THIS_HOST,
        *SERVICES,
        *(identity.object_name(service) for service in SERVICES),
        *nodes,
        network.subnet,
        *(() if network.bind_address in ("0.0.0.0", "127.0.0.1") else (network.bind_address,)),  # noqa: S104 (compared)
        *(name.partition(":")[0] for name in settings.names),
        *(name for host, entry in hosts for name in (host, entry.address, *entry.names)),
        *network.no_proxy,
    ]
    return HttpProxy(url=network.proxy, near=tuple(dict.fromkeys(near)))


def _spellings(name: str) -> tuple[str, str]:
    return name, name.upper()


def _listed(values: Iterable[str]) -> list[str]:
    return [entry.strip() for value in values for entry in value.split(",") if entry.strip()]
