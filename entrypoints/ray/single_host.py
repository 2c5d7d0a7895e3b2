"""Election of the head among the Ray nodes of a single host.

A node joins an existing head; without one, the first candidate that wins the lease leads, and computes as well. Does
not start Ray (node.py) and does not elect across hosts (agent.py). Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contracts.document import DocumentError
from contracts.status import Status
from coordination.errors import NodeError
from coordination.lease import Credentials, Grant, Lease, Refusal
from coordination.membership import NodeMembership, read_membership, read_membership_if_possible
from coordination.redis_client import Address
from entrypoints.ray.command import DASHBOARD_PORT, GCS_PORT, HEAD_FLAGS
from entrypoints.ray.container import software_versions
from entrypoints.ray.supervision import LOST_DATA, End, Stop, say

PROGRESS_SECONDS = 10.0
POLL_SECONDS = 1.0
ANSWER_SECONDS = 0.5  # for one request to the node's own head, between two renewals


@dataclass(frozen=True)
class Role:
    """The outcome: this node is the head, with a grant and a Redis user, or a worker of the head at an address."""

    head: Address | None
    grant: Grant | None = None
    credentials: Credentials | None = None


@dataclass(frozen=True)
class Question:
    """The settings of one node's election."""

    name: str  # of this node
    candidates: tuple[str, ...]  # nodes that may be head, in order
    head: Address | None  # the static head, if any
    health_url: str  # of the health service; empty: do not ask
    health_timeout: float  # seconds
    deadline: float  # seconds to find or become a head
    ports: Mapping[str, int]  # flag of `ray start` → port, the same for every node of this host


def head_by_health_service(question: Question) -> Address | None:
    """Ask the health service for the head; a failure, or this node itself from an earlier run, counts as no answer.

    Logs once if the report cannot be read: during an upgrade, `ws up` may have yet to replace the health service.
    """
    if not question.health_url:
        return None
    # No proxy: the service is in our own network, which a proxy of the site cannot reach.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{question.health_url.rstrip('/')}/status"
    try:
        with opener.open(url, timeout=question.health_timeout) as response:
            head = Status.from_json(response.read()).ray.head
        return None if head is None or head.node == question.name else Address.parse(head.address, "health service")
    except DocumentError as error:
        _say_once(f"the health service at {question.health_url} is not asked for the head: {error}")
    except (OSError, http.client.HTTPException, NodeError):
        pass
    return None


_say_once = functools.cache(say)


class OneHostElection:
    """Decides the node's role once, then keeps it."""

    def __init__(
        self, question: Question, lease: Lease, stop: Stop, log_in_as: Callable[[Credentials], None] = lambda _: None
    ) -> None:
        self._question = question
        self._lease = lease
        self._stop = stop
        self._log_in_as = log_in_as  # called when the running head needs another user
        self._instance = uuid.uuid4().hex  # tells this run from an earlier one of the same node
        self._grant: Grant | None = None
        self._credentials: Credentials | None = None
        self._incarnation = ""  # of the data that this worker joined with; empty with a static head
        self._announced = False
        self._complained = False

    def decide(self, drained: Callable[[str], None]) -> Role | None:
        """Wait until the role is certain; None if stopped meanwhile. Raises NodeError at the deadline.

        ``drained`` is called with the reason why the node must stay out, which has no deadline, or "" when it may join.
        """
        question = self._question
        began = reported = time.monotonic()
        told = ""
        while not self._stop.is_set():
            try:
                membership = self._membership()
                out = membership.obstacle(question.name)
                if out != told:
                    told = out
                    drained(out)
                if out:
                    began = time.monotonic()
                role, obstacle = (None, out) if out else self._attempt()
            except OSError as error:
                role, obstacle = None, f"Redis at {self._lease.link.address} does not answer ({error})"
            if role:
                self._incarnation = "" if question.head else membership.incarnation
                return role
            now = time.monotonic()
            if now - began > question.deadline:
                raise NodeError(f"No Ray head within {question.deadline:.0f} s: {obstacle}; see that service's log.")
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                say(f"still waiting for a Ray head after {now - began:.0f} s: {obstacle}")
            self._stop.wait(POLL_SECONDS)
        return None

    def keep(self) -> End | None:
        """Renew the lease, if this node is head, and announce it once it serves; return why Ray must end.

        A worker ends when it was drained and its time is over.
        The head of one host computes as well, so it ends only when it has lost the lead: without Redis its GCS ends
        by itself, and an expired lease that no other node took is renewed. The fence keeps both cases safe.
        """
        if self._grant is None:
            return self._reason_to_end()
        try:
            renewal = self._lease.renew(self._grant, revive=True)
            if not renewal.held:
                lost = "this node's lease is no longer in Redis, which may have lost its data"
                return End(f"{renewal.holder} is head now" if renewal.holder else lost, at_once=True)
            if renewal.revived:
                self._announced = False
            self._replace_lost_user(self._grant)
            self._announce(self._grant)
        except (OSError, NodeError) as error:
            if not self._complained:
                say(f"warning: the lease was not renewed ({error})")
            self._complained = True
        else:
            self._complained = False
        return None

    def _replace_lost_user(self, grant: Grant) -> None:
        """Make another user if Redis has lost that of the running head. As at the start of a head, it is used only
        after a verification: then the fence of a later grant covers it.
        """
        if self._credentials is None or self._lease.has_user(self._credentials):
            return
        credentials = self._lease.create_user(grant)
        if self._lease.renew(grant).held:
            self._credentials = credentials
            self._log_in_as(credentials)
            say("Redis was restarted and had forgotten this head, which it knows again now")

    def _reason_to_end(self) -> End | None:
        try:
            membership = self._membership()
        except (OSError, NodeError):
            return None
        if self._incarnation and membership.incarnation != self._incarnation:
            return LOST_DATA
        reason = membership.reason_to_end(self._question.name)
        return End(reason, at_once=False) if reason else None

    def _membership(self) -> NodeMembership:
        read = read_membership_if_possible if self._question.head else read_membership
        return read(self._lease.link, self._lease.namespace, self._question.name)

    def release(self) -> None:
        """Release the lease after Ray has ended; without Redis it expires."""
        if self._grant:
            with contextlib.suppress(OSError, NodeError):
                self._lease.release(self._grant)

    def _announce(self, grant: Grant) -> None:
        question = self._question
        if not self._announced and not http_failure(question.ports[DASHBOARD_PORT], "/api/gcs_healthz", ANSWER_SECONDS):
            gcs, client, dashboard = (Address(question.name, question.ports[flag]) for flag in HEAD_FLAGS)
            self._announced = self._lease.announce(grant, gcs, client, dashboard, software_versions())

    def _attempt(self) -> tuple[Role | None, str]:
        """Try once; return the role, or the reason why there is none yet."""
        question = self._question
        if question.head and question.head.host != question.name:
            return _join(question.head, f"{question.head} (the static head) does not answer")
        if not question.head and (found := self._existing()):
            return found
        if not question.head and question.name not in question.candidates:
            return None, "this node is not on the head whitelist, and no other node is head"
        return self._lead()

    def _existing(self) -> tuple[Role | None, str] | None:
        """Look for another head: elected, named by the health service, or answering where one would be."""
        question = self._question
        view = self._lease.look()
        if view and view.host != question.name:
            if not view.ready or view.gcs is None:
                return None, f"{view.host} was elected and starts its head"
            return _join(view.gcs, f"{view.gcs} was elected, and does not answer")
        others = (Address(name, question.ports[GCS_PORT]) for name in question.candidates if name != question.name)
        for address in filter(None, (head_by_health_service(question), *others)):
            if address.answers():
                return Role(address), ""
        return None

    def _lead(self) -> tuple[Role | None, str]:
        """Become head: win the lease, then fence all others out of Redis."""
        lease = self._lease
        # Docker runs only one container with this name, so an earlier holder of the lease under this name has ended.
        grant = lease.acquire(self._question.name, self._instance, takeover=True)
        if isinstance(grant, Refusal):
            return None, grant.reason
        credentials = lease.create_user(grant)
        # Verified after the user was made: so the fence of the next holder, which follows its grant, covers this user.
        if not lease.renew(grant).held:
            return None, "another node was elected meanwhile"
        lease.fence(grant, keep=credentials.username)
        if not lease.renew(grant).held:
            return None, "another node was elected meanwhile"
        self._grant, self._credentials = grant, credentials
        return Role(None, grant, credentials), ""


def _join(head: Address, obstacle: str) -> tuple[Role | None, str]:
    return (Role(head), "") if head.answers() else (None, obstacle)


def http_failure(port: int, path: str, timeout: float) -> str:
    """Return why a GET on this machine does not get 200; empty if it does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return "" if response.status == 200 else f"{path} on port {port} answered {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {port}: {error}"
    finally:
        connection.close()
