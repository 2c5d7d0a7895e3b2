"""The extent of the cluster tests: ``CLUSTER_ROUNDS`` random faults, from ``CLUSTER_SEED``; the long form has 50."""

import os
import random

import pytest

LONG = 50
ROUNDS = int(os.environ.get("CLUSTER_ROUNDS", "3"))
SEED = os.environ.get("CLUSTER_SEED") or f"{random.randrange(2**32)}"
BRINGUPS = max(2, ROUNDS // 5)

in_the_long_form = pytest.mark.only_with(f"CLUSTER_ROUNDS={LONG}", ROUNDS >= LONG)
