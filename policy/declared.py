"""A resource as the rules see it: as the program registers it, before any engine has made it."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import normpath
from typing import Any, Protocol

from config.notation import listed_as
from config.platform import PlatformSettings

CONTAINER = "docker:index/container:Container"


class Registered(Protocol):
    """What an engine knows of a resource that the program registers. Secrets in its inputs are unwrapped."""

    @property
    def type(self) -> str:
        """Pulumi's type token."""

    @property
    def name(self) -> str:
        """The name within the program."""

    @property
    def inputs(self) -> dict[str, Any]:
        """The properties. A preview does not know all values."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a stack's own files say about it, which its resources do not. `repr` shows no secret."""

    settings: PlatformSettings = field(default_factory=PlatformSettings)
    state: str | None = None  # the stack's state folder on this host
    socket: str | None = None  # Docker's on this host
    tags: bool = False  # it is written for Docker Compose, which builds nothing and knows images of this host by tags
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # made by the platform: name → value
    own_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # those that the stack's owner chose

    @property
    def several_hosts(self) -> bool:
        """Whether the stack is one host's part of a cluster."""
        return self.settings.membership is not None

    @cached_property
    def own_variables(self) -> frozenset[tuple[str, str]]:
        """Names and values of the environment variables that the stack file itself sets in plain text."""
        services = self.settings.services()
        return frozenset(pair for service in services for pair in self.settings.service(service).env.items())

    def may_publish(self, service: str, address: str) -> bool:
        """Whether a service's ports may be published on an address: loopback, or the one that the settings open."""
        try:
            return ipaddress.ip_address(address).is_loopback or address == self.settings.bind_address(service)
        except ValueError:
            return False  # none is every address to Docker


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource. Everything that a container does not say is empty, and no rule may take that for granted."""

    type: str
    name: str
    inputs: Mapping[str, Any]

    @classmethod
    def of(cls, registered: Registered) -> "Resource":
        """The resource that an engine is told of."""
        return cls(type=registered.type, name=registered.name, inputs=registered.inputs)

    @property
    def is_container(self) -> bool:
        """Whether it is a container."""
        return self.type == CONTAINER

    @property
    def label(self) -> str:
        """How messages name it: a container by its service."""
        return str(self.inputs.get("hostname") or self.name)

    @property
    def service(self) -> str:
        """The service as tables list it."""
        return listed_as(self.label)

    def items(self, key: str) -> list[Any]:
        """An input that is a list; empty where there is none."""
        value = self.inputs.get(key)
        return value if isinstance(value, list) else []

    def mapping(self, key: str) -> dict[str, Any]:
        """An input that is a mapping; empty where there is none."""
        value = self.inputs.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def environment(self) -> Iterator[tuple[str, str]]:
        """Names and values of the environment variables whose values are known."""
        for variable in self.items("envs"):
            if isinstance(variable, str):
                name, _, value = variable.partition("=")
                yield name, value

    @property
    def mounts(self) -> Iterator["Mounted"]:
        """The mounts."""
        for mount in self.items("mounts"):
            source = mount.get("source")
            yield Mounted(
                source=normpath(source) if isinstance(source, str) and source else "",
                target=str(mount.get("target")),
                bind=mount.get("type") == "bind",
                read_only=mount.get("readOnly") is True,
                propagation=str((mount.get("bindOptions") or {}).get("propagation") or ""),
            )


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """One mount of a container."""

    source: str  # without `..`; empty while a preview does not know it
    target: str
    bind: bool  # a path of the host, not a volume
    read_only: bool
    propagation: str  # of mounts below it; empty: Docker's default, private
