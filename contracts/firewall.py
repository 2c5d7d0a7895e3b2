"""Settings of the firewall's program."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What the hosts of a cluster alone reach on this one; on a host of its own nothing, since nothing is open."""

    hosts: tuple[str, ...] = ()  # names or addresses
    ports: tuple[str, ...] = ()  # "6379" or "12000-12999"
    forwarded: tuple[int, ...] = ()  # of them those that Docker forwards to a container


@dataclass(frozen=True, kw_only=True)
class FirewallSettings(Guarded):
    """Who reaches what from another machine."""

    table: str  # of nftables, the stack's own; no other program has one of this name
    gateway: str  # this host's address on the bridge of the containers, by which the bridge is found
    allow: tuple[str, ...] = ()  # addresses and networks that no rule here concerns
