"""Logs of any size and content are read in parts, and what goes wrong with one does not come back as text."""

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from contracts.queue import Attempt, Channel, JobView, Log, QueueSettings, QueueUser, Submission
from entrypoints.queue import notify
from entrypoints.queue.packages import Packages
from entrypoints.queue.ray_jobs import LogPart, RayAwayError, RayCluster, log_part
from entrypoints.queue.service import RayQueue
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Record
from ws.queue.client import QueueClient, RefusalError
from ws.queue.following import Follower

MIB = 2**20
JOB = {"status": "RUNNING", "driver_node_id": "n1"}


def ray(monkeypatch: pytest.MonkeyPatch, chunks: list[bytes], *, status: int = 200, job: Any = JOB) -> RayCluster:
    """A cluster with one job, whose log comes in these chunks."""

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(chunks)

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith("/api/jobs/"):
                return httpx.Response(200, json=job)
            return httpx.Response(status, stream=Stream())

    made = RayCluster(("head:1",), "token")
    monkeypatch.setattr(made, "_client", httpx.Client(transport=Transport()))
    return made


@pytest.mark.parametrize(
    ("start", "most", "expected"),
    [
        (0, 4, ("0123", 0, True)),
        (2, 5, ("23456", 2, True)),
        (4, 6, ("456789", 4, False)),
        (8, 9, ("89", 8, False)),
        (10, 9, ("", 10, False)),
        (99, 9, ("", 10, False)),
    ],
)
def test_a_part_of_a_log(start, most, expected):
    part = log_part(["012", "", "34567", "89"], start, most)
    assert (part.text, part.start, part.more) == expected


def test_a_negative_start_counts_from_the_end(monkeypatch):
    found = ray(monkeypatch, [b"one ", b"two"])
    assert found.log("queue-17-1", -5, 9) == LogPart(start=2, text="e two", more=False)
    assert found.log("queue-17-1", -50, 3) == LogPart(start=0, text="one", more=True)


def test_what_is_no_text_does_not_hide_the_rest(monkeypatch):
    half, other = "ä".encode()[:1], "ä".encode()[1:]
    part = ray(monkeypatch, [b"a" + half, other + b"\xff b"]).log("queue-17-1", 0, 9)
    assert part == LogPart(start=0, text="aä\ufffd b", more=False)


def test_a_log_may_be_larger_than_the_memory(monkeypatch):
    found = ray(monkeypatch, [b"x" * MIB] * 64)
    tracemalloc.start()
    try:
        part = found.log("queue-17-1", -10, MIB)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part == LogPart(start=64 * MIB - 10, text="x" * 10, more=False)
    assert most < 16 * MIB


def test_a_log_on_a_node_that_is_gone_is_gone_and_any_other_failure_is_rays(monkeypatch):
    gone = b"Agent for node id: n1 doesn't exist."
    assert ray(monkeypatch, [gone], status=500).log("queue-17-1", 0, 9) is None
    with pytest.raises(RayAwayError, match="answered 500: GCS is away"):
        ray(monkeypatch, [b"GCS is away"], status=500).log("queue-17-1", 0, 9)


def test_one_that_has_not_begun_printed_nothing(monkeypatch):
    found = ray(monkeypatch, [b"of another"], job={"status": "PENDING", "driver_node_id": None})
    assert found.log("queue-17-1", 0, 9) == LogPart(start=0, text="", more=False)


def view(name: str = "17") -> JobView:
    attempt = Attempt(number=1, submission="queue-17-1", nodes=("gpu",), started=1.0)
    return JobView(
        id=name, user="ana", submission=Submission(entrypoint="true"), state="running", outcome=None, submitted=0.0,
        started=1.0, ended=None, why=None, expected=None, message=None, attempts=(attempt,),
    )  # fmt: skip


def test_a_slow_ray_does_not_hold_up_the_store(tmp_path: Path, monkeypatch):
    settings = QueueSettings(stack="dev", database="", dashboards=("head:1",))
    packages = Packages(tmp_path, MIB)
    queue = RayQueue(settings, token="t", database_password="p", packages=packages, tell=lambda *_: None)
    job = Job(record=Record(id="17"), user="ana", submission=Submission(entrypoint="true"), submitted=0.0, queued=0.0)
    answers = threading.Event()

    def log(*_: object) -> LogPart:
        answers.wait(60)
        return LogPart(start=0, text="", more=False)

    monkeypatch.setattr(queue, "_ray", SimpleNamespace(log=log))
    store = SimpleNamespace(job=lambda _: job, attempts=lambda _: {"17": list(view().attempts)})
    monkeypatch.setattr(queue, "_store", store)

    async def run() -> None:
        logs = [asyncio.create_task(queue.log("17")) for _ in range(100)]
        await asyncio.sleep(0)
        for _ in range(5):
            assert (await asyncio.wait_for(queue.job("17"), 30)).id == "17"
        assert not any(task.done() for task in logs)
        answers.set()
        await asyncio.gather(*logs)

    asyncio.run(run())


def test_a_log_that_comes_back_is_printed_from_its_beginning():
    """Such as that of a node which was away."""
    written: list[str] = []
    noted: list[str] = []

    class Client:
        gone = True

        def log(self, name: str, attempt: int, start: int) -> Log:
            if self.gone:
                raise RefusalError("log_gone", "It is gone.\n  A remedy.")
            return Log(attempt=attempt, start=start, text="whole"[start:], complete=False)

    client = Client()
    follower = Follower(cast("QueueClient", client), "17", written.append, noted.append)
    for _ in range(3):
        follower.logs_of(view())
    client.gone = False
    follower.logs_of(view())
    assert ("".join(written), noted) == ("whole", ["It is gone."])


def test_a_message_that_is_no_text_and_a_server_that_answers_oddly_hinder_no_other(tmp_path: Path, monkeypatch):
    said: list[str] = []
    delivered: list[str] = []
    channel = Channel(kind="webhook", target="HOOK", events=("failed",))
    users = {name: QueueUser(tell=(channel,)) for name in ("ana", "bo")}
    settings = QueueSettings(stack="dev", database="", dashboards=(), users=users)

    def deliver(message: notify.Message, *_: object) -> None:
        if message.user == "ana":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")
        delivered.append(message.user)

    monkeypatch.setattr(notify, "deliver", deliver)

    async def run() -> None:
        notifier = notify.Notifier(settings, tmp_path, said.append, {})
        (tmp_path / "0.json").write_bytes(b"\xff")
        notifier.tell("ana", "failed", view())
        async with notifier.running():
            until = time.monotonic() + 30
            while not said[1:] and time.monotonic() < until:
                await asyncio.sleep(0.01)
            notifier.tell("bo", "failed", view("18"))
            while list(tmp_path.glob("18*")) and time.monotonic() < until:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert delivered == ["bo"]
    assert [path.name for path in tmp_path.iterdir()] == ["17-1-failed-0.json"], "that one is tried again"
