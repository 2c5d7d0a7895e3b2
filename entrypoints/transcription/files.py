"""Files that are written as a whole or not at all, and what they are known by."""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from entrypoints.transcription.failures import CancelledError

LOCK_EVERY = 0.5  # seconds


def write_json(path: Path, content: object) -> None:
    """Write a file as a whole or not at all; raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[attr-defined,no-any-return,unused-ignore]


@contextmanager
def alone_in(folder: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other process works in a folder, which may be mounted in several containers of a host.

    The kernel ends the lock with the process that holds it. Raises CancelledError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled():
                    raise CancelledError from None
                time.sleep(LOCK_EVERY)
        yield


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder's files, unless those of these names and sizes are there; raises OSError."""
    if target.is_dir() and sizes_in(target) == sizes_in(source):
        return
    for left in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed meanwhile
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, part)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the size of each file of a folder, by its path in it."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
