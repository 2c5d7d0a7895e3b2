"""The queue's parts as one service has them, and one that is killed at a step of its work."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contracts.queue import QueueSettings, Submission
from entrypoints.queue.loop import Loop
from entrypoints.queue.ray_jobs import RayCluster
from entrypoints.queue.starter import Starter
from entrypoints.queue.store import Store
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Cause, Record, stop
from testing.postgres_server import PASSWORD
from testing.ray_jobs_api import TOKEN

STORES, REQUESTS = ("change", "keep_first"), ("submit", "stop", "claim")  # steps that change something
MOST_TURNS = 200


@dataclass
class Parts:
    """Of one service."""

    store: Store
    ray: RayCluster
    loop: Loop

    def close(self) -> None:
        """As at its end."""
        self.store.close()
        self.ray.close()


def settings_of(database: str, dashboard: str, **changes: Any) -> QueueSettings:
    """Settings of a service."""
    return QueueSettings(stack="test", database=database, dashboards=(dashboard,), **changes)


def parts(settings: QueueSettings, clock: Callable[[], float] = time.time) -> Parts:
    """A service's parts."""
    store = Store(settings.database, PASSWORD, half_life=settings.half_life, weigh=lambda job: 1.0)
    ray = RayCluster(settings.dashboards, TOKEN)
    starter = Starter(ray, checkpoints="/checkpoints", tracking_uri=None, package=lambda name: None, clock=time.time)
    return Parts(store=store, ray=ray, loop=Loop(store, ray, starter, settings, say=lambda message: None, clock=clock))


def new_job(name: str, command: str, *, user: str = "ana", submitted: float | None = None, **asked: Any) -> Job:
    """A job that waits."""
    now = time.time() if submitted is None else submitted
    submission = Submission(id=name, entrypoint=command, **asked)
    return Job(record=Record(id=name), user=user, submission=submission, submitted=now, queued=now)


def turn_until(service: Parts, ready: Callable[[], bool]) -> None:
    """Turns, one after the other."""
    for _ in range(MOST_TURNS):
        service.loop.turn()
        if ready():
            return
    raise AssertionError("it is not so after many turns")


def serve(settings: QueueSettings, cancelled: str, kill_at: int | None) -> None:
    """Turns until all jobs have ended; killed before or after a step, if one is named.

    cancelled: a job that is cancelled once it holds resources.
    """
    service = parts(settings)
    steps = Steps(kill_at)
    for target, names in ((service.store, STORES), (service.ray, REQUESTS)):
        for name in names:
            setattr(target, name, steps.around(getattr(target, name)))

    def all_ended() -> bool:
        jobs = service.store.unended()
        job = jobs.get(cancelled)
        if job and job.holds and job.record.cause is None:
            service.store.change(job, job.follows(stop(job.record, Cause.CANCEL), time.time()), time.time())
        return not jobs

    turn_until(service, all_ended)
    service.close()
    os._exit(0)


class Steps:
    """Counts steps, and kills the process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self._kill_at, self._count, self._lock = kill_at, 0, threading.Lock()

    def around(self, do: Callable[..., Any]) -> Callable[..., Any]:
        """A function with a step before and one after it."""

        def done(*args: Any, **options: Any) -> Any:
            self._step()
            found = do(*args, **options)
            self._step()
            return found

        return done

    def _step(self) -> None:
        with self._lock:
            if self._count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1
