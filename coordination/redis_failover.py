"""Moves the primary of a Redis pair to its replica without losing a write.

The primary stops taking writes before the replica has everything, and until it is a replica itself: the two servers
never lead at the same time. If the caller dies in between, the guards (redis_pair.py) restore the former primary
within seconds.
"""

import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from coordination.errors import NodeError
from coordination.redis_client import RedisLink
from coordination.redis_pair import HANDOVER, follow, lead, read_status

PAUSE_SECONDS = 15.0  # for which the primary takes no writes, unless ended sooner
CATCH_UP_SECONDS = 5.0  # for the replica to receive the rest
STOP_SECONDS = 5.0  # for the primary to become a replica, before the pause ends
QUIET_SECONDS = 30.0  # for which the guards do nothing
STEP = 0.02  # seconds between two checks


class NotMovedError(Exception):
    """The primary was not moved; the message says why."""


class NotPromotedError(Exception):
    """The former primary has stopped and the replica does not lead yet; try again."""


def hand_over(replica: RedisLink, primary: RedisLink, namespace: str) -> int:
    """Makes the synchronized replica the primary; returns its generation.

    Raises:
        NotMovedError: it does not catch up. Nothing was changed.
        NotPromotedError: it did not become the primary after the former one had stopped.
    """
    try:
        primary.command("SET", HANDOVER, str(replica.addresses[0]), "PX", int(QUIET_SECONDS * 1000))
        # Its arrival shows that the stream flows, and it stops the other guard as well.
        _until(lambda: read_status(replica).handover, "the replica does not receive what the primary sends", primary)
        paused = time.monotonic()
        primary.command("CLIENT", "PAUSE", int(PAUSE_SECONDS * 1000), "WRITE")
        _until(lambda: _caught_up(replica, primary), "the replica does not catch up", primary)
        if time.monotonic() > paused + PAUSE_SECONDS - STOP_SECONDS:
            _give_up("the replica is too slow", primary)
        # The former primary stops before the replica begins: a server about to lose the role must accept no write.
        follow(primary, replica.addresses[0])
    except (OSError, NodeError) as error:
        _resume(primary)
        raise NotMovedError(str(error).rstrip(".")) from error
    generation = promote(replica, namespace)
    _resume(primary)  # clients that wait are told to look for the new one
    return generation


def promote(replica: RedisLink, namespace: str) -> int:
    """Makes the replica the primary even if it lacks writes; returns its generation. Raises `NotPromotedError`."""
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
    """Ends the pause of the primary and of the guards; without this, both expire."""
    for words in (("CLIENT", "UNPAUSE"), ("DEL", HANDOVER)):
        with contextlib.suppress(OSError, NodeError):
            primary.command(*words)
