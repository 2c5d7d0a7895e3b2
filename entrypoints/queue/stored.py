"""A job as the queue stores it, and what it is to the scheduler and to those who ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from contracts import queue as contract
from contracts.queue import Attempt, Event, JobView, Submission
from scheduling import model
from scheduling.amounts import from_ray
from scheduling.lifecycle import Cause, Outcome, Phase, Record

HOLDING = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)  # an attempt holds what the job asks for
WHY_ENDED = {
    Outcome.SUCCEEDED: "it succeeded",
    Outcome.FAILED: "its program failed",
    Outcome.CANCELLED: "it was cancelled",
    Outcome.OVER_TIME: "it reached its time limit",
}
LOST, MADE_ROOM = "it was lost with its node", "it made room for another job"
NOT_BEGUN = "it was stopped before it began"
EVENTS: dict[Outcome, Event] = {
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.OVER_TIME: "failed",
    Outcome.LOST: "failed",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of the table of jobs. Each change has a new version."""

    record: Record
    user: str
    submission: Submission
    submitted: float
    queued: float
    nodes: tuple[str, ...] = ()
    borrowed: bool = False
    started: float | None = None  # when it was given its nodes
    begun: float | None = None  # when Ray began it there
    ended: float | None = None
    message: str | None = None
    told_long: bool = False

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id

    @property
    def holds(self) -> bool:
        """Whether an attempt holds resources."""
        return self.record.phase in HOLDING

    @cached_property
    def request(self) -> model.Request:
        """What it needs at once."""
        return model.Request(each=from_ray(self.submission.each), count=self.submission.count)

    @cached_property
    def waiting(self) -> model.Job:
        """As the scheduler knows it."""
        asked = self.submission
        return model.Job(
            id=self.id,
            user=self.user,
            request=self.request,
            submitted=self.queued,
            priority=asked.priority,
            time_limit=asked.time_limit,
            restartable=asked.restartable,
        )

    def running(self, now: float) -> model.Running:
        """As the scheduler knows it while it holds resources. What Ray has not begun has all its time ahead of it."""
        return model.Running(
            job=self.waiting,
            started=now if self.begun is None else self.begun,
            nodes=self.nodes,
            borrowed=self.borrowed,
            stopping=self.record.cause is not None,
        )

    def over_time(self, now: float) -> bool:
        """Whether it runs for longer than it may."""
        limit = self.submission.time_limit
        return self.holds and limit is not None and self.begun is not None and now >= self.begun + limit

    def begins(self, at: float) -> Job:
        """Ray began its present attempt."""
        return replace(self, record=replace(self.record, version=self.record.version + 1), begun=at)

    def follows(self, record: Record, now: float, *, message: str | None = None) -> Job:
        """With a record that lifecycle.py made of its own."""
        if record.phase is Phase.ENDED and self.record.phase is not Phase.ENDED:
            # By the clock of Ray's head, which may be behind this one.
            return replace(self, record=record, ended=max(now, self.started or now), message=message)
        return replace(self, record=record)

    def starts(self, record: Record, start: model.Start, now: float) -> Job:
        """With its next attempt."""
        return replace(
            self, record=record, nodes=start.nodes, borrowed=start.borrowed, started=now, begun=None, ended=None,
            message=None,
        )  # fmt: skip

    def view(
        self, attempts: Sequence[Attempt] = (), *, why: str | None = None, expected: float | None = None
    ) -> JobView:
        """As the REST API tells it."""
        state: contract.State = self.record.phase.value
        outcome: contract.Outcome | None = self.record.outcome.value if self.record.outcome else None
        return JobView(
            id=self.id,
            user=self.user,
            submission=self.submission,
            state="stopping" if self.holds and self.record.cause else state,
            outcome=outcome,
            submitted=self.submitted,
            started=self.started if self.begun is None else self.begun,
            ended=self.ended,
            why=why,
            expected=expected,
            message=self.message,
            attempts=tuple(attempts),
        )


def why_ended(before: Record, after: Record) -> str:
    """Why an attempt ended, in words, from the change that ended it."""
    if after.outcome in WHY_ENDED:
        return WHY_ENDED[after.outcome]
    if before.cause is Cause.MAKE_ROOM:
        return NOT_BEGUN if before.phase is Phase.STARTING else MADE_ROOM
    return LOST
