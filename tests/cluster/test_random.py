"""Random faults, one after the other; after each, the whole history is checked."""

import time

import pytest

from testing.cluster.form import ROUNDS
from testing.cluster.trial import Trial

pytestmark = pytest.mark.cluster


def test_no_sequence_of_faults_breaks_a_rule(trial: Trial):
    outcomes = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        outcomes.append(trial.endure_at_random())
        trial.judge(began)
    assert all(outcome.after["ready"] == "1" for outcome in outcomes)
