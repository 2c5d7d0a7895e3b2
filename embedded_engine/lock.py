"""A lock for each stack. The kernel releases it when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from stack.state import make_closed

POLL_SECONDS = 0.05


class LockedError(Exception):
    """Another run is working on this stack."""


@contextmanager
def stack_lock(
    folder: Path, stack: str, *, work: str = "run", holder: str = "", seconds: float = 0.0, shared: bool = False
) -> Iterator[None]:
    """Holds the lock of a stack, or of some `work` on it. Raises `LockedError` if another process has it: at once, or
    still after some seconds.

    `holder`: the command that holds it, which the others name. `shared`: the user of the folder above can take it too
    where root took it first.
    """
    make_closed(folder)
    with (folder / "lock").open("a+") as file:
        if not _taken(file, seconds):
            file.seek(0)
            raise LockedError(
                f"another {work} works on stack {stack} ({file.read().strip() or 'starting'}).\n"
                "  Wait until it has ended, or end it, and run this again."
            )
        file.truncate(0)
        process = f"process {os.getpid()} since {datetime.now().astimezone():%H:%M:%S}"
        file.write(f"{holder}, {process}" if holder else process)
        file.flush()
        if shared and not os.geteuid():
            owner = folder.parent.stat()
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner.st_uid, owner.st_gid)
        yield


def _taken(file: IO[str], seconds: float) -> bool:
    """Whether this process has the lock now; else another one does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True
