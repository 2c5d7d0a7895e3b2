"""The queue over Postgres and Ray: what queue.py asks for, beside the loop that carries it out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Literal, ParamSpec, TypeVar

from contracts.queue import MOST_LOG, Event, JobView, Log, QueueSettings, QueueView, State, Submission, UsageRow
from entrypoints.queue import pictures
from entrypoints.queue.accounts import usage_rows
from entrypoints.queue.failures import RefusedError, id_taken, no_job, other_case, too_many, unavailable
from entrypoints.queue.loop import Loop, limits_of, policy_of
from entrypoints.queue.packages import Packages
from entrypoints.queue.ray_jobs import LogPart, RayAwayError, RayCluster
from entrypoints.queue.starter import Starter
from entrypoints.queue.store import AwayError, ConflictError, NewerError, Store
from entrypoints.queue.stored import Job
from scheduling import usage
from scheduling.lifecycle import Cause, Phase, Record, retry, stop
from scheduling.model import Limits

P = ParamSpec("P")
T = TypeVar("T")
TELL_EVERY = 2.0  # seconds
PRUNE_EVERY = 3600.0
KEPT_UNUSED = 7 * 86400.0  # a package, so that a job can be retried
TRIES = 20  # to change a job that the loop changes at the same time
DATABASE = "The queue's database"
THREADS = 4  # that ask the store, and as many that ask Ray: a slow one does not hold up the other


class RayQueue:
    """The queue (queue.py says what its methods do)."""

    def __init__(
        self,
        settings: QueueSettings,
        *,
        token: str,
        database_password: str,
        packages: Packages,
        tell: Callable[[str, Event, JobView], None],
        say: Callable[[str], None] = print,
    ) -> None:
        """tell: a user, event and job; it keeps what it is told before it returns. say: for people who run this."""
        self._settings, self._packages, self._tell, self._say = settings, packages, tell, say
        self._policy = policy_of(settings)
        self._store = Store(
            settings.database,
            database_password,
            half_life=settings.half_life,
            weigh=lambda job: usage.rate(job.request, self._policy.weights),
        )
        self._ray = RayCluster(settings.dashboards, token)
        starter = Starter(
            self._ray,
            checkpoints=settings.checkpoints,
            tracking_uri=settings.tracking_uri,
            package=packages.path,
            clock=time.time,
        )
        self._asking_store = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._asking_ray = ThreadPoolExecutor(THREADS, thread_name_prefix="log")
        self._loop = Loop(self._store, self._ray, starter, settings, say=say)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loop, in a thread of its own, and the telling of users."""
        thread = threading.Thread(target=self._loop.run, name="queue", daemon=True)
        thread.start()
        beside = [
            asyncio.create_task(self._again(self._tell_all, TELL_EVERY)),
            asyncio.create_task(self._again(self._prune, PRUNE_EVERY)),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            self._loop.stop()
            await asyncio.to_thread(thread.join, 5.0)
            for threads in (self._asking_store, self._asking_ray):
                threads.shutdown(wait=False, cancel_futures=True)
            self._store.close()
            self._ray.close()

    async def submit(self, user: str, submission: Submission) -> tuple[JobView, bool]:
        """As Queue has it."""
        if submission.id is None:
            raise ValueError("a submission needs an id")
        now = time.time()
        new = Job(record=Record(id=submission.id), user=user, submission=submission, submitted=now, queued=now)
        job, added = await _apart(self._asking_store, self._store.add, new, partial(self._may_submit, user))
        if (job.user, job.submission) != (user, submission):
            raise id_taken(submission.id)
        self._loop.wake()
        return await self._view(job), added

    async def jobs(
        self, *, user: str | None = None, project: str | None = None, states: tuple[State, ...] = (), limit: int = 100
    ) -> tuple[JobView, ...]:
        """As Queue has it."""
        found = await _apart(
            self._asking_store, self._store.jobs, user=user, project=project, states=states, limit=limit
        )
        attempts = await _apart(self._asking_store, self._store.attempts, [job.id for job in found])
        picture = self._loop.picture
        return tuple(pictures.job_view(job, picture, self._limits, attempts.get(job.id, ())) for job in found)

    async def job(self, name: str) -> JobView:
        """As Queue has it."""
        return await self._view(await self._known(name))

    async def log(self, name: str, *, attempt: int | None = None, start: int = 0) -> Log:
        """As Queue has it."""
        job = await self._known(name)
        attempts = (await _apart(self._asking_store, self._store.attempts, [name])).get(name, [])
        if attempt is None and not attempts:
            return Log(attempt=0, start=0, text="", complete=job.record.phase is Phase.ENDED)
        found = next((each for each in attempts if attempt in (None, each.number)), None) if attempt else attempts[-1]
        if found is None:
            remedy = f"It had {len(attempts)} so far: `ws job show {name}`."
            raise RefusedError(404, "no_such_attempt", f"Job {name} has no attempt {attempt}.", remedy=remedy)
        try:
            part = await _in(self._asking_ray, self._ray.log, found.submission, start, MOST_LOG)
        except RayAwayError:
            raise unavailable("Ray") from None
        if part is None and found.ended is None:
            part = LogPart(start=0, text="", more=False)  # it has not begun there
        if part is None:
            remedy = "Results that matter belong in MLflow or in the job's checkpoint folder."
            message = f"Ray no longer has what attempt {found.number} of job {name} printed."
            raise RefusedError(410, "log_gone", message, remedy=remedy)
        complete = found.ended is not None and not part.more
        return Log(attempt=found.number, start=part.start, text=part.text, complete=complete)

    async def cancel(self, name: str) -> JobView:
        """As Queue has it."""

        def cancelled(job: Job) -> Job:
            return job.follows(stop(job.record, Cause.CANCEL), time.time())

        return await self._view(await self._changed(name, cancelled))

    async def retry(self, name: str) -> JobView:
        """As Queue has it."""

        owner = (await self._known(name)).user
        await _apart(self._asking_store, self._may_wait, owner)

        def waits_again(job: Job) -> Job:
            if job.record.phase is not Phase.ENDED:
                remedy = f"Let it end, or cancel it first: `ws job cancel {name}`."
                raise RefusedError(409, "not_ended", f"Job {name} has not ended.", remedy=remedy)
            package = job.submission.package
            if package and not self._packages.has(package):
                message = f"The folder of job {name} is no longer kept."
                raise RefusedError(409, "no_package", message, remedy="Submit it again: `ws submit`.")
            return replace(job, record=retry(job.record), queued=time.time(), ended=None, message=None, told_long=False)

        return await self._view(await self._changed(name, waits_again))

    async def packages(self) -> set[str]:
        """As Queue has it."""
        return await _apart(self._asking_store, self._store.packages)

    async def view(self) -> QueueView:
        """As Queue has it."""
        jobs = (await _apart(self._asking_store, self._store.unended)).values()
        attempts = await _apart(self._asking_store, self._store.attempts, [job.id for job in jobs if job.holds])
        return await asyncio.to_thread(
            pictures.queue_view, jobs, attempts, self._loop.picture, self._policy, self._limits, time.time()
        )

    async def usage(self, by: Literal["user", "project"], since: float, until: float) -> tuple[UsageRow, ...]:
        """As Queue has it."""
        held = await _apart(self._asking_store, self._store.held, since, until)
        return usage_rows(held, by, since, until, time.time())

    async def _known(self, name: str) -> Job:
        job = await _apart(self._asking_store, self._store.job, name)
        if job is None:
            raise no_job(name)
        return job

    async def _changed(self, name: str, change: Callable[[Job], Job]) -> Job:
        """Change a job; where the loop was quicker, change what it made of it."""
        for _ in range(TRIES):
            job = await self._known(name)
            after = change(job)
            if after.record == job.record:
                return job
            with suppress(ConflictError):
                await _apart(self._asking_store, self._store.change, job, after, time.time())
                self._loop.wake()
                return after
        raise unavailable("The queue")

    async def _view(self, job: Job) -> JobView:
        attempts = await _apart(self._asking_store, self._store.attempts, [job.id])
        return pictures.job_view(job, self._loop.picture, self._limits, attempts.get(job.id, ()))

    def _may_submit(self, user: str) -> None:
        """Raise RefusedError for a slip in a name, with which its user would have a second share, and as _may_wait."""
        known = self._settings.users
        if user not in known:
            alike = next((name for name in known if name.lower() == user.lower()), None)
            if other := alike or self._store.spelled(user):
                raise other_case(user, other)
        self._may_wait(user)

    def _may_wait(self, user: str) -> None:
        """Raise RefusedError where too many jobs wait already."""
        waiting = self._store.waiting(user)
        if waiting.own >= self._settings.waiting_per_user:
            raise too_many(self._settings.waiting_per_user, user)
        if waiting.every >= self._settings.waiting:
            raise too_many(self._settings.waiting, None)

    def _limits(self, user: str) -> Limits:
        return limits_of(self._settings, user)

    async def _again(self, work: Callable[[], Coroutine[None, None, None]], pause: float) -> None:
        while True:
            try:
                await work()
            except RefusedError:
                pass  # the loop says that the database is away
            except Exception as error:  # noqa: BLE001 - one failure must not end what is done again and again
                self._say(f"{work.__name__.strip('_').replace('_', ' ')} failed: {type(error).__name__}: {error}")
            await asyncio.sleep(pause)

    async def _tell_all(self) -> None:
        for notice in await _apart(self._asking_store, self._store.notices):
            job = await self.job(notice.job)
            self._tell(job.user, notice.event, job)
            await _apart(self._asking_store, self._store.told, notice)

    async def _prune(self) -> None:
        await asyncio.to_thread(self._packages.remove_unused, await self.packages(), KEPT_UNUSED)


async def _in(threads: Executor, ask: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Ask in one of these threads."""
    return await asyncio.get_running_loop().run_in_executor(threads, partial(ask, *args, **options))


async def _apart(threads: Executor, ask: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Ask the store, in its threads."""
    try:
        return await _in(threads, ask, *args, **options)
    except AwayError:
        raise unavailable(DATABASE) from None
    except NewerError as error:
        raise RefusedError(503, "newer_database", str(error), remedy="Start the newer version.") from None
