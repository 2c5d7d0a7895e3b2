"""`ws redis failover`: makes this host's replica of Redis the primary.

An operator runs it, since only a person can know that an unresponsive host is off. While the present primary answers,
nothing is lost (coordination/redis_failover.py).
"""

import contextlib
import sys
import time
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from coordination.membership import HeadState
from coordination.redis_client import Address
from coordination.redis_failover import NotMovedError, NotPromotedError, hand_over, promote
from coordination.redis_pair import ServerStatus
from ws.cluster.access import Access
from ws.cluster.head import POLL_SECONDS
from ws.cluster.redis import ask, host_of
from ws.errors import WsError
from ws.progress import progress, wait_until

HEAD_SECONDS = 90.0


def failover(access: Access, console: Console, *, primary_is_off: bool) -> None:
    """Moves the primary to this host. Raises `WsError` if that could lose data needlessly."""
    own, other = _addresses(access)
    replica, primary = ask(access, own), ask(access, other)
    if isinstance(replica, str):
        raise WsError(f"The Redis of this host, {own}, does not answer: {replica}\n  Start it: ws up -s {access.stack}")
    if replica.leads and not (isinstance(primary, ServerStatus) and primary.generation > replica.generation):
        raise WsError(
            f"The Redis of this host, {own}, is the primary already.\n"
            f"  To make {host_of(access, other)}'s the primary, run this there."
        )
    began = time.monotonic()
    if isinstance(primary, str):
        _confirm_loss(access, other, primary, primary_is_off, console)
        with _promotion():
            generation = promote(access.server(own), access.namespace)
    else:
        try:
            _check_step(replica, primary, host_of(access, other))
            with _promotion():
                generation = hand_over(access.server(own), access.server(other), access.namespace)
        except NotMovedError as error:
            raise WsError(
                f"The primary was not moved: {error}.\n  See: ws redis status --stack {access.stack}"
            ) from error
    seconds = time.monotonic() - began
    console.print(Text(f"{own} is the primary, generation {generation}, after {seconds:.1f} s", style="bold green"))
    _wait_for_head(access, console, began)


def leads_here(access: Access) -> bool | None:
    """Whether this host's Redis is the primary; None if it does not answer."""
    own = [address for address in access.servers if access.membership and address.host == access.membership.address]
    answer = ask(access, own[0]) if own else ""
    return None if isinstance(answer, str) else answer.leads


def give_away(access: Access, console: Console) -> None:
    """Promotes the replica before the Redis of this host is replaced or removed, so that the cluster keeps a primary.

    Reports if there is no synchronized replica: Redis is then unavailable until this server is back, with all its data.
    """
    if len(access.servers) < 2 or not leads_here(access):
        return
    own, other = _addresses(access)
    primary, replica = ask(access, own), ask(access, other)
    began, host = time.monotonic(), host_of(access, other)
    try:
        if isinstance(replica, str) or isinstance(primary, str):
            raise NotMovedError(f"the replica on {host} does not answer")
        _check_step(replica, primary, host)
        with _promotion():
            generation = hand_over(access.server(other), access.server(own), access.namespace)
    except NotMovedError as error:
        console.print(
            Text(f"Redis is unavailable until it is back on this host: {error}", style="yellow"), soft_wrap=True
        )
        return
    seconds = time.monotonic() - began
    console.print(f"The replica on {host} is the primary of Redis now, generation {generation}, after {seconds:.1f} s")
    try:
        _wait_for_head(access, console, began)
    except WsError as error:  # this deployment may be the one that adds a replica
        console.print(Text(str(error), style="yellow"), soft_wrap=True)


def _addresses(access: Access) -> tuple[Address, Address]:
    """This host's server and the other one."""
    membership = access.membership
    if membership is None or len(access.servers) < 2:
        where = f"{membership.names('redis.replica')}, on all hosts" if membership else "a cluster of several hosts"
        raise WsError(f"stack {access.stack} has one Redis and no replica of it. A replica is made by {where}.")
    own = [address for address in access.servers if address.host == membership.address]
    if not own:
        hosts = " or ".join(host_of(access, address) for address in access.servers)
        raise WsError(f"{membership.host} has no Redis.\n  Run this on the host whose Redis is to lead: {hosts}.")
    return own[0], next(address for address in access.servers if address != own[0])


@contextlib.contextmanager
def _promotion() -> Iterator[None]:
    """Turns a failed promotion into an error with a remedy."""
    try:
        yield
    except NotPromotedError as error:
        raise WsError(f"{error}\n  Run this again.") from error


def _check_step(replica: ServerStatus, primary: ServerStatus, host: str) -> None:
    if not primary.leads:
        raise NotMovedError(
            f"{primary.address} on {host} answers, but does not lead; the gateways of the two hosts settle that within "
            "seconds; if not, see `ws logs ray-gateway` on both"
        )
    if replica.follows != primary.address or not replica.in_step:
        raise NotMovedError(
            f"the replica is not in step with {primary.address}, so what was written meanwhile would be lost; wait "
            "until "
            "its status says how far it is behind, and run this again"
        )


def _confirm_loss(access: Access, other: Address, reason: str, primary_is_off: bool, console: Console) -> None:
    """Makes the operator confirm that nothing writes to the old primary any more, which no program can find out."""
    host = host_of(access, other)
    warning = (
        f"The primary, {other} on {host}, does not answer: {reason}\n"
        f"Writes of about its last second may be lost. {host} MUST be off, or have no network: if it only cannot be "
        "reached from here, heads and workers that still reach it keep writing to it, and all of that is lost when "
        "it follows the new primary."
    )
    if not primary_is_off:
        raise WsError(
            f"{warning}\n  Make sure of it (power, or the network of {host}), and then: "
            f"ws redis failover --primary-is-off -s {access.stack}"
        )
    console.print(Text(warning, style="yellow"), soft_wrap=True)
    if sys.stdin.isatty() and console.is_terminal and typer.prompt(f"Type {host} to confirm that it is off") != host:
        raise WsError("Not confirmed. Nothing was changed.")


def _wait_for_head(access: Access, console: Console, began: float) -> None:
    """Waits for a head that keeps its state in the new primary."""
    if access.membership and access.membership.static_head:
        return
    ready: HeadState | None = None

    def missing() -> str:
        nonlocal ready
        with contextlib.suppress(WsError):
            state = access.state()
            # A lease that was written to the former primary says "ready" until its holder has noticed.
            ready = state.head if state.hold <= 0 else None
            return "" if ready else access.why_no_head(state) or "waiting for the head"
        return "waiting for Redis"

    with progress(console) as say:
        wait_until(missing, HEAD_SECONDS - (time.monotonic() - began), say, pause=POLL_SECONDS)
    if ready is None:
        raise WsError(f"No head is ready after {HEAD_SECONDS:.0f} s.\n  See: ws head show -s {access.stack}")
    console.print(f"{ready.host} leads, epoch {ready.epoch} ({time.monotonic() - began:.0f} s)")
