"""The extent of the trials of one host: ``CHAOS_ROUNDS`` faults, from ``CHAOS_SEED``.

The short form draws the same ones each time: no change fails by what another one brought.
"""

import os
import random

_ROUNDS = os.environ.get("CHAOS_ROUNDS")
ROUNDS = int(_ROUNDS or "3")
SEED = os.environ.get("CHAOS_SEED") or (f"{random.randrange(2**32)}" if _ROUNDS else "1")
