"""Random faults, one or two at a time; after each, the whole history is checked."""

import time
from collections.abc import Callable

import pytest

from testing.cluster.form import LONG, ROUNDS
from testing.cluster.trial import Outcome, Trial

pytestmark = pytest.mark.cluster


def test_no_sequence_of_faults_breaks_a_rule(trial: Trial):
    for _ in range(ROUNDS):
        survives(trial, trial.endure_at_random)


def test_no_two_faults_that_overlap_break_a_rule(trial: Trial):
    """The short form has one pair."""
    for _ in range(ROUNDS if ROUNDS >= LONG else 1):
        survives(trial, trial.endure_two)


def survives(trial: Trial, endure: Callable[[], Outcome]) -> None:
    """A head is ready again, and no rule was broken."""
    began = time.monotonic()
    outcome = endure()
    trial.judge(began)
    assert outcome.after["ready"] == "1"
