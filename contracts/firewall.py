"""Settings of the firewall's program."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """Ports of this host that only the other hosts of its cluster may reach; empty on a single host."""

    hosts: tuple[str, ...] = ()  # names or addresses
    ports: tuple[str, ...] = ()  # "6379" or "12000-12999"
    forwarded: tuple[int, ...] = ()  # the subset of `ports` that Docker forwards to a container
    scraped: tuple[int, ...] = ()  # the subset that Prometheus, in a container of this host, asks for figures


@dataclass(frozen=True, kw_only=True)
class FirewallSettings(Guarded):
    """Which other machines may reach which ports."""

    table: str  # nftables table of this stack; no other program uses this name
    gateway: str  # this host's address on the bridge of the containers, by which the bridge is found
    allow: tuple[str, ...] = ()  # addresses and networks that no rule here concerns
