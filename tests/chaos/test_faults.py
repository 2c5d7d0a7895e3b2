"""Faults in a random order on a whole stack, whose data are on small file systems: nothing acknowledged is lost.

Not among the lanes of `make test`: tests/live/test_queue.py tries some of these faults there.
"""

import os
import random

import pytest

from testing.chaos.faults import DISK_FAULTS, FAULTS
from testing.chaos.form import ROUNDS, SEED
from testing.chaos.stack import rigged
from testing.chaos.trial import RECOVERY_SECONDS, Trial


@pytest.mark.timeout(3000 + ROUNDS * 2 * RECOVERY_SECONDS)
@pytest.mark.live
def test_no_sequence_of_faults_loses_what_was_acknowledged(docker_engine: None, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to kill processes of containers from outside")
    with rigged(tmp_path, SEED) as rig:
        trial = Trial(rig=rig, faults={**FAULTS, **DISK_FAULTS}, draw=random.Random(SEED))
        with trial.at_work():
            for _ in range(ROUNDS):
                trial.endure_next()
        assert (trial.failures, trial.losses()) == ([], [])
