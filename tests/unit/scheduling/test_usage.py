"""Decayed usage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling import usage
from scheduling.amounts import amounts
from scheduling.model import HOUR, Request
from scheduling.usage import Account
from tests.unit.scheduling.examples import job, running

HALF_LIFE = 24 * HOUR
WEIGHTS = {"GPU": 1.0, "CPU": 0.25}


def test_half_is_left_after_a_half_life():
    assert Account(value=8.0, at=0.0).as_of(HALF_LIFE, HALF_LIFE) == pytest.approx(4.0)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_span_counts_as_much_in_parts_as_whole(start, first, second):
    middle, end = start + first, start + first + second
    whole = Account().charged(2.0, start, end, HALF_LIFE)
    parts = Account().charged(2.0, start, middle, HALF_LIFE).charged(2.0, middle, end, HALF_LIFE)
    assert parts.value == pytest.approx(whole.value, abs=1e-6)


def test_job_that_ended_before_the_account_was_last_charged_counts_as_decayed():
    """Ends are not always told in their order."""
    late_told = Account().charged(1.0, 90000.0, 90001.0, HALF_LIFE).charged(2.0, 0.0, HOUR, HALF_LIFE)
    in_order = Account().charged(2.0, 0.0, HOUR, HALF_LIFE).charged(1.0, 90000.0, 90001.0, HALF_LIFE)
    assert late_told.value == pytest.approx(in_order.value)


def test_running_jobs_count_as_they_run():
    run = running(job("a", gpus=2, cpus=4), "one")
    assert usage.usage_now(Account(), [run], HOUR, WEIGHTS, 1000 * HALF_LIFE) == pytest.approx(3.0, rel=1e-3)


def test_rate_is_of_all_parts():
    assert usage.rate(Request(each=amounts(GPU=0.5, CPU=2), count=4), WEIGHTS) == pytest.approx(4.0)
