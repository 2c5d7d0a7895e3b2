"""Reads small files in folders that other programs write to. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LARGEST = 4 * 2**20  # bytes


def refuse_others(path: Path) -> None:
    """Raise OSError for a pipe, a device or a folder, before somebody waits for the end of it."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")


def read_text(path: Path) -> str:
    """The text of a regular file. Raises OSError for a pipe or a device, on which a reader would wait for ever, and for
    a file that is too large; UnicodeDecodeError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"larger than {LARGEST} bytes", str(path))
        return os.read(descriptor, LARGEST).decode()
    finally:
        os.close(descriptor)
