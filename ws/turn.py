"""One command at a time changes a stack: a lock for as long as the command runs, its questions and waits included.

The engines lock a stack for each of their runs, of which a rolling replacement makes many; between those, another
command would come in.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder

FOLDER = "turn"  # of its lock, in the stack's state folder


@contextmanager
def turn(identity: StackIdentity, command: str) -> Iterator[None]:
    """Holds this stack's turn for a command. Raises `LockedError`, which names the command that has it."""
    with stack_lock(stack_folder(identity) / FOLDER, identity.stack, holder=command):
        yield
