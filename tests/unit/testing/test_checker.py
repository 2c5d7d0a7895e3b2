"""The checker of histories: each rule passes a good history and finds a violation."""

from typing import Any

import pytest

from testing.cluster.checker import RULES, check
from testing.cluster.history import Event

LEASE = {"host": "alpha", "instance": "a", "epoch": "1"}
NODES = ["alpha-ray-cpu", "alpha-ray-head"]


def sample(time: float, *, epoch: int | None = 1, lease: dict[str, str] | None = None, **connections: int) -> Event:
    users = {user.replace("_", "-"): number for user, number in connections.items()}
    return {"kind": "sample", "time": time, "epoch": epoch, "lease": lease, "users": list(users), "connections": users}


def increment(time: float, value: int, *, life: str = "l", pid: int = 7, start: float | None = None) -> Event:
    facts = {"counter": "alpha", "id": f"c-{time:g}", "life": life, "pid": pid, "value": value}
    return {"kind": "increment", "time": time, "start": time - 0.1 if start is None else start, "ok": True, **facts}


def lost(time: float) -> Event:
    return {"kind": "increment", "time": time, "start": time - 4, "ok": False, "counter": "alpha", "id": f"c-{time:g}"}


def final(time: float, *ids: str) -> Event:
    return {"kind": "final", "time": time, "counter": "alpha", "life": "l", "ids": list(ids)}


def fault(time: float, end: float | None, **facts: Any) -> list[Event]:
    events: list[Event] = [{"kind": "fault", "time": time, "id": time, "name": "one", **facts}]
    return events + ([] if end is None else [{"kind": "end", "time": end, "of": time}])


def tables(time: float, **facts: Any) -> list[Event]:
    table = {"kind": "nodes", "time": time, "alive": NODES, "heads": 1, "jobs": {"01": False}, "own": "01", **facts}
    return [table, {"kind": "settled", "time": time + 1, "expected": NODES}]


GOOD: list[Event] = [
    sample(1, lease=LEASE, ray_cslr_lab_1_x=3),
    increment(1, 1),
    {"kind": "sample", "time": 2, "error": "nobody answers"},
    sample(3, epoch=None),
    lost(4),
    sample(4, epoch=2, lease={**LEASE, "epoch": "2"}, ray_cslr_lab_2_y=3, default=1),
    increment(5, 3),
    increment(5.05, 2, start=4),  # overlaps the one before
    final(6, "c-1", "c-4", "c-5.05", "c-5"),
    *fault(7, 9, lost=["alpha"]),
    increment(10, 1, life="m", pid=8),
    *tables(11),
]

BROKEN: dict[str, list[Event]] = {
    "epochs_only_grow": [sample(1, epoch=2), sample(2, epoch=None), sample(3, epoch=1)],
    "an_epoch_has_one_holder": [sample(1, lease=LEASE), sample(2, lease={**LEASE, "instance": "b"})],
    "one_head_writes: two at a time": [sample(1, ray_cslr_lab_1_x=1, ray_cslr_lab_1_y=1)],
    "one_head_writes: an older one comes back": [
        sample(1, epoch=2, ray_cslr_lab_2_y=1),
        sample(2, epoch=2),
        sample(3, epoch=2, ray_cslr_lab_1_x=1),
    ],
    "counters_keep_what_they_acknowledged: one is lost": [increment(1, 1), increment(2, 2), final(3, "c-1")],
    "counters_keep_what_they_acknowledged: one counts twice": [increment(1, 1), final(3, "c-1", "c-1")],
    "counters_keep_what_they_acknowledged: goes back": [increment(1, 2), increment(2, 1)],
    "counters_keep_what_they_acknowledged: stands still": [increment(1, 2), increment(2, 2)],
    "processes_on_workers_live_on: another life": [increment(1, 1), increment(2, 1, life="m")],
    "processes_on_workers_live_on: another process": [increment(1, 1), increment(2, 2, pid=8)],
    "processes_on_workers_live_on: the lost host is another": [
        increment(1, 1),
        *fault(1, 2, lost=["beta"]),
        increment(3, 1, life="m"),
    ],
    "processes_on_workers_live_on: was away for a moment": [
        increment(1, 1),
        *fault(1, 9, away=["alpha"]),
        increment(10, 1, life="m"),
    ],
    "processes_on_workers_live_on: was away twice, with time to be seen between": [
        increment(1, 1),
        *fault(1, 9, away=["alpha"]),
        *fault(13, 22, away=["alpha"]),
        increment(23, 1, life="m"),
    ],
    "processes_on_workers_live_on: the fault is long over": [
        *fault(1, 2, lost=["alpha"]),
        increment(50, 1),
        increment(51, 1, life="m"),
    ],
    "the_tables_are_right_in_the_end: a node is missing": tables(1, alive=NODES[:1]),
    "the_tables_are_right_in_the_end: one is there twice": tables(1, alive=[*NODES, NODES[1]]),
    "the_tables_are_right_in_the_end: two heads": tables(1, heads=2),
    "the_tables_are_right_in_the_end: the job is dead": tables(1, jobs={"01": True}),
    "the_tables_are_right_in_the_end: the job is gone": tables(1, jobs={}),
    "the_tables_are_right_in_the_end: nobody looked": tables(1)[1:],
}


def test_a_good_history_has_no_violation():
    assert check(GOOD) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_history_is_found_by_its_rule_alone(name):
    assert {violation.rule for violation in check(BROKEN[name])} == {name.partition(":")[0]}


def test_every_rule_is_broken_by_some_history():
    assert {name.partition(":")[0] for name in BROKEN} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    ("facts", "end"),
    [({"lost": ["alpha"]}, 2), ({"data": "lost"}, 2), ({"away": ["alpha"]}, 30), ({"lost": ["alpha"]}, None)],
)
def test_a_fault_that_costs_a_host_its_processes_explains_their_loss(facts, end):
    assert check([increment(1, 1), *fault(1, end, **facts), increment(31, 1, life="m", pid=8)]) == []


def test_two_faults_that_overlap_keep_a_host_away_for_as_long_as_both_last():
    two = [*fault(1, 9, away=["alpha"]), *fault(8, 17, away=["alpha"])]
    assert check([increment(1, 1), *two, increment(18, 1, life="m")]) == []
