"""Facts about a Ray container: memory, versions, its own address, a folder for small files.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

from coordination.own_address import source_address


def state_folder() -> Path:
    """Return the container's folder for small files, which users' programs cannot fill, unlike /tmp or a disk."""
    folder = Path(os.environ.get("CSLR_STATE", "/run/state"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


def software_versions() -> dict[str, str]:
    """Return the versions that all nodes of a cluster must share; empty if this node cannot know them."""
    return {
        "ray": _version_of("ray"),
        "python": platform.python_version(),
        "cuda": cuda_of(_version_of("torch")),
    }


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def cuda_of(torch: str) -> str:
    """Return the CUDA version that a version of torch was built for, as in 2.10.0+cu128; empty for none."""
    digits = torch.partition("+cu")[2]
    return f"{digits[:-1]}.{digits[-1]}" if digits.isdigit() and len(digits) > 1 else ""


def own_address(host: str | None) -> str | None:
    """Return this machine's IPv4 address on the route to a host (None: the default route); None: no such route."""
    address = source_address(host or "8.8.8.8")
    return None if address is None or address.startswith("127.") else address


def container_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes this container may use: the lower of its cgroup's limit (v2 or v1) and the machine's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int((cgroup / name).read_text()))
    return min(limits)


def shared_memory(path: str = "/dev/shm") -> int:  # noqa: S108
    """Return the size of the shared memory file system in bytes, 0 if there is none."""
    try:
        status = os.statvfs(path)
    except OSError:
        return 0
    return status.f_frsize * status.f_blocks
