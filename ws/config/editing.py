"""The one place that writes stack files: one command at a time, from what it reads until the file is replaced.

The lock is for an edit alone, not while people are asked or a network answers, and it is the innermost one: commands
hold other locks of the stack when they take it, and take none while they have it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from config.project import FOLDER
from config.stack_file import StackFile, stack_file
from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import remove_drafts, stack_folder, write_atomically
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack

LOCK = "stack-file"  # folder of the lock, in the stack's state folder
SECONDS = 20.0  # to wait for others, each of which has the file for less than one


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A stack as its file configures it, while no other command changes the file."""

    configured: StackSettings
    path: Path
    before: bytes

    @cached_property
    def file(self) -> StackFile:
        """The file with normalized line ends."""
        file = self.configured.file
        return file.edited(file.text.replace("\r\n", "\n"))

    def write(self, text: str) -> None:
        """Replaces the file, with the line ends that it had. Raises `WsError` if another program changed it."""
        ends = "\r\n" if b"\r\n" in self.before else "\n"
        if self.path.read_bytes() != self.before:
            raise WsError(
                f"{self.path.name} was changed meanwhile by another program, such as an editor. This command has "
                "changed nothing. Run it again."
            )
        put(self.path, text.replace("\n", ends).encode())


@contextmanager
def editing(stack: str) -> Iterator[Edit]:
    """Reads a stack's file, and keeps other commands from changing it. Raises `ConfigError` and `LockedError`."""
    with alone(open_stack(stack).identity):
        path = stack_file(FOLDER, stack).resolve()  # what a link names
        before = path.read_bytes()
        yield Edit(configured=open_stack(stack), path=path, before=before)


@contextmanager
def alone(identity: StackIdentity) -> Iterator[None]:
    """Keeps other commands from changing a stack's file, or from making it. Raises `LockedError`."""
    folder = stack_folder(identity) / LOCK
    work = "command that edits the stack file"
    with stack_lock(folder, identity.stack, work=work, seconds=SECONDS, shared=True):
        yield


def put(path: Path, content: bytes) -> None:
    """Writes a file of the project as a whole. It keeps the owner and the mode of the one that was there."""
    remove_drafts(path)
    former = path.stat() if path.exists() else None
    write_atomically(path, content, former.st_mode & 0o777 if former else 0o644)
    if former and not os.geteuid():
        os.chown(path, former.st_uid, former.st_gid)
