"""Alertmanager's answers."""

from typing import Any

import pytest

from contracts.alerts import AnswerError, alerts_in, silences_in


def alert(name: str, severity: str = "warning", since: str = "2026-11-28T03:00:00.5Z", **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {},
        "startsAt": since,
        "status": {"silencedBy": []},
    }


class TestAlerts:
    def test_are_the_worst_and_oldest_first(self):
        found = alerts_in(
            [
                alert("C"),
                alert("B", "critical", "2026-11-28T02:00:00Z"),
                alert("A", "critical", "2026-11-28T01:00:00Z"),
            ]
        )
        assert [one.name for one in found] == ["A", "B", "C"]
        assert found[2].since == "2026-11-28T03:00:00Z"

    @pytest.mark.parametrize(
        ("labels", "where"),
        [
            ({"service": "redis", "instance": "health:8888", "host": "a"}, "redis on a"),
            ({"service": "ray-gpu", "job": "ray", "node": "ray-gpu"}, "ray-gpu"),
            ({"instance": "exporter:8080", "job": "exporter", "host": "a"}, "a"),
            ({"backup": "nightly", "host": "a"}, "nightly on a"),
            ({"host": "a"}, "a"),
            ({}, ""),
        ],
    )
    def test_say_where_they_are(self, labels, where):
        assert alerts_in([alert("A", **labels)])[0].where == where


class TestSilences:
    def test_that_have_expired_are_past(self):
        entry = {
            "id": "1",
            "matchers": [{"name": "host", "value": "a.*", "isRegex": True, "isEqual": False}],
            "endsAt": "2026-11-28T03:00:00.5Z",
            "createdBy": "me",
            "comment": "",
        }
        found = silences_in([{**entry, "status": {"state": state}} for state in ("active", "expired")])
        assert [(one.state, one.matchers) for one in found] == [("active", ('host!~"a.*"',))]


@pytest.mark.parametrize("answer", [None, {"a": 1}, [1], ["a"], [{}]], ids=str)
def test_another_programs_answer_is_refused(answer):
    for read in (alerts_in, silences_in):
        with pytest.raises(AnswerError):
            read(answer)
