"""A lock for each stack. The kernel releases it when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from stack.state import make_closed


class LockedError(Exception):
    """Another run is working on this stack."""


@contextmanager
def stack_lock(folder: Path, stack: str, *, work: str = "run", holder: str = "") -> Iterator[None]:
    """Holds the lock of a stack, or of some `work` on it. Raises `LockedError` at once if another process has it.

    `holder`: the command that holds it, which the others name.
    """
    make_closed(folder)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockedError(
                f"another {work} works on stack {stack} ({file.read().strip() or 'starting'}).\n"
                "  Wait until it has ended, or end it, and run this again."
            ) from None
        file.truncate(0)
        process = f"process {os.getpid()} since {datetime.now().astimezone():%H:%M:%S}"
        file.write(f"{holder}, {process}" if holder else process)
        file.flush()
        yield
