"""Moves the primary of a pair of Redis servers to its replica without losing a write.

The primary takes no write from before the replica has everything until the primary is a replica itself: at no moment do
both lead. If the caller dies in between, the guards (redis_pair.py) put the former primary back within seconds.
"""

import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from coordination.errors import NodeError
from coordination.redis_client import RedisLink
from coordination.redis_pair import HANDOVER, follow, lead, read_status

PAUSE_SECONDS = 15.0  # for which the primary takes no writes, unless that is ended sooner
CATCH_UP_SECONDS = 5.0  # for the replica to get the rest
STOP_SECONDS = 5.0  # for the primary to become a replica, before the pause ends
QUIET_SECONDS = 30.0  # for which the guards keep still
STEP = 0.02  # seconds between two checks


class NotMovedError(Exception):
    """Why the primary was not moved."""


class NotPromotedError(Exception):
    """The former primary has stopped, and the replica does not lead yet: to be tried again."""


def hand_over(replica: RedisLink, primary: RedisLink, namespace: str) -> int:
    """Makes the replica the primary, in step; returns its generation.

    Raises:
        NotMovedError: it does not catch up. Nothing was changed.
        NotPromotedError: it did not become the primary after the former one had stopped.
    """
    try:
        primary.command("SET", HANDOVER, str(replica.addresses[0]), "PX", int(QUIET_SECONDS * 1000))
        # That it arrives shows that the stream flows, and keeps the other guard still as well.
        _until(lambda: read_status(replica).handover, "the replica does not receive what the primary sends", primary)
        paused = time.monotonic()
        primary.command("CLIENT", "PAUSE", int(PAUSE_SECONDS * 1000), "WRITE")
        _until(lambda: _caught_up(replica, primary), "the replica does not catch up", primary)
        if time.monotonic() > paused + PAUSE_SECONDS - STOP_SECONDS:
            _give_up("the replica is too slow", primary)
        # First the former primary stops, then the replica begins: a server that is not to stay accepts no write.
        follow(primary, replica.addresses[0])
    except (OSError, NodeError) as error:
        _resume(primary)
        raise NotMovedError(str(error).rstrip(".")) from error
    generation = promote(replica, namespace)
    _resume(primary)  # clients that wait are told to look for the new one
    return generation


def promote(replica: RedisLink, namespace: str) -> int:
    """Makes the replica the primary, whatever it lacks; returns its generation. Raises `NotPromotedError`."""
    try:
        return lead(replica, namespace)
    except (OSError, NodeError) as error:
        raise NotPromotedError(f"{replica.addresses[0]} did not become the primary: {error}") from error


def _caught_up(replica: RedisLink, primary: RedisLink) -> bool:
    sent, received = read_status(primary), read_status(replica)
    return received.in_step and received.offset == sent.offset


def _until(condition: Callable[[], bool], failure: str, primary: RedisLink) -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            _give_up(failure, primary)
        time.sleep(STEP)


def _give_up(reason: str, primary: RedisLink) -> NoReturn:
    _resume(primary)
    raise NotMovedError(f"{reason}. Nothing was changed")


def _resume(primary: RedisLink) -> None:
    """Ends the pause, and that of the guards; both end by themselves too."""
    for words in (("CLIENT", "UNPAUSE"), ("DEL", HANDOVER)):
        with contextlib.suppress(OSError, NodeError):
            primary.command(*words)
