"""`ws redis failover`: makes this host's copy of Redis the primary. Called by a person, who may know what nobody else
can: that a silent host is off.

While the present primary answers, nothing is lost: it takes no write from before its copy has everything until it is a
copy itself. At no moment do both lead; if this program dies in between, the guards (coordination/redis_pair.py) put the
former primary back within seconds.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from coordination.errors import NodeError
from coordination.redis_client import Address, RedisLink
from coordination.redis_pair import HANDOVER, ServerStatus, follow, lead, read_status
from ws.cluster.access import Access
from ws.cluster.head import POLL_SECONDS
from ws.cluster.progress import progress
from ws.cluster.redis import ask, host_of
from ws.errors import WsError

PAUSE_SECONDS = 15.0  # for which the primary takes no writes, if nobody ends that
CATCH_UP_SECONDS = 5.0  # for the copy to get the rest
STOP_SECONDS = 5.0  # for the primary to become a copy, before the pause ends
QUIET_SECONDS = 30.0  # for which the guards keep still
HEAD_SECONDS = 90.0
STEP = 0.02


def failover(access: Access, console: Console, *, primary_is_off: bool) -> None:
    """Moves the primary to this host. Raises `WsError` where that could lose something that need not be lost."""
    own, other = _addresses(access)
    copy, primary = ask(access, own), ask(access, other)
    if isinstance(copy, str):
        raise WsError(f"The Redis of this host, {own}, does not answer: {copy}\n  Start it: ws up -s {access.stack}")
    if copy.leads and not (isinstance(primary, ServerStatus) and primary.generation > copy.generation):
        raise WsError(
            f"The Redis of this host, {own}, is the primary already.\n"
            f"  To make {host_of(access, other)}'s the primary, run this there."
        )
    began = time.monotonic()
    if isinstance(primary, str):
        _confirm_loss(access, other, primary, primary_is_off, console)
        generation = _promote(access.server(own), access.namespace)
    else:
        try:
            _check_step(copy, primary, host_of(access, other))
            generation = _hand_over(access.server(own), access.server(other), access.namespace)
        except NotMovedError as error:
            raise WsError(
                f"The primary was not moved: {error}.\n  See: ws redis status --stack {access.stack}"
            ) from error
    seconds = time.monotonic() - began
    console.print(Text(f"{own} is the primary, generation {generation}, after {seconds:.1f} s", style="bold green"))
    _wait_for_head(access, console, began)


def leads_here(access: Access) -> bool | None:
    """Whether this host's Redis is the primary; None where it does not answer."""
    own = [address for address in access.servers if access.membership and address.host == access.membership.address]
    answer = ask(access, own[0]) if own else ""
    return None if isinstance(answer, str) else answer.leads


def give_away(access: Access, console: Console) -> None:
    """Before the Redis of this host is replaced or removed: its copy leads, so that the cluster is not without one.

    Where there is no copy in step, it says so: then Redis is away until it is there again, with all its data.
    """
    if len(access.servers) < 2 or not leads_here(access):
        return
    own, other = _addresses(access)
    primary, copy = ask(access, own), ask(access, other)
    began, host = time.monotonic(), host_of(access, other)
    try:
        if isinstance(copy, str) or isinstance(primary, str):
            raise NotMovedError(f"the copy on {host} does not answer")
        _check_step(copy, primary, host)
        generation = _hand_over(access.server(other), access.server(own), access.namespace)
    except NotMovedError as error:
        console.print(Text(f"Redis is away until it is here again: {error}", style="yellow"), soft_wrap=True)
        return
    seconds = time.monotonic() - began
    console.print(f"The copy on {host} is the primary of Redis now, generation {generation}, after {seconds:.1f} s")
    try:
        _wait_for_head(access, console, began)
    except WsError as error:  # what is deployed may be what brings one
        console.print(Text(str(error), style="yellow"), soft_wrap=True)


def _addresses(access: Access) -> tuple[Address, Address]:
    """This host's server and the other one."""
    membership = access.membership
    if membership is None or len(access.servers) < 2:
        where = f"{membership.names('redis.replica')}, on all hosts" if membership else "a cluster of several hosts"
        raise WsError(f"stack {access.stack} has one Redis and no copy of it. A copy is made by {where}.")
    own = [address for address in access.servers if address.host == membership.address]
    if not own:
        hosts = " or ".join(host_of(access, address) for address in access.servers)
        raise WsError(f"{membership.host} has no Redis.\n  Run this on the host whose Redis is to lead: {hosts}.")
    return own[0], next(address for address in access.servers if address != own[0])


class NotMovedError(Exception):
    """Why the primary stays where it is."""


def _check_step(copy: ServerStatus, primary: ServerStatus, host: str) -> None:
    if not primary.leads:
        raise NotMovedError(
            f"{primary.address} on {host} answers, but leads nobody, which the gateways of the two hosts settle within "
            "seconds; if it stays so, look at `ws logs ray-gateway` on both"
        )
    if copy.follows != primary.address or not copy.in_step:
        raise NotMovedError(
            f"the copy is not in step with {primary.address}, so what was written meanwhile would be lost; wait until "
            "its status says how far it is behind, and run this again"
        )


def _hand_over(copy: RedisLink, primary: RedisLink, namespace: str) -> int:
    """The lossless way. Raises `NotMovedError` where the copy does not catch up."""
    try:
        primary.command("SET", HANDOVER, str(copy.addresses[0]), "PX", int(QUIET_SECONDS * 1000))
        # That it arrives shows that the stream flows, and keeps the other guard still as well.
        _until(lambda: read_status(copy).handover, "the copy does not receive what the primary sends", primary)
        paused = time.monotonic()
        primary.command("CLIENT", "PAUSE", int(PAUSE_SECONDS * 1000), "WRITE")
        _until(lambda: _caught_up(copy, primary), "the copy does not catch up", primary)
        if time.monotonic() > paused + PAUSE_SECONDS - STOP_SECONDS:
            _give_up("the copy is too slow", primary)
        # First the former primary stops, then the copy begins: no write is accepted by a server that is not to stay.
        follow(primary, copy.addresses[0])
    except (OSError, NodeError) as error:
        _go_on(primary)
        raise NotMovedError(str(error).rstrip(".")) from error
    generation = _promote(copy, namespace)
    _go_on(primary)  # whoever waits is told to look for the new one
    return generation


def _caught_up(copy: RedisLink, primary: RedisLink) -> bool:
    sent, received = read_status(primary), read_status(copy)
    return received.in_step and received.offset == sent.offset


def _until(condition: Callable[[], bool], failure: str, primary: RedisLink) -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            _give_up(failure, primary)
        time.sleep(STEP)


def _give_up(reason: str, primary: RedisLink) -> NoReturn:
    _go_on(primary)
    raise NotMovedError(f"{reason}. All is as before")


def _go_on(primary: RedisLink) -> None:
    """Ends the pause, and that of the guards; both end by themselves too."""
    for words in (("CLIENT", "UNPAUSE"), ("DEL", HANDOVER)):
        with contextlib.suppress(OSError, NodeError):
            primary.command(*words)


def _promote(copy: RedisLink, namespace: str) -> int:
    try:
        return lead(copy, namespace)
    except (OSError, NodeError) as error:
        raise WsError(f"{copy.addresses[0]} did not become the primary: {error}\n  Run this again.") from error


def _confirm_loss(access: Access, other: Address, reason: str, primary_is_off: bool, console: Console) -> None:
    """Has a person say that nobody writes to the old primary any more, which no program can find out from here."""
    host = host_of(access, other)
    warning = (
        f"The primary, {other} on {host}, does not answer: {reason}\n"
        f"Writes of about its last second may be lost. {host} MUST be off, or have no network: if it only cannot be "
        "reached from here, heads and workers that still reach it go on writing there, and all of that is lost when "
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
    """Waits until there is a head that keeps its state in the new primary."""
    if access.membership and access.membership.static_head:
        return
    with progress(console) as say:
        while (seconds := time.monotonic() - began) < HEAD_SECONDS:
            with contextlib.suppress(WsError):
                state = access.state()
                # A lease that was written to the former primary says "ready" until its holder has noticed.
                if state.head and state.hold <= 0:
                    console.print(f"{state.head.host} leads, epoch {state.head.epoch} ({seconds:.0f} s)")
                    return
                say(f"{access.why_no_head(state) or 'waiting for the head'} ({seconds:.0f} s)")
            time.sleep(POLL_SECONDS)
    raise WsError(f"No head is ready after {HEAD_SECONDS:.0f} s.\n  See: ws head show -s {access.stack}")
