"""State of a host that may lead which outlives its containers: the agent's lock and the newest epoch.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from entrypoints.log import logger

say = logger("ray-head")


def lock(folder: Path) -> int | None:
    """Return the descriptor of this host's lock, held until this process ends; None: another agent holds it."""
    descriptor = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class EpochStore:
    """The newest epoch that this host knows, and its incarnation; survives a loss of Redis's data."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "epoch.json"
        self.epoch, self.incarnation = 0, ""
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
            record = json.loads(self._file.read_text(encoding="utf-8"))
            self.epoch, self.incarnation = int(record["epoch"]), str(record["incarnation"])

    def note(self, epoch: int, incarnation: str) -> None:
        """Record an epoch on disk before this returns; log if Redis's data was replaced or the disk is full.

        A full disk is not fatal: Redis keeps two heads apart, and this file helps only when Redis loses its data.
        """
        if self.incarnation and incarnation != self.incarnation:
            say("WARNING: Redis has lost its data: Ray starts again without the former actors, jobs and nodes")
        if epoch <= self.epoch and incarnation == self.incarnation:
            return
        self.epoch, self.incarnation = max(epoch, self.epoch), incarnation
        new = self._file.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump({"epoch": self.epoch, "incarnation": incarnation}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
        except OSError as error:
            say(f"WARNING: epoch {self.epoch} cannot be kept in {self._file}: {error.strerror}; make room on that disk")
