"""Hides a file from this process and all that it starts, although they have the user to whom it belongs.

By Landlock, which needs no right: Linux 5.19 or newer, and a Docker Engine whose seccomp profile lets it (23 or newer).
Reading is all that is restricted, and only in this one place; who is restricted cannot look into processes that are not
(their environment, memory, descriptors), where the secret also is. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

# <linux/landlock.h>; the same numbers on x86-64 and ARM.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
READ_FILE, REFER = 1 << 2, 1 << 13
# The first version in which a process may still rename between folders, or link: REFER must be allowed for that.
OLDEST = 2
NO_NEW_PRIVS = 38  # <linux/prctl.h>


def hide(hidden: Path) -> bool:
    """Hide a file from now on, from this thread and what it starts; False: the kernel or Docker does not let us.

    To be called before there is a second thread.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION)) < OLDEST:
        return False
    handled = ctypes.create_string_buffer(struct.pack("=Q", READ_FILE | REFER), 8)
    rules = library.syscall(CREATE_RULESET, handled, ctypes.c_size_t(8), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for path in all_but(hidden):
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # gone meanwhile
                continue
            try:
                allowed = READ_FILE | REFER if path.is_dir() else READ_FILE
                rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor), 12)
                if library.syscall(ADD_RULE, rules, PATH_BENEATH, rule, ctypes.c_uint32(0)):
                    return False
            finally:
                os.close(descriptor)
        library.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(library.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def all_but(hidden: Path) -> Iterator[Path]:
    """Yield what, with all that is below, is everything but one file. No links: they may lead to where that is."""
    for folder in reversed(hidden.parents):
        for path in folder.iterdir():
            if path != hidden and path not in hidden.parents and not path.is_symlink():
                yield path
