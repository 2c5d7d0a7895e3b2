"""Hook into Ray: a node can be started any number of times in one session.

A node's restart stays in its session, and in the session's folder of logs. Each start gives its files further numbers,
which Ray looks for below ``tempfile.TMP_MAX``. That is 20 in Python 3.14.8, and was 238,328: the 21st start fails, and
each after it. Standard library only, Python 3.10 or newer; stands alone (registry.py).
"""

from __future__ import annotations

from types import ModuleType

MANY = 1_000_000


def hook_node(module: ModuleType) -> None:
    """Change ``ray._private.node``: the search goes on for as long as there are names."""
    module.tempfile.TMP_MAX = max(module.tempfile.TMP_MAX, MANY)
