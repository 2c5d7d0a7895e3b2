"""Times of alerts in words, and what is shown of several."""

from datetime import UTC, datetime

import pytest

from contracts.alerts import Alert
from ws.alerts.view import ago, ahead, lines

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


class TestTimes:
    @pytest.mark.parametrize(
        ("time", "text"),
        [
            ("2026-11-28T11:59:30Z", "30 s"),
            ("2026-11-28T11:57:00Z", "3 min"),
            ("2026-11-28T09:55:00Z", "2 h 5 min"),
            ("2026-11-28T10:00:00Z", "2 h"),
            ("2026-11-27T11:55:00Z", "1 d"),
            ("2026-11-24T08:59:00Z", "4 d 3 h"),
            ("2026-11-28T12:00:09Z", "0 s"),  # clocks differ
        ],
    )
    def test_past_ones_are_short(self, time, text):
        assert ago(time, NOW) == text

    def test_coming_ones_are_too(self):
        assert ahead("2026-11-28T13:30:00Z", NOW) == "1 h 30 min"


class TestLines:
    def test_are_of_alerts_that_nobody_silenced(self):
        loud = Alert(name="NoHead", severity="critical", since="", summary="The Ray cluster has no head")
        quiet = Alert(name="DiskLow", severity="critical", since="", silenced_by=("1",))
        assert [str(line) for line in lines((loud, quiet))] == ["critical NoHead: The Ray cluster has no head"]
