"""The queue's service over a queue in memory, for tests of its HTTP interface and of `ws`.

Jobs start and end as their commands say, which nothing carries out.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import uvicorn

from contracts.queue import (
    MOST_LOG,
    Attempt,
    JobView,
    Log,
    NodeView,
    Outcome,
    QueueView,
    State,
    Submission,
    UsageRow,
    UserView,
)
from entrypoints.bounded_http import BoundedProtocol
from entrypoints.queue.api import Service
from entrypoints.queue.failures import RefusedError, id_taken, no_job, unavailable
from entrypoints.queue.packages import Packages
from entrypoints.queue.server import make_application
from testing.servers import free_port, wait_for_port

LARGEST = 2**20


class MemoryQueue:
    """A queue without a store.

    The words `ends:succeeded`, `ends:failed`, `prints:TEXT` and `waits` of a command say what happens: it runs until it
    is cancelled unless it ends or waits.
    """

    def __init__(self) -> None:
        self.away = False
        self._jobs: dict[str, JobView] = {}

    def forget(self) -> None:
        """Back to an empty queue."""
        self.away = False
        self._jobs.clear()

    def come_back(self, name: str) -> None:
        """It answers again, and a job has ended meanwhile."""
        self.away = False
        job = self._jobs[name]
        words = job.submission.entrypoint.replace("waits", "ends:succeeded")
        self._jobs[name] = replace(job, submission=replace(job.submission, entrypoint=words))

    async def submit(self, user: str, submission: Submission) -> tuple[JobView, bool]:
        """As Queue has it."""
        self._answers()
        assert submission.id
        known = self._jobs.get(submission.id)
        if known:
            if (known.user, known.submission) != (user, submission):
                raise id_taken(submission.id)
            return known, False
        job = JobView(
            id=submission.id, user=user, submission=submission, state="waiting", outcome=None, submitted=time.time(),
            started=None, ended=None, why="It waits for its turn: 2 jobs go before it.", expected=None, message=None,
        )  # fmt: skip
        self._jobs[job.id] = job
        return job, True

    async def jobs(
        self, *, user: str | None = None, project: str | None = None, states: tuple[State, ...] = (), limit: int = 100
    ) -> tuple[JobView, ...]:
        """As Queue has it."""
        self._answers()
        found = [
            job
            for job in reversed(self._jobs.values())
            if user in (None, job.user)
            and project in (None, job.submission.project)
            and (not states or job.state in states)
        ]
        return tuple(found[:limit])

    async def job(self, name: str) -> JobView:
        """As Queue has it; each look brings a job a step forward."""
        self._answers()
        if name not in self._jobs:
            raise no_job(name)
        job = self._jobs[name] = self._next(self._jobs[name])
        return job

    async def log(self, name: str, *, attempt: int | None = None, start: int = 0) -> Log:
        """As Queue has it."""
        self._answers()
        if name not in self._jobs:
            raise no_job(name)
        job = self._jobs[name]
        if attempt is not None and attempt > len(job.attempts):
            remedy = f"It had {len(job.attempts)} so far."
            raise RefusedError(404, "no_such_attempt", f"Job {name} has no attempt {attempt}.", remedy=remedy)
        words = [word.partition(":")[2] for word in job.submission.entrypoint.split() if word.startswith("prints:")]
        text = "".join(f"{word}\n" for word in words) if job.attempts else ""
        begin = max(0, len(text) + start) if start < 0 else min(start, len(text))
        part = text[begin : begin + MOST_LOG]
        complete = job.state == "ended" and begin + len(part) == len(text)
        return Log(attempt=attempt or len(job.attempts), start=begin, text=part, complete=complete)

    async def cancel(self, name: str) -> JobView:
        """As Queue has it."""
        job = await self.job(name)
        if job.state != "ended":
            self._jobs[name] = _ended(job, "cancelled")
        return self._jobs[name]

    async def retry(self, name: str) -> JobView:
        """As Queue has it."""
        job = await self.job(name)
        if job.state != "ended":
            remedy = f"Cancel it first: ws job cancel {name}"
            raise RefusedError(409, "not_ended", f"Job {name} has not ended.", remedy=remedy)
        self._jobs[name] = replace(job, state="waiting", outcome=None, ended=None, why="It waits for its turn.")
        return self._jobs[name]

    async def packages(self) -> set[str]:
        self._answers()
        return {job.submission.package for job in self._jobs.values() if job.submission.package}

    async def view(self) -> QueueView:
        """As Queue has it."""
        self._answers()
        jobs = list(self._jobs.values())
        node = NodeView(
            name="gpu1", up=True, capacity={"CPU": 16.0, "GPU": 4.0, "memory": 64.0 * 2**30},
            by_queue={"GPU": 2.0, "CPU": 8.0}, outside={"GPU": 1.0},
        )  # fmt: skip
        user = UserView(name="ana", shares=1.0, usage=3.0, fraction=0.75, entitled=0.5, running=1, waiting=1)
        return QueueView(
            now=time.time(),
            running=tuple(job for job in jobs if job.state in ("starting", "running", "stopping")),
            waiting=tuple(job for job in jobs if job.state == "waiting"),
            nodes=(node,), users=(user,), ray_answers=True,
        )  # fmt: skip

    async def usage(self, by: Literal["user", "project"], since: float, until: float) -> tuple[UsageRow, ...]:
        """As Queue has it: two hours of a GPU a day."""
        self._answers()
        days = (until - since) / 86400
        return (
            UsageRow(
                name="ana" if by == "user" else "", jobs=3, gpu_hours=2 * days, cpu_hours=16 * days, waited_hours=0.5,
                succeeded=2, failed=1,
            ),
        )  # fmt: skip

    def _answers(self) -> None:
        if self.away:
            raise unavailable("The queue's database")

    @staticmethod
    def _next(job: JobView) -> JobView:
        words = job.submission.entrypoint.split()
        if job.state == "waiting" and "waits" not in words:
            attempt = Attempt(
                number=len(job.attempts) + 1, submission=f"{job.id}-1", nodes=("gpu1",), started=time.time()
            )
            return replace(job, state="running", why=None, started=attempt.started, attempts=(*job.attempts, attempt))
        for outcome in ("succeeded", "failed"):
            if job.state == "running" and f"ends:{outcome}" in words:
                return _ended(job, "succeeded" if outcome == "succeeded" else "failed")
        return job


def _ended(job: JobView, outcome: Outcome) -> JobView:
    now = time.time()
    attempts = tuple(replace(attempt, ended=attempt.ended or now) for attempt in job.attempts)
    message = "Job entrypoint command failed with exit code 1" if outcome == "failed" else None
    return replace(job, state="ended", outcome=outcome, ended=now, why=None, message=message, attempts=attempts)


def service_in(folder: Path, token: str, queue: MemoryQueue | None = None) -> Service:
    """A service with its packages in a folder."""
    packages = Packages(folder / "packages", LARGEST)
    return Service(stack="test", token=token, queue=queue or MemoryQueue(), packages=packages)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that runs."""

    url: str
    queue: MemoryQueue
    packages: Path


@contextlib.contextmanager
def running(folder: Path, token: str, queue: MemoryQueue | None = None, port: int | None = None) -> Iterator[Running]:
    """The service in a thread of this process, on a port of this host."""
    queue, port = queue or MemoryQueue(), port or free_port()
    config = uvicorn.Config(
        make_application(service_in(folder, token, queue)),
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        http=BoundedProtocol,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for_port(port)
        yield Running(url=f"http://127.0.0.1:{port}", queue=queue, packages=folder / "packages")
    finally:
        server.should_exit = True
        thread.join()
