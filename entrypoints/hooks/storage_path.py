"""Hook into Ray: the place of `ray.checkpoints` is the storage path of Train and Tune, unless a program names another.

Ray 2.60 has a variable for Tune alone (RAY_STORAGE, deprecated), and none for Train; both take the default from one
constant. Standard library only, Python 3.10 or newer; stands alone (registry.py).
"""

from __future__ import annotations

import os
from types import ModuleType

VARIABLE = "CSLR_CHECKPOINTS"  # contracts/checkpoints.py


def hook_constants(module: ModuleType) -> None:
    """Change ``ray.train.constants``: the default is what the stack's settings say, if they say something."""
    if not hasattr(module, "DEFAULT_STORAGE_PATH"):
        raise AttributeError("DEFAULT_STORAGE_PATH")
    if place := os.environ.get(VARIABLE):
        module.DEFAULT_STORAGE_PATH = place  # type: ignore[attr-defined]
