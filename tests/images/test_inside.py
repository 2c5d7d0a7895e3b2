"""The software in every image works: runs the checks of its layers inside it, as an unprivileged user."""

import pytest

pytestmark = pytest.mark.live


def test_holds(place, check):
    outcome = place.outcome(check)
    if outcome.result == "skip":
        pytest.skip(outcome.detail)
    if outcome.result != "pass":
        pytest.fail(outcome.detail, pytrace=False)
