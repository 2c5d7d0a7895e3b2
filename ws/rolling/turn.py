"""Whose turn it is in a cluster: one rolling replacement at a time; and what an interrupted one left.

The turn is a key in its Redis that expires, so that the end of a killed run is not waited for.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from coordination.lease import prefix
from coordination.redis_client import RedisRefusedError
from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically
from ws.cluster.access import Access
from ws.errors import WsError

FOLDER, UNFINISHED = "rolling", "unfinished"
TTL_SECONDS = 60.0
RENEW_SECONDS = 15.0


@contextlib.contextmanager
def turn_in_cluster(access: Access) -> Iterator[None]:
    """Holds the cluster's turn, if the stack is a host of several. Raises `WsError` if another host has it."""
    if access.membership is None:
        yield
        return
    key = f"{prefix(access.namespace)}rolling"
    mine = f"{access.membership.host} (process {os.getpid()} on {socket.gethostname()})"
    with access.answers():
        taken = access.lease.link.command("SET", key, mine, "NX", "PX", int(TTL_SECONDS * 1000))
        holder = None if taken else access.lease.link.command("GET", key)
    if not taken:
        raise WsError(
            f"The nodes of {holder or 'another host'} are being replaced, and those of one host at a time. Nothing was "
            f"changed.\n  Run this again when that has ended; a run that was killed counts as ended after "
            f"{TTL_SECONDS:.0f} s."
        )
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(replace(access), key, mine, over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with contextlib.suppress(OSError, RedisRefusedError):
            # By a connection of its own: a Redis that was replaced meanwhile has ended the first one.
            link = replace(access).lease.link
            if link.command("GET", key) == mine:
                link.command("DEL", key)


def _renew(access: Access, key: str, mine: str, over: threading.Event) -> None:
    """With a connection of its own. While Redis is replaced it does not answer; a new primary may lack the key."""
    while not over.wait(RENEW_SECONDS):
        with contextlib.suppress(OSError, RedisRefusedError):
            if access.lease.link.command("GET", key) in (None, mine):
                access.lease.link.command("SET", key, mine, "PX", int(TTL_SECONDS * 1000))


class Unfinished:
    """The service of the node that is out of the cluster for its replacement, in a file."""

    def __init__(self, identity: StackIdentity) -> None:
        self._file: Path = stack_folder(identity) / FOLDER / UNFINISHED

    def read(self) -> str:
        """The service; empty if the last run ended, whether well or not."""
        try:
            return self._file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def write(self, service: str) -> None:
        """Before the node is drained."""
        write_atomically(self._file, f"{service}\n".encode(), 0o600)

    def clear(self) -> None:
        """After it is back, or when the run has said what to do about it."""
        self._file.unlink(missing_ok=True)
