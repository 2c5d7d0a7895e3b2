"""The files of an image: what a process without rights may do with them, and that building left nothing behind."""

import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

USER = "0:0"  # sees every folder; without a capability it can change nothing

# Of Debian, by design: passwords, and locks and caches of programs that only root runs.
PRIVATE = {
    "/etc/.pwd.lock",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssl/private",
    "/root",
    "/var/cache/debconf/passwords.dat",
    "/var/cache/ldconfig",
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/triggers/Lock",
}
FOR_EVERYONE = {"/run/lock", "/tmp", "/var/tmp"}
# What package managers and builds leave, as patterns below the root.
RESIDUE = (
    "packages",
    "var/lib/apt/lists/*",
    "var/cache/apt/**/*.deb",
    "var/cache/apt/*.bin",
    "var/log/**/*.log",
    "root/.cache",
    "root/.local",
    "home/*/.cache",
    "opt/uv",
    "opt/install.*",
    "opt/*/.lock",
    "opt/venv/bin/__pycache__",
    "usr/bin/uv",
)
MOUNTED = {"/checks"}  # by these tests


@functools.cache
def entries() -> tuple[tuple[str, os.stat_result], ...]:
    """Every file and folder of the image, without links and without what is mounted."""

    def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.is_symlink() or entry.path in MOUNTED:
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_dev == root:  # files that Docker mounts into /etc are of another device
                    yield entry.path, status
                    if entry.is_dir() and os.access(entry.path, os.R_OK | os.X_OK):  # else a check names it
                        yield from walk(entry.path)

    root = os.lstat("/").st_dev
    return tuple(walk("/"))


def inside_of(path: str, folders: set[str]) -> bool:
    """Whether the path is one of these, or in one of them."""
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def check_none_is_setuid_or_setgid() -> None:
    """A process could become another user by it. (On a folder, setgid only hands down the group.)"""
    bits = stat.S_ISUID | stat.S_ISGID
    found = [path for path, status in entries() if stat.S_ISREG(status.st_mode) and status.st_mode & bits]
    assert not found, f"setuid or setgid: {found}. Take the bits away in the layer that installs them."


def check_none_has_capabilities() -> None:
    """They are setuid by another name."""
    found = [
        path for path, status in entries() if stat.S_ISREG(status.st_mode) and "security.capability" in attributes(path)
    ]
    assert not found, f"files with capabilities: {found}"


def attributes(path: str) -> list[str]:
    """The extended attributes of a file."""
    return os.listxattr(path, follow_symlinks=False) if os.access(path, os.R_OK) else []


def check_none_is_writable_by_everyone() -> None:
    """One user's process could change what another's runs."""
    found = [path for path, status in entries() if status.st_mode & stat.S_IWOTH and path not in FOR_EVERYONE]
    assert not found, f"writable by every user: {found}"


def check_all_are_readable_by_every_user() -> None:
    """Any uid may run the image."""

    def hidden(status: os.stat_result) -> bool:
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
        return status.st_mode & needed != needed

    found = [path for path, status in entries() if hidden(status) and not inside_of(path, PRIVATE)]
    assert not found, f"not readable by every user: {found[:20]} ({len(found)} in all)"


def check_programs_can_be_executed_by_every_user() -> None:
    """What its owner may execute, every user may."""
    found = [
        path
        for path, status in entries()
        if stat.S_ISREG(status.st_mode)
        and status.st_mode & stat.S_IXUSR
        and not status.st_mode & stat.S_IXOTH
        and not inside_of(path, PRIVATE)
    ]
    assert not found, f"only their owner may execute: {found[:20]} ({len(found)} in all)"


def check_building_left_nothing_behind() -> None:
    """Caches and logs cost every host their bytes."""
    found = [str(path) for pattern in RESIDUE for path in Path("/").glob(pattern)]
    assert not found, f"left by the build: {found[:20]} ({len(found)} in all)"


def check_bytecode_belongs_to_a_source() -> None:
    """Bytecode of removed modules is dead weight, and Python would not even load it."""
    bytecode = (Path(path) for path, _ in entries() if path.endswith(".pyc") and "/__pycache__/" in path)
    orphans = [str(path) for path in bytecode if not source_of(path).exists()]
    assert not orphans, f"bytecode without a source: {orphans[:20]} ({len(orphans)} in all)"


def source_of(bytecode: Path) -> Path:
    """The module that a file in ``__pycache__`` was compiled from."""
    return bytecode.parent.parent / f"{bytecode.name.split('.')[0]}.py"
