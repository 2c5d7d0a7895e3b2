"""A worker of a cluster over several hosts: decides when it may join the head and when it must restart.

It never becomes a head. Its Ray knows only the address of its own host's gateway, and survives every move of the head.
Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from coordination.errors import NodeError
from coordination.lease import Lease
from coordination.membership import NodeMembership, read_membership, read_membership_if_possible, read_state
from coordination.redis_client import Address, RedisLink
from entrypoints.ray.container import software_versions
from entrypoints.ray.supervision import LOST_DATA, End, Stop, say

POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
PASSED_ON_SECONDS = 0.5  # a gateway without a head ends a connection sooner than this
REMEDIES = {
    "ray": "deploy both hosts from the same version of this project, or pull the same image on both",
    "python": "let both hosts' images have the same Python, down to the patch level",
    "cuda": "let both hosts' stacks name the same variant",
}


class Cluster(Protocol):
    """A worker's queries about its cluster. All raise OSError while Redis does not answer."""

    def membership(self) -> NodeMembership:
        """The node's own membership in the cluster."""

    def has_head(self) -> bool:
        """Whether a head is ready."""

    def why_no_head(self) -> str:
        """Why no head is ready, as a clause."""

    def versions(self) -> Mapping[str, str]:
        """The head's software versions."""


class ElectedCluster:
    """Queries answered by Redis."""

    def __init__(self, link: RedisLink, namespace: str, node: str, whitelist: Sequence[str]) -> None:
        self._lease = Lease(link, namespace)
        self._whitelist = whitelist
        self._node = node
        self._reason, self._reason_until = "", 0.0

    def membership(self) -> NodeMembership:
        """See Cluster."""
        return read_membership(self._lease.link, self._lease.namespace, self._node)

    def has_head(self) -> bool:
        """See Cluster."""
        view = self._lease.look()
        return view is not None and view.ready

    def why_no_head(self) -> str:
        """See Cluster. Read again every PROGRESS_SECONDS: the answer grows with the cluster, as do the askers."""
        if time.monotonic() >= self._reason_until:
            self._reason = read_state(self._lease.link, self._lease.namespace).why_no_head(self._whitelist)
            self._reason_until = time.monotonic() + PROGRESS_SECONDS
        return self._reason

    def versions(self) -> Mapping[str, str]:
        """See Cluster."""
        return self._lease.versions() or {}


class StaticHead:
    """Queries with a static head: only whether the node was drained, if Redis answers at all."""

    def __init__(self, link: RedisLink, namespace: str, node: str) -> None:
        self._link = link
        self._namespace = namespace
        self._node = node

    def membership(self) -> NodeMembership:
        """See Cluster. Of no incarnation, since the head may have its state elsewhere."""
        return replace(read_membership_if_possible(self._link, self._namespace, self._node), incarnation="")

    def has_head(self) -> bool:
        """See Cluster. Always true: the gateway knows whether the head answers."""
        return True

    def why_no_head(self) -> str:
        """See Cluster."""
        return ""

    def versions(self) -> Mapping[str, str]:
        """See Cluster: unknown."""
        return {}


class Worker:
    """Waits until its node may join, and tells when its cluster no longer exists."""

    def __init__(self, name: str, host: str, cluster: Cluster, gateway: Address, stop: Stop) -> None:
        self._name = name
        self._host = host
        self._cluster = cluster
        self._gateway = gateway
        self._stop = stop
        self._incarnation = ""

    def wait_for_head(self, waiting: Callable[[str], None]) -> bool:
        """Wait as long as it takes, calling ``waiting`` with the reason; False if stopped.

        Raises NodeError if this node does not fit the cluster.
        """
        began = reported = time.monotonic()
        told = ""
        while not self._stop.is_set():
            obstacle = self._obstacle()
            if not obstacle:
                return True
            if obstacle != told:
                told = obstacle
                waiting(obstacle)
            now = time.monotonic()
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                say(f"still waiting after {now - began:.0f} s: {obstacle}")
            self._stop.wait(POLL_SECONDS)
        return False

    def reason_to_end(self) -> End | None:
        """Return why this node's Ray must end. While Redis does not answer, it may continue."""
        try:
            membership = self._cluster.membership()
        except (OSError, NodeError):
            return None
        if membership.incarnation and membership.incarnation != self._incarnation:
            return LOST_DATA
        reason = membership.reason_to_end(self._name)
        return End(reason, at_once=False) if reason else None

    def _obstacle(self) -> str:
        cluster = self._cluster
        try:
            membership = cluster.membership()
            if obstacle := membership.obstacle(self._name):
                return obstacle
            if not cluster.has_head():
                return f"no head: {cluster.why_no_head()}"
            check_versions(software_versions(), self._host, cluster.versions())
        except OSError as error:
            return f"Redis does not answer ({error})"
        self._incarnation = membership.incarnation
        return (
            "" if passes_on(self._gateway) else f"the gateway of this host at {self._gateway} does not reach the head"
        )


def check_versions(own: Mapping[str, str], own_host: str, cluster: Mapping[str, str]) -> None:
    """Raise NodeError if this node's software does not fit the head's; unknown versions fit."""
    differing = [what for what in REMEDIES if own.get(what) and cluster.get(what) and own[what] != cluster[what]]
    if differing:
        differences = ", ".join(f"{what} {own[what]} here and {cluster[what]} there" for what in differing)
        raise NodeError(
            f"{own_host or 'This host'} does not fit the cluster, whose head {cluster.get('host', '')} made its "
            f"versions: {differences}. Remedy: {'; '.join(REMEDIES[what] for what in differing)}; then run the "
            "deployment on the host that is wrong."
        )


def passes_on(gateway: Address) -> bool:
    """Tell whether the gateway forwards a connection: without a head it ends the connection at once."""
    try:
        with socket.create_connection((gateway.host, gateway.port), timeout=1.0) as connection:
            readable, _, _ = select.select([connection], [], [], PASSED_ON_SECONDS)
            return not readable or bool(connection.recv(1))
    except OSError:
        return False
