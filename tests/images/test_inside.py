"""What every image holds works: the checks of its layers, from inside, as a user without any right."""

import pytest

pytestmark = pytest.mark.live


def test_holds(place, check):
    outcome = place.outcome(check)
    if outcome.result == "skip":
        pytest.skip(outcome.detail)
    if outcome.result != "pass":
        pytest.fail(outcome.detail, pytrace=False)
