"""A job that Ray has and has not begun: people are told so, and not that it runs; no time passes for it."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from contracts.queue import Attempt, QueueSettings, Submission
from entrypoints.queue.loop import Loop
from entrypoints.queue.page import TEMPLATES
from entrypoints.queue.pictures import PENDING, job_view
from entrypoints.queue.ray_jobs import RayCluster, SeenNode, Sight
from entrypoints.queue.starter import Starter
from entrypoints.queue.store import Store
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Cause, Phase, Record, Seen, stop
from scheduling.model import Limits
from ws.queue.following import in_words

NODE = SeenNode(name="gpu", identifier="n1", up=True, head=True, capacity={"GPU": 1.0, "CPU": 4.0})


class OneJob:
    """A store and a Ray cluster with one job."""

    def __init__(self, *, runs: bool) -> None:
        submission = Submission(id="17", entrypoint="python train.py", gpus=1)
        record = Record(id="17", phase=Phase.RUNNING, attempt=1)
        self.job = Job(
            record=record, user="ana", submission=submission, submitted=0.0, queued=0.0, nodes=("gpu",), started=1.0
        )
        self.sight = Sight(seen=Seen.ALIVE, runs=runs, nodes=frozenset({"n1"}))

    def decides(self) -> bool:
        return True

    def change(self, before: Job, after: Job, now: float, *, turn: bool) -> None:
        self.job = after

    def unended(self) -> dict[str, Job]:
        return {"17": self.job}

    def users(self) -> dict[str, Any]:
        return {}

    def first_in_line(self) -> None:
        return None

    def nodes(self) -> tuple[SeenNode, ...]:
        return (NODE,)

    def wake(self, submission: str) -> None:
        pass

    def look(self, submission: str) -> Sight:
        return self.sight


def loop_of(one: OneJob, clock: Callable[[], float] = time.time) -> Loop:
    settings = QueueSettings(stack="dev", database="", dashboards=())
    return Loop(
        cast("Store", one),
        cast("RayCluster", one),
        cast("Starter", one),
        settings,
        say=print,
        clock=clock,
        steady=clock,
    )


def seen(one: OneJob):
    loop = loop_of(one)
    loop.turn()
    attempt = Attempt(number=1, submission="queue-17-1", nodes=("gpu",), started=1.0)
    return lambda job: job_view(job, loop.picture, lambda _: Limits(), (attempt,))


def test_it_is_starting_and_says_why():
    one = OneJob(runs=False)
    view = seen(one)(one.job)
    assert (view.state, view.why) == ("starting", PENDING)
    assert in_words(view) == f"job 17 is starting on gpu: {PENDING}"


def test_it_runs_once_ray_began_it():
    one = OneJob(runs=True)
    view = seen(one)(one.job)
    assert (view.state, view.why) == ("running", None)


def test_one_that_is_cancelled_meanwhile_is_stopping():
    one = OneJob(runs=False)
    view = seen(one)(one.job.follows(stop(one.job.record, Cause.CANCEL), 2.0))
    assert (view.state, view.why) == ("stopping", None)


def test_the_page_says_so_where_the_job_is_listed():
    one = OneJob(runs=False)
    view = SimpleNamespace(running=(seen(one)(one.job),))
    found = TEMPLATES.get_template("running.html").render(
        view=view, shown=SimpleNamespace(now=9.0), stack="dev", jobs_shown=1
    )
    assert f'<span class="detail">{PENDING}</span>' in found
    assert '<span class="state starting">' in found


def test_the_page_shows_neither_commands_nor_output():
    """It needs no token."""
    one = OneJob(runs=True)
    job = replace(seen(one)(one.job), message="printed-by-the-job", outcome="failed")
    for submission in (job.submission, replace(job.submission, name="sweep 3")):
        told = replace(job, submission=submission)
        view = SimpleNamespace(running=(told,), waiting=(told,))
        shown = SimpleNamespace(now=9.0, ended=(told,))
        for name in ("running", "waiting", "ended"):
            page = TEMPLATES.get_template(f"{name}.html").render(view=view, shown=shown, stack="dev", jobs_shown=1)
            assert "train.py" not in page
            assert "printed-by-the-job" not in page
            assert ("sweep 3" in page) is (submission.name is not None)


def test_its_time_limit_begins_when_ray_begins_it():
    one, now = OneJob(runs=False), [1.0]
    one.job = replace(one.job, submission=replace(one.job.submission, time_limit=10.0))
    loop = loop_of(one, clock=lambda: now[0])
    for now[0] in (2.0, 500.0, 1000.0):
        loop.turn()
        assert (one.job.holds, one.job.record.cause, one.job.begun) == (True, None, None)
        assert loop.picture.users["ana"].usage == 0.0
        assert loop.picture.shares[0].by_queue, "it holds its place"
    one.sight = replace(one.sight, runs=True)
    for now[0] in (1001.0, 1010.0):
        loop.turn()
        assert (one.job.begun, one.job.record.cause) == (1001.0, None)
    assert loop.picture.users["ana"].usage > 0.0
    now[0] = 1011.0
    loop.turn()
    assert one.job.record.cause is Cause.OVER_TIME


def test_one_that_ended_between_two_looks_began_after_the_first_of_them():
    one, now = OneJob(runs=False), [1.0]
    loop = loop_of(one, clock=lambda: now[0])
    now[0] = 100.0
    loop.turn()
    one.sight = Sight(seen=Seen.SUCCEEDED, nodes=frozenset({"n1"}), ended=101.0)
    now[0] = 102.0
    loop.turn()
    assert (one.job.started, one.job.begun, one.job.ended) == (1.0, 100.0, 101.0)


def test_a_database_that_takes_its_time_is_no_clock_that_was_set():
    one, now, shifts = OneJob(runs=True), [1.0], []
    waits = [0.0]

    def decides() -> bool:
        now[0] += waits[0]
        return True

    one.decides = decides  # type: ignore[method-assign]
    one.shift = lambda seconds, at: shifts.append(seconds)  # type: ignore[attr-defined]
    loop = loop_of(one, clock=lambda: now[0])
    for waits[0] in (0.0, 50.0, 0.0):
        now[0] += 1.0
        loop.turn()
    assert shifts == []
