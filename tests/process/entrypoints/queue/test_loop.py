"""No job is lost and none runs twice at once: killed anywhere, two services, Postgres away, Ray away."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from entrypoints.queue.store import AwayError, Store
from scheduling.lifecycle import Outcome
from testing.postgres_server import PASSWORD, Postgres
from testing.ray_jobs_api import FakeRay
from tests.process.entrypoints.queue.services import Parts, new_job, parts, serve, settings_of, turn_until

LONGEST = 60.0  # seconds, of one process
JOBS = {
    "plain": "looks:2",
    "lost": "looks:2 lost:1",  # the first attempt's node goes down
    "cancelled": "",  # and runs until then
}
EXPECTED = {"plain": (Outcome.SUCCEEDED, 1), "lost": (Outcome.SUCCEEDED, 2), "cancelled": (Outcome.CANCELLED, 1)}
MOST_STEPS = 100


@pytest.fixture(scope="module")
def fork():
    """Processes that have imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.process.entrypoints.queue.services"])
    return context


def outcomes(store: Store) -> dict[str, tuple[Outcome | None, int]]:
    found = {}
    for name in JOBS:
        job = store.job(name)
        assert job
        found[name] = (job.record.outcome, job.record.attempt)
    return found


def test_killed_at_each_step(fork, database: Postgres, ray: FakeRay):
    settings = settings_of(database.database, ray.address)
    kills = 0
    for step in range(MOST_STEPS):
        with psycopg.connect(database.database, password=PASSWORD, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        ray.jobs.clear()
        service = parts(settings)
        for name, command in JOBS.items():
            service.store.add(new_job(name, command))
        statuses = []
        for kill_at in (step, None):
            process = fork.Process(target=serve, args=(settings, "cancelled", kill_at))
            process.start()
            process.join(LONGEST)
            assert process.exitcode is not None, f"it hangs after step {step}"
            statuses.append(process.exitcode)
        assert ray.faults == [], f"killed at step {step}"
        assert outcomes(service.store) == EXPECTED, f"killed at step {step}"
        for name, (outcome, tries) in EXPECTED.items():  # a cancellation may come before the attempt began
            assert len(ray.attempts(name)) in ((0, 1) if outcome is Outcome.CANCELLED else (tries,)), name
        attempts = service.store.attempts(list(JOBS))
        assert {name: len(attempts[name]) for name in JOBS} == {name: tries for name, (_, tries) in EXPECTED.items()}
        assert all(each.ended is not None for entries in attempts.values() for each in entries)
        assert len(service.store.notices()) == 2, "each end is told once, a cancellation not at all"
        service.close()
        assert statuses[1] == 0
        if statuses[0] == 0:
            break
        assert statuses[0] == -signal.SIGKILL
        kills += 1
    assert 15 < kills < MOST_STEPS, "it was killed at each step, and the last run had none left"


def test_two_services_of_which_one_waits(database: Postgres, ray: FakeRay):
    first, second = (parts(settings_of(database.database, ray.address)) for _ in range(2))
    first.store.add(new_job("a", "looks:1000"))
    turn_until(first, lambda: bool(ray.attempts("a")))
    second.loop.turn()
    assert not second.store.decides()
    assert second.loop.picture.ray_message == "Another service of this queue decides."
    first.store.close()
    until = time.monotonic() + LONGEST
    while not second.store.decides() and time.monotonic() < until:  # Postgres takes a moment to notice
        time.sleep(0.05)
    assert second.store.decides()
    assert not first.store.decides()
    for service in (first, second):
        service.close()


def test_two_services_that_both_decide(database: Postgres, ray: FakeRay, monkeypatch: pytest.MonkeyPatch):
    """As if the lock had failed: the versions alone keep them apart."""
    services = [parts(settings_of(database.database, ray.address)) for _ in range(2)]
    names = [f"job{number}" for number in range(12)]
    for name in names:
        services[0].store.add(new_job(name, "looks:3 lost:1"))

    def work(service: Parts) -> None:
        turn_until(service, lambda: not service.store.unended())

    for service in services:
        monkeypatch.setattr(service.store, "decides", lambda: True)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, service) for service in services]:
            done.result(LONGEST)
    assert ray.faults == []
    found = [services[0].store.job(name) for name in names]
    assert [(job.record.outcome, job.record.attempt) for job in found if job] == [(Outcome.SUCCEEDED, 2)] * len(names)
    assert all(len(ray.attempts(name)) == 2 for name in names)
    for service in services:
        service.close()


def test_postgres_away(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "looks:3"))
    service.store.add(new_job("b", "looks:3", cpus=4.0))
    turn_until(service, lambda: bool(ray.attempts("a")))
    database.stop()
    try:
        for _ in range(3):
            with pytest.raises(AwayError):
                service.loop.turn()
    finally:
        database.start()
    turn_until(service, lambda: not service.store.unended())
    assert (len(ray.attempts("a")), len(ray.attempts("b")), ray.faults) == (1, 1, [])
    service.close()


def test_the_thread_outlives_postgres(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "looks:3"))
    thread = threading.Thread(target=service.loop.run)
    database.stop()
    try:
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
    finally:
        database.start()
    until = time.monotonic() + LONGEST
    watcher = parts(settings_of(database.database, ray.address))
    while watcher.store.unended() and time.monotonic() < until:
        service.loop.wake()
        time.sleep(0.05)
    service.loop.stop()
    thread.join(LONGEST)
    assert not watcher.store.unended()
    for each in (service, watcher):
        each.close()


def test_ray_away(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "looks:4", cpus=4.0))
    service.store.add(new_job("b", "looks:2", cpus=4.0))
    turn_until(service, lambda: bool(ray.attempts("a")))
    ray.away = True
    for _ in range(3):
        service.loop.turn()
    assert "does not answer" in str(service.loop.picture.ray_message)
    assert service.store.unended()["a"].holds
    ray.away = False
    turn_until(service, lambda: not service.store.unended())
    assert service.loop.picture.ray_message is None
    assert (len(ray.attempts("a")), len(ray.attempts("b")), ray.faults) == (1, 1, [])
    service.close()


def test_a_time_limit(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "", time_limit=0.2))
    turn_until(service, lambda: bool(ray.attempts("a")))
    time.sleep(0.2)
    turn_until(service, lambda: not service.store.unended())
    job = service.store.job("a")
    assert job
    assert job.record.outcome is Outcome.OVER_TIME
    assert service.store.attempts(["a"])["a"][0].why_ended == "it reached its time limit"
    service.close()


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_is_set_ends_no_job(database: Postgres, ray: FakeRay, jump: float):
    """Neither one that runs with a limit, nor one that Ray did not know for a moment; both still end in time."""
    ahead = [0.0]
    service = parts(settings_of(database.database, ray.address), clock=lambda: time.time() + ahead[0])
    jobs_sent: dict[str, dict[str, Any]] = {"limited": {"time_limit": 600.0}, "missing": {}, "waits": {"cpus": 4.0}}
    for name, asked in jobs_sent.items():
        service.store.add(new_job(name, "", **asked))
    turn_until(service, lambda: all(ray.attempts(name) for name in ("limited", "missing")))
    service.loop.turn()
    away = ray.jobs.pop("queue-missing-1")
    turn_until(service, lambda: service.store.unended()["missing"].record.missing_since is not None)
    ahead[0] = jump
    for _ in range(3):
        service.loop.turn()
    jobs = service.store.unended()
    assert all(job.record.cause is None and job.record.attempt <= 1 for job in jobs.values())
    now = time.time() + jump
    for moment in (jobs["limited"].begun, jobs["missing"].record.missing_since, jobs["waits"].queued):
        assert moment is not None
        assert now - 120.0 < moment <= now + 1.0
    ray.jobs["queue-missing-1"] = away
    turn_until(service, lambda: service.store.unended()["missing"].record.missing_since is None)
    assert ray.faults == []
    service.close()


def test_work_past_the_queue_counts_as_taken(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    ray.answer("POST", "/api/jobs/", {"submission_id": "own", "entrypoint": "", "entrypoint_num_cpus": 3.0,
                                      "metadata": {"cslr.queue.job": "none"}})  # fmt: skip
    service.store.add(new_job("a", "looks:2", cpus=2.0))
    for _ in range(3):
        service.loop.turn()
    assert not ray.attempts("a")
    ray.answer("POST", "/api/jobs/own/stop", None)
    turn_until(service, lambda: bool(ray.attempts("a")))
    service.close()


def test_what_waits_in_ray_for_a_node_that_is_gone_starts_again(database: Postgres, ray: FakeRay):
    service = parts(settings_of(database.database, ray.address))
    service.store.add(new_job("a", "begins:PENDING"))
    turn_until(service, lambda: bool(ray.attempts("a")))
    ray.node = "another"
    ray.attempts("a")[0].body["metadata"]["cslr.queue.job"] = "gone"  # it cannot begin any more
    turn_until(service, lambda: bool(ray.attempts("a")))
    assert service.store.attempts(["a"])["a"][0].why_ended == "it was lost with its node"
    assert "queue-a-2" in ray.jobs
    service.close()
