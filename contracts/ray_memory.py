"""How a Ray node splits the memory of its container.

The host sizes /dev/shm by it, and the node its object store. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

OBJECT_STORE_SHARE = 0.3  # of the memory that is left to work: Ray's own default is that of all
# Bytes that a head's own processes take, dashboard and agents above all, and those that spill; of a small node a third.
OWN_PROCESSES, OWN_SHARE = 2 * 1024**3, 1 / 3
SHM_SHARE = 0.95  # of /dev/shm: Ray's own cap; more would spill to disk


def own_processes(memory: int) -> int:
    """Return the bytes of a container's memory that are for the node's own processes."""
    return min(OWN_PROCESSES, int(memory * OWN_SHARE))


def object_store(memory: int) -> int:
    """Return the size of the object store in a container of so much memory; once filled, it is never given back."""
    return int((memory - own_processes(memory)) * OBJECT_STORE_SHARE)
