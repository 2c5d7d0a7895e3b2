"""Faults drawn at random, one after the other, some two at a time; then everything that was told is judged."""

import pytest

from tests.cluster.trial import Trial

pytestmark = pytest.mark.cluster


def test_no_sequence_of_faults_breaks_a_rule(trial: Trial, rounds: int):
    outcomes = [trial.suffer_at_random() for _ in range(rounds)]
    assert all(outcome.after["ready"] == "1" for outcome in outcomes)
