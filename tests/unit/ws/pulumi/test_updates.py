"""Pulumi's own history beside ours."""

from datetime import UTC, datetime
from typing import Any

from stack.history import Outcome, Record
from ws.pulumi.updates import completed


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def record(started: str, outcome: str = "unknown") -> Record:
    return Record.model_validate(
        {
            "number": 1, "operation": "up", "engine": "pulumi", "who": "anna", "started": at(started),
            "version": "0.2.0", "outcome": outcome,
        }
    )  # fmt: skip


def update(**values: Any) -> dict[str, Any]:
    return {
        "kind": "update",
        "startTime": "2026-11-28T03:00:00.000Z",
        "endTime": "2026-11-28T03:02:00.000Z",
        "result": "succeeded",
        "resourceChanges": {"create": 3, "same": 2, "create-replacement": 1, "read": 7},
        **values,
    }


def test_a_plain_run_gets_its_outcome_time_and_counts():
    (found,) = completed([record("2026-11-28T03:00:04.500")], [update()])
    assert (found.outcome, found.seconds) == (Outcome.DONE, 120.0)
    assert found.counts == {"create": 3, "same": 2, "replace": 1}
    (failed,) = completed([record("2026-11-28T03:00:04")], [update(result="failed")])
    assert failed.outcome is Outcome.FAILED


def test_other_runs_are_left_as_they_are():
    known = [update(), update(kind="destroy"), update(result="in-progress", endTime=None)]
    for one in (record("2026-11-28T02:59:59"), record("2026-11-28T03:02:30"), record("2026-11-28T03:00:04", "done")):
        assert completed([one], known) == [one]
    other = record("2026-11-28T03:00:04")
    assert completed([other], [update(kind="refresh"), update(result="in-progress")]) == [other]
