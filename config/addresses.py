"""Addresses at which people and programs reach published services: allowed Hosts and Origins, and links.

Plain values and their rules, independent of the host. A host is written as browsers write it: in lower case, and
without a port where that is the scheme's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from config.types import EVERYWHERE

NAMES_VARIABLE = "MLFLOW_ALLOWED_HOSTS"  # of stack files from before `network.names`
SCHEMES = {"http": 80, "https": 443}
# Any port, since a tunnel may begin at any port of a person's own machine. Rebinding does not pass: no page has
# these as its address, whatever its name resolves to. The form is that of fnmatch, which MLflow reads a * with.
LOOPBACK = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*")


def connectable(bind_address: str) -> str:
    """An address of this host at which this host reaches a port that is bound to `bind_address`."""
    return "127.0.0.1" if bind_address in EVERYWHERE else bind_address


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A service's addresses outside its container network."""

    port: int  # of the host
    addresses: tuple[str, ...]  # of the host, beside 127.0.0.1, on which the port is published; the best one first
    names: tuple[str, ...] = ()  # of the host, with or without a port
    aliases: tuple[str, ...] = ()  # more names, which need not resolve elsewhere: not used in links
    base_url: str | None = None  # behind a reverse proxy: /path or https://host/path
    scheme: Literal["http", "https"] = "http"  # of the published port

    @property
    def prefix(self) -> str:
        """The prefix of all paths of the service; empty without a reverse proxy."""
        return prefix_of(self.base_url)

    @property
    def address(self) -> str:
        """Host and port for people and clients: the first name, or else the best address."""
        # A name leads to nothing that is on 127.0.0.1 alone.
        host = (*(self.names if self.addresses else ()), *self.addresses, "127.0.0.1")[0]
        return f"{host.partition(':')[0]}:{self.port}"

    @property
    def link(self) -> str:
        """The URL that a person opens: at the reverse proxy, the first name, or else the best address."""
        if self.base_url and not self.base_url.startswith("/"):
            return self.base_url.rstrip("/")
        return f"{self.scheme}://{self.address}{self.prefix}"

    @property
    def origins(self) -> tuple[str, ...]:
        """Every Origin of a page that the service itself has given, beside those of this machine."""
        return tuple(dict.fromkeys(self._origins()))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every Host header of a request that is meant for the service, beside those of this machine."""
        return tuple(dict.fromkeys(urlsplit(origin).netloc for origin in self._origins()))

    def _origins(self) -> Iterator[str]:
        for host in self.addresses:
            yield origin(self.scheme, host, self.port)
            if self.base_url and self.base_url.startswith("/"):  # which does not say where the proxy is
                yield from (f"{scheme}://{host}" for scheme in SCHEMES)
        for name in (*self.names, *self.aliases):
            host, _, port = name.partition(":")
            # Browsers keep the dot that may end a full name.
            for spelling in (host,) if host.replace(".", "").isdigit() else (host, f"{host}."):
                if port:
                    yield from (origin(scheme, spelling, int(port)) for scheme in SCHEMES)
                else:
                    # Beside the published port: a reverse proxy on the ports that browsers leave out.
                    yield origin(self.scheme, spelling, self.port)
                    yield from (f"{scheme}://{spelling}" for scheme in SCHEMES)
        if self.base_url and not self.base_url.startswith("/"):
            url = urlsplit(self.base_url)
            yield origin(url.scheme, str(url.hostname), url.port or SCHEMES[url.scheme])


def origin(scheme: str, host: str, port: int) -> str:
    """An Origin as browsers write it."""
    return f"{scheme}://{host}" if port == SCHEMES[scheme] else f"{scheme}://{host}:{port}"


def prefix_of(base_url: str | None) -> str:
    """The path of a `base_url`, without a slash at its end."""
    path = base_url if base_url and base_url.startswith("/") else urlsplit(base_url or "").path
    return path.rstrip("/")


def published_on(bind_address: str, own_addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses, besides 127.0.0.1, at which a port bound to `bind_address` answers."""
    if bind_address in EVERYWHERE:
        return tuple(own_addresses)
    return () if bind_address == "127.0.0.1" else (bind_address,)


def env_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Names that a stack file has in the variable that was the only place for them before `network.names`."""
    written = (name.strip().removesuffix(":*") for name in env.get(NAMES_VARIABLE, "").split(","))
    return tuple(name for name in written if name)
