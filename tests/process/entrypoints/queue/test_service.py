"""What the REST API asks of the queue, over a real Postgres."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contracts.queue import QueueUser, Submission
from entrypoints.queue.failures import RefusedError
from entrypoints.queue.packages import Packages
from entrypoints.queue.schema import MIGRATIONS
from entrypoints.queue.service import RayQueue
from entrypoints.queue.store import NewerError, Store, migrate
from testing.postgres_server import PASSWORD, Postgres
from testing.ray_jobs_api import TOKEN, FakeRay
from tests.process.entrypoints.queue.services import new_job, parts, settings_of, turn_until

SECONDS = 60.0


@asynccontextmanager
async def queue(
    database: Postgres, ray: FakeRay, folder: Path, told: list[tuple[str, str, str]], **changes: Any
) -> AsyncIterator[RayQueue]:
    """A whole service."""
    queue = RayQueue(
        settings_of(database.database, ray.address, **changes), token=TOKEN, database_password=PASSWORD,
        packages=Packages(folder / "packages", 1000),
        tell=lambda user, event, job: told.append((user, event, job.id)), say=lambda message: None,
    )  # fmt: skip
    async with queue.running():
        yield queue


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + SECONDS
    while not await ready():
        assert time.monotonic() < end, "it is not so in time"
        await asyncio.sleep(0.05)


def test_a_jobs_life(database: Postgres, ray: FakeRay, tmp_path: Path):
    told: list[tuple[str, str, str]] = []

    async def life() -> None:
        async with queue(database, ray, tmp_path, told) as jobs:
            submission = Submission(id="a", entrypoint="looks:2 ends:FAILED", project="p")
            view, new = await jobs.submit("ana", submission)
            assert (view.state, new) == ("waiting", True)
            assert (await jobs.submit("ana", submission))[1] is False
            for user, other in (("bo", submission), ("ana", Submission(id="a", entrypoint="true"))):
                with pytest.raises(RefusedError) as refused:
                    await jobs.submit(user, other)
                assert refused.value.code == "id_taken"

            async def ended() -> bool:
                return (await jobs.job("a")).state == "ended"

            await until(ended)
            first = await jobs.job("a")
            assert (first.outcome, first.message, len(first.attempts)) == ("failed", "It is so.", 1)
            log = await jobs.log("a", start=-5)
            assert (log.text, log.complete) == ("ILED\n", True)
            (row,) = await jobs.usage("project", 0.0, time.time())
            assert (row.name, row.failed) == ("p", 1)
            assert (await jobs.retry("a")).state == "waiting"
            with pytest.raises(RefusedError, match="has not ended"):
                await jobs.retry("a")
            await until(ended)
            assert [each.submission for each in (await jobs.job("a")).attempts] == ["queue-a-1", "queue-a-2"]
            with pytest.raises(RefusedError) as refused:
                await jobs.log("a", attempt=7)
            assert refused.value.code == "no_such_attempt"
            with pytest.raises(RefusedError) as refused:
                await jobs.cancel("b")
            assert refused.value.code == "no_such_job"

            async def heard() -> bool:
                return len(told) == 2

            await until(heard)

    asyncio.run(life())
    assert told == [("ana", "failed", "a")] * 2


def test_who_runs_and_who_waits(database: Postgres, ray: FakeRay, tmp_path: Path):
    told: list[tuple[str, str, str]] = []

    async def look() -> None:
        async with queue(database, ray, tmp_path, told, long_wait=0.0) as jobs:
            for name, user in (("a", "ana"), ("c", "bo"), ("b", "ana")):
                await jobs.submit(user, Submission(id=name, entrypoint="", cpus=3.0))

                async def seen() -> bool:
                    return bool((await jobs.view()).running)

                await until(seen)

            async def decided() -> bool:
                return "first in line" in str((await jobs.job("c")).why)

            await until(decided)
            view = await jobs.view()
            assert [job.id for job in view.running] == ["a"]
            assert [job.id for job in view.waiting] == ["c", "b"]
            assert [(user.name, user.running, user.waiting, user.entitled) for user in view.users] == [
                ("ana", 1, 1, 0.5),
                ("bo", 0, 1, 0.5),
            ]
            assert view.nodes[0].by_queue == {"CPU": 3.0}
            assert [job.id for job in await jobs.jobs(user="ana", states=("running", "starting"))] == ["a"]
            assert (await jobs.cancel("b")).outcome == "cancelled"

            async def heard() -> bool:
                return {("bo", "waiting long", "c"), ("ana", "waiting long", "b")} <= {*told}

            await until(heard)
            database.stop()
            try:
                for ask in (jobs.view(), jobs.job("a"), jobs.submit("bo", Submission(id="d", entrypoint=""))):
                    with pytest.raises(RefusedError) as refused:
                        await ask
                    assert refused.value.status == 503
            finally:
                database.start()
            await jobs.cancel("a")

            async def next_one() -> bool:
                return [job.id for job in (await jobs.view()).running] == ["c"]

            await until(next_one)

    asyncio.run(look())
    assert ray.faults == []


def test_only_so_many_jobs_wait(database: Postgres, ray: FakeRay, tmp_path: Path):
    async def fill() -> None:
        async with queue(database, ray, tmp_path, [], waiting_per_user=2, waiting=3, jobs_per_user=0) as jobs:

            async def sent(user: str, name: str) -> str:
                try:
                    await jobs.submit(user, Submission(id=name, entrypoint=""))
                except RefusedError as error:
                    return f"{error.status} {error} {error.remedy}"
                return ""

            assert [await sent("ana", name) for name in ("a", "b", "a")] == ["", "", ""], "one that is known is not new"
            assert "429 2 jobs of ana wait already" in (said := await sent("ana", "c"))
            assert "queue.waiting_per_user" in said
            answers = await asyncio.gather(*(sent("bo", name) for name in ("d", "e", "f", "g")))
            assert sorted(map(bool, answers)) == [False, True, True, True], "four at once"
            assert "3 jobs wait already" in await sent("cy", "h")
            assert (await jobs.cancel("a")).outcome == "cancelled"
            assert await sent("ana", "c") == ""
            with pytest.raises(RefusedError, match="2 jobs of ana wait already"):
                await jobs.retry("a")

    asyncio.run(fill())


def test_a_user_has_one_spelling(database: Postgres, ray: FakeRay, tmp_path: Path):
    """Another would be a second share."""

    async def submit() -> None:
        users = {"Cy": QueueUser()}
        async with queue(database, ray, tmp_path, [], users=users, jobs_per_user=0) as jobs:

            async def sent(user: str) -> str:
                try:
                    await jobs.submit(user, Submission(id=secrets.token_hex(4), entrypoint=""))
                except RefusedError as error:
                    return f"{error.code} {error.remedy}"
                return ""

            assert await sent("ana") == ""
            assert await sent("Ana") == "other_case Submit as the user that it knows: --user ana"
            assert await sent("ana2") == ""
            assert await sent("cy") == "other_case Submit as the user that it knows: --user Cy", "the stack's settings"
            assert await sent("Cy") == ""

    asyncio.run(submit())


def test_tables_of_before_are_taken_over(database: Postgres):
    """What ran then has begun; what was starting has not."""
    jobs = (("a", "running", 5.0), ("b", "starting", 6.0), ("c", "waiting", None))
    with psycopg.connect(
        database.database, password=PASSWORD, autocommit=True, row_factory=psycopg.rows.dict_row
    ) as connection:
        migrate(connection, MIGRATIONS[:1])
        for name, phase, started in jobs:
            connection.execute(
                "INSERT INTO jobs VALUES (%s, 'ana', '{\"entrypoint\": \"true\"}', 1, 1, %s, 1, 0, NULL, NULL, NULL, 1,"
                " '{gpu}', false, %s, NULL, NULL, false)",
                (name, phase, started),
            )
        migrate(connection)
    store = Store(database.database, PASSWORD, half_life=1.0, weigh=lambda _: 1.0)
    assert {name: job.begun for name, job in store.unended().items()} == {"a": 5.0, "b": None, "c": None}
    store.close()


def test_migrations_are_applied_once_and_newer_ones_refused(database: Postgres):
    with psycopg.connect(
        database.database, password=PASSWORD, autocommit=True, row_factory=psycopg.rows.dict_row
    ) as connection:
        for _ in range(2):
            migrate(connection)
        migrate(connection, [*MIGRATIONS, "CREATE TABLE later ()"])
        with pytest.raises(NewerError, match=f"of version {len(MIGRATIONS) + 1}; this service knows {len(MIGRATIONS)}"):
            migrate(connection)


def test_a_user_is_charged_once_for_an_attempt(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "looks:2", gpus=0.0))
    turn_until(service, lambda: not service.store.unended())
    (attempt,) = service.store.attempts(["a"])["a"]
    assert attempt.ended
    charged = service.store.users()["ana"].account.value
    assert charged == pytest.approx((attempt.ended - attempt.started) / 3600.0, rel=1e-3)
    service.close()
