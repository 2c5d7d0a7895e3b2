"""What users and projects used in a span of time, as sums over attempts."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from contracts.queue import UsageRow
from entrypoints.queue.store import Held
from scheduling.lifecycle import Outcome
from scheduling.model import HOUR


def usage_rows(
    held: Iterable[Held], by: Literal["user", "project"], since: float, until: float, now: float
) -> tuple[UsageRow, ...]:
    """A row for each user or project, most GPU hours first. Attempts that run count up to now."""
    groups: dict[str, list[Held]] = defaultdict(list)
    for attempt in held:
        groups[attempt.user if by == "user" else attempt.project].append(attempt)
    rows = (_row(name, attempts, since, until, now) for name, attempts in groups.items())
    return tuple(sorted(rows, key=lambda row: (-row.gpu_hours, -row.cpu_hours, row.name)))


def _row(name: str, held: list[Held], since: float, until: float, now: float) -> UsageRow:
    hours = [_seconds(each, since, until, now) / HOUR for each in held]
    waited = [each.waited for each in held if each.waited is not None and each.started >= since]
    outcomes = [each.outcome for each in held if each.outcome and each.ended is not None and each.ended < until]
    succeeded = outcomes.count(Outcome.SUCCEEDED.value)
    return UsageRow(
        name=name,
        jobs=len({each.job for each in held}),
        gpu_hours=sum(each.gpus * time for each, time in zip(held, hours, strict=True)),
        cpu_hours=sum(each.cpus * time for each, time in zip(held, hours, strict=True)),
        waited_hours=statistics.median(waited) / HOUR if waited else 0.0,
        succeeded=succeeded,
        failed=len(outcomes) - succeeded - outcomes.count(Outcome.CANCELLED.value),
    )


def _seconds(held: Held, since: float, until: float, now: float) -> float:
    """How long it ran in the span: what Ray never began did not."""
    if held.begun is None:
        return 0.0
    return max(0.0, min(until, now if held.ended is None else held.ended) - max(since, held.begun))
