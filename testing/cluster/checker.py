"""Checks a history against the rules of a cluster, which must hold whatever fails.

Each rule is a function from events to violations, and has a test that breaks it (tests/unit/testing/test_checker.py).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from testing.cluster.history import Event

USER = re.compile(r"ray-.+-(?P<epoch>\d+)-[^-]+")
# A host that was away for longer is dead for Ray, and its processes end: five health checks of 10 s at most, each 3 s
# after the one before, then the time until the node is told.
AWAY_SECONDS = 12.0
CHECK_SECONDS = 3.0  # the time between two health checks: a host that is back for less was away all the time


@dataclass(frozen=True)
class Violation:
    """An event that must not happen."""

    rule: str
    time: float
    text: str


def check(events: Sequence[Event]) -> list[Violation]:
    """Every violation, in the order of the rules."""
    ordered = sorted(events, key=lambda event: event["time"])
    return [Violation(rule.__name__, time, text) for rule in RULES for time, text in rule(ordered)]


Found = Iterator[tuple[float, str]]


def samples(events: Sequence[Event]) -> list[Event]:
    """Redis's answers, whenever it answered."""
    return [event for event in events if event["kind"] == "sample" and "error" not in event]


def epoch_of(user: str) -> int | None:
    """The epoch of a user that a head has in Redis; None for any other user."""
    match = USER.fullmatch(user)
    return int(match["epoch"]) if match else None


def epochs_only_grow(events: Sequence[Event]) -> Found:
    """Neither a restart of Redis nor the loss of its data brings an old epoch back."""
    highest = 0
    for event in samples(events):
        epoch = event["epoch"] or highest  # none: Redis has lost its data, and no epoch was granted yet
        if epoch < highest:
            yield event["time"], f"epoch {epoch} after {highest}"
        highest = max(highest, epoch)


def an_epoch_has_one_holder(events: Sequence[Event]) -> Found:
    """Two agents are never granted the same epoch."""
    holders: dict[int, tuple[str, str]] = {}
    for event in samples(events):
        if lease := event["lease"]:
            epoch, holder = int(lease["epoch"]), (lease["host"], lease["instance"])
            first = holders.setdefault(epoch, holder)
            if first != holder:
                yield event["time"], f"epoch {epoch} of {holder} was of {first}"


def one_head_writes(events: Sequence[Event]) -> Found:
    """Connections that may write to the GCS state are of one head at a time, and never again of an older one."""
    newest = 0
    for event in samples(events):
        users = {user: epoch for user in event["connections"] if (epoch := epoch_of(user)) is not None}
        if len(users) > 1:
            yield event["time"], f"connections of {sorted(users)} at the same time"
        for user, epoch in users.items():
            if epoch < newest:
                yield event["time"], f"a connection of {user} after one of epoch {newest}"
            newest = max(newest, epoch)


def counters_keep_what_they_acknowledged(events: Sequence[Event]) -> Found:
    """In one life of a counter each acknowledged call counts once, for ever, and later calls count higher."""
    latest: dict[str, Event] = {}  # by life: the acknowledged call with the highest value
    acknowledged: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["kind"] == "increment" and event["ok"]:
            before = latest.get(event["life"])
            if before and event["start"] >= before["time"] and event["value"] <= before["value"]:
                yield event["time"], f"{event['counter']} counted {event['value']} after {before['value']}"
            if not before or event["value"] > before["value"]:
                latest[event["life"]] = event
            acknowledged[event["life"]].append(event)
        if event["kind"] == "final":
            counts: Counter[str] = Counter(event["ids"])
            for call in acknowledged[event["life"]]:
                if counts[call["id"]] != 1:
                    yield event["time"], f"{event['counter']} knows {call['id']} {counts[call['id']]} times"


def processes_on_workers_live_on(events: Sequence[Event]) -> Found:
    """A counter keeps its process, unless its host or the data of Redis was lost, or the host was away for long."""
    known: dict[str, Event] = {}
    for event in events:
        if event["kind"] != "increment" or not event["ok"]:
            continue
        before = known.get(event["counter"])
        known[event["counter"]] = event
        if before and (before["life"], before["pid"]) != (event["life"], event["pid"]):
            spell = (before["time"], event["time"])
            if not faults_explain(faults(events), event["counter"], spell):
                yield event["time"], f"the counter of {event['counter']} has another process, for no reason"


def faults(events: Sequence[Event]) -> list[tuple[Event, float]]:
    """Each fault with the time when it was undone."""
    found: list[tuple[Event, float]] = []
    for event in events:
        if event["kind"] == "fault":
            ends = (end["time"] for end in events if end["kind"] == "end" and end["of"] == event["id"])
            found.append((event, next(ends, float("inf"))))
    return found


def faults_explain(found: Sequence[tuple[Event, float]], host: str, spell: tuple[float, float]) -> bool:
    """Whether faults may have cost a host its processes in a span of time."""
    after, before = spell
    near = [(fault, end) for fault, end in found if fault["time"] <= before and end >= after - AWAY_SECONDS]
    if any(host in fault.get("lost", ()) or fault.get("data") == "lost" for fault, _ in near):
        return True
    away = [(fault["time"], min(end, before)) for fault, end in near if host in fault.get("away", ())]
    return any(end - begin > AWAY_SECONDS for begin, end in joined(away))


def joined(spells: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time, those that overlap as one: a host that two faults cut off is away for as long as both last."""
    result: list[tuple[float, float]] = []
    for begin, end in sorted(spells):
        if result and begin <= result[-1][1] + CHECK_SECONDS:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((begin, end))
    return result


def the_tables_are_right_in_the_end(events: Sequence[Event]) -> Found:
    """After all faults are undone, Ray lists exactly the existing nodes, one head, and the client's job as alive."""
    for event in events:
        if event["kind"] != "settled":
            continue
        told = [table for table in events if table["kind"] == "nodes" and table["time"] <= event["time"]]
        table = told[-1] if told else None
        if table is None or table["alive"] != sorted(event["expected"]):
            yield event["time"], f"Ray lists {table and table['alive']}, not {sorted(event['expected'])}"
        elif table["heads"] != 1:
            yield event["time"], f"Ray lists {table['heads']} heads"
        elif table["jobs"].get(table["own"], True):
            yield event["time"], "Ray considers the job of a running client dead"


RULES: tuple[Callable[[Sequence[Event]], Found], ...] = (
    epochs_only_grow,
    an_epoch_has_one_holder,
    one_head_writes,
    counters_keep_what_they_acknowledged,
    processes_on_workers_live_on,
    the_tables_are_right_in_the_end,
)
