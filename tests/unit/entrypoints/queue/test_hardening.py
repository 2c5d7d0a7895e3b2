"""What users send, and what goes wrong beside the loop, does no harm."""

import asyncio
import os
import time
import tracemalloc
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts.queue import Channel, JobView, QueueSettings, Submission
from entrypoints.queue import notify
from entrypoints.queue.api import LARGEST_BODY, Service, add_routes
from entrypoints.queue.packages import Packages
from entrypoints.queue.queue import Queue
from entrypoints.queue.ray_jobs import RayCluster
from entrypoints.queue.service import RayQueue
from entrypoints.queue.starter import Starter
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Act, Outcome, Phase, Record

MIB = 2**20
SHA256 = "a" * 64


class NotToBeAsked:
    """A queue that no request may reach."""

    def __getattr__(self, name: str):
        raise AssertionError(f"{name} was asked for")


@pytest.fixture
def client(tmp_path) -> TestClient:
    application = FastAPI()
    packages = Packages(tmp_path, MIB)
    application.state.service = Service(stack="dev", token="t", queue=cast("Queue", NotToBeAsked()), packages=packages)
    add_routes(application)
    headers = {"Authorization": "Bearer t", "X-CSLR-User": "ana"}
    return TestClient(application, headers=headers, raise_server_exceptions=False)


@pytest.mark.parametrize("path", ["/jobs/%00", "/jobs/a%00/logs", "/jobs?user=%00", "/jobs?project=%00"])
def test_a_nul_is_refused_before_the_database_refuses_it(client, path):
    answer = client.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_a_length_does_not_hide_a_body_without_one(client):
    body = (b" " * MIB for _ in range(LARGEST_BODY // MIB + 1))
    answer = client.post("/api/v1/jobs", content=body, headers={"Content-Length": "2", "Transfer-Encoding": "chunked"})
    assert answer.status_code == 411


def test_a_package_is_sent_in_parts(tmp_path, monkeypatch):
    file = tmp_path / "package.zip"
    with file.open("wb") as made:
        made.truncate(64 * MIB)
    sent = []

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                parts = cast("httpx.SyncByteStream", request.stream)
                sent.append((request.headers["content-length"], sum(map(len, parts))))
            return httpx.Response(404 if request.method == "GET" else 200)

    ray = RayCluster(("head:1",), "token")
    monkeypatch.setattr(ray, "_client", httpx.Client(transport=Transport()))
    starter = Starter(ray, checkpoints="/c", tracking_uri=None, package=lambda _: file, clock=time.time)
    submission = Submission(entrypoint="true", package=SHA256)
    record = Record(id="17", phase=Phase.STARTING, attempt=1)
    job = Job(record=record, user="ana", submission=submission, submitted=0.0, queued=0.0, nodes=("gpu",))
    tracemalloc.start()
    try:
        starter.act(Act.SUBMIT, job, {"gpu": "n1"})
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent == [(str(64 * MIB), 64 * MIB)]
    assert most < 16 * MIB


def test_an_upload_that_ends_while_packages_are_removed_hinders_nothing(tmp_path, monkeypatch):
    packages = Packages(tmp_path, MIB)
    old = tmp_path / f"{SHA256}.zip"
    old.touch()
    os.utime(old, (0, 0))
    listed = [tmp_path / "ended.part", old]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    packages.remove_unused(set(), 60.0)
    assert not old.exists()


def test_a_package_that_is_removed_at_this_moment_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: True)  # it was, a moment ago
    assert not Packages(tmp_path, MIB).has(SHA256)


def test_what_is_done_again_and_again_outlives_a_failure():
    said: list[str] = []
    queue = cast("RayQueue", SimpleNamespace(_say=said.append))
    calls = 0

    async def _tell_all() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("odd")

    async def run() -> None:
        task = asyncio.create_task(RayQueue._again(queue, _tell_all, 0.0))
        while calls < 2 and not task.done():
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    assert calls == 2
    assert said == ["tell all failed: ValueError: odd"]


def view_of(name: str | None, entrypoint: str = "true") -> JobView:
    return JobView(
        id="17", user="ana", submission=Submission(entrypoint=entrypoint, name=name), state="ended", outcome="failed",
        submitted=0.0, started=1.0, ended=2.0, why=None, expected=None, message=None,
    )  # fmt: skip


def test_a_jobs_name_adds_no_header_to_a_mail(monkeypatch):
    sent: list[EmailMessage] = []
    server = SimpleNamespace(ehlo=lambda: None, has_extn=lambda _: False, send_message=sent.append)

    class Server:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> SimpleNamespace:
            return server

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("smtplib.SMTP", Server)
    message = notify.Message(
        channel=Channel(kind="mail", target="ana@example.org"), user="ana", event="failed", stack="dev",
        job=view_of("=?utf-8?q?a=0AReply-To:_b@example.net?="), written=time.time(),
    )  # fmt: skip
    settings = QueueSettings(stack="dev", database="", dashboards=(), smtp="smtp:25", mail_from="cslr@example.org")
    notify.deliver(message, settings, {})
    assert b"\nReply-To" not in sent[0].as_bytes()


def test_a_command_gives_no_orders_to_others_terminals():
    assert view_of(None, "python\n\x1b]0;owned\x07 train.py").submission.title == "python ]0;owned train.py"


def test_a_job_does_not_end_before_it_started():
    record = Record(id="17", phase=Phase.RUNNING, attempt=1)
    job = Job(
        record=record, user="ana", submission=Submission(entrypoint="true"), submitted=0.0, queued=0.0, started=9.0
    )
    ended = Record(id="17", phase=Phase.ENDED, attempt=1, outcome=Outcome.SUCCEEDED, version=1)
    assert job.follows(ended, 8.0).ended == 9.0  # Ray's head has a clock of its own
