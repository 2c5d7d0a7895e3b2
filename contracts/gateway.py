"""Settings of the gateway's program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.redis import RedisAccess


class Target(enum.Enum):
    """A destination of forwarded connections: one of the head's three ports."""

    GCS = "gcs"
    CLIENT = "client"
    DASHBOARD = "dashboard"


@dataclass(frozen=True, kw_only=True)
class Route:
    """Addresses of this host, as host:port, and where they lead."""

    listen: tuple[str, ...]
    target: Target


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Who this host is, what to listen on, and how to find the head."""

    host: str  # as in the cluster's list of hosts
    address: str
    candidate: bool  # whether this host may lead
    routes: tuple[Route, ...]
    redis: RedisAccess
    own_redis: str | None = None  # this host's own Redis address, if it runs one server of a Redis pair
    static_head: Mapping[str, str] = field(default_factory=dict)  # target → host:port; not empty: no election
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the other hosts' preflights compare with their own
