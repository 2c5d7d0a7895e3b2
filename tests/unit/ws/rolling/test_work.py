"""Work that a node's replacement ends for good: what it is, how long it is waited for, and consent."""

import io

import pytest
from rich.console import Console

from stack.running_work import Kind, Work
from ws.consent import Command, Consent, DeclinedError
from ws.cost import Cost, End
from ws.rolling import work
from ws.rolling.work import lasting, wait_for_its_end

JOB = Work(kind=Kind.JOB, identifier="raysubmit_x", what="python train.py", node="ray-cpu")
DETACHED = Work(kind=Kind.ACTOR, identifier="a1", what="counter", node="ray-cpu")
TASK = Work(kind=Kind.TASK, identifier="t1", what="train", node="ray-cpu", part=True)


def cost(*works: Work, not_asked: str = "") -> Cost:
    return Cost(ends=(End(works=works, because="ray-cpu is replaced", not_asked=not_asked),)) if works else Cost()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(work, "time", clock)
    monkeypatch.setattr("ws.consent.SETTLE_SECONDS", 0.0)
    return clock


def consent(*, yes: bool = False) -> Consent:
    command = Command(words="ws up --rolling", stack="lab")
    return Consent(command=command, console=Console(file=io.StringIO()), yes=yes, unchanged="ray-cpu was left as it is")


def test_parts_of_jobs_run_again_elsewhere():
    assert lasting(cost(TASK)) == Cost()
    assert lasting(cost(JOB, TASK)).works == (JOB,)


def test_unknown_work_counts():
    assert not lasting(Cost(ends=(End(works=(), because="x", not_asked="no answer"),))).known


def test_a_job_that_ends_in_time_is_waited_for(clock):
    wait_for_its_end(lambda: cost(JOB) if clock.now < 30 else cost(), 60, consent(), lambda _: None)
    assert 30 <= clock.now < 60


def test_a_job_that_does_not_end_is_not_ended_without_consent(clock):
    with pytest.raises(DeclinedError, match=r"ray-cpu was left as it is: 1 running job(.|\n)*--drain 2h(.|\n)*--yes"):
        wait_for_its_end(lambda: cost(JOB), 60, consent(), lambda _: None)
    assert clock.now >= 60


def test_with_consent_it_is_ended_after_that_time(clock):
    wait_for_its_end(lambda: cost(JOB), 60, consent(yes=True), lambda _: None)
    assert clock.now >= 60


def test_what_never_ends_by_itself_is_not_waited_for(clock):
    with pytest.raises(DeclinedError, match="1 detached actor"):
        wait_for_its_end(lambda: cost(DETACHED), 60, consent(), lambda _: None)
    assert clock.now == 0
