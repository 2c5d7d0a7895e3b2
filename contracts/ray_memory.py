"""How a Ray node splits the memory of its container.

The host sizes /dev/shm by it, and the node its object store. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

OBJECT_STORE_SHARE = 0.3  # of the memory left for work; Ray's default is the same share of all memory
# Bytes for a head's own processes, mainly dashboard, agents and spilling; a third of the memory of a small node.
OWN_PROCESSES, OWN_SHARE = 2 * 1024**3, 1 / 3
SHM_SHARE = 0.95  # of /dev/shm: Ray's own cap; more would spill to disk


def own_processes(memory: int) -> int:
    """Return how many bytes of a container's memory are reserved for the node's own processes."""
    return min(OWN_PROCESSES, int(memory * OWN_SHARE))


def object_store(memory: int) -> int:
    """Return the object store's size in a container with this much memory; once used, its memory is never released."""
    return int((memory - own_processes(memory)) * OBJECT_STORE_SHARE)
