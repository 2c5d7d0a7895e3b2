"""Hides a file from this process and all that it starts, although they run as the file's owner.

Uses Landlock, which needs no privilege: Linux 5.19 or newer, and a Docker Engine whose seccomp profile allows it (23 or
newer). Only reading this one file is restricted; a restricted process also cannot inspect unrestricted processes (their
environment, memory, descriptors), which hold the secret too. Standard library only, Python 3.10 or newer.
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
# The first version that can still allow renames and links between folders: it has the REFER right.
OLDEST = 2
NO_NEW_PRIVS = 38  # <linux/prctl.h>


def hide(hidden: Path) -> bool:
    """Hide a file from now on, from this thread and what it starts; False: the kernel or Docker does not allow it.

    Call it before there is a second thread.
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
            except OSError:  # removed meanwhile
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
    """Yield paths that, with everything below them, cover all but one file. No links: they may lead to that file."""
    for folder in reversed(hidden.parents):
        for path in folder.iterdir():
            if path != hidden and path not in hidden.parents and not path.is_symlink():
                yield path
