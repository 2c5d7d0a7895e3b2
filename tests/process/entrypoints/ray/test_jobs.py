"""Jobs that ended with an earlier head: the head's agent is asked to fail them, once, when the head answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from entrypoints.ray import jobs
from entrypoints.ray.jobs import Jobs, end_lost_jobs

WAKES = "/api/job_agent/jobs/none/logs"


class Head:
    """Answers of a head's dashboard and agent, on one port."""

    def __init__(self) -> None:
        self.codes: dict[str, list[int]] = {"/api/jobs/": [], WAKES: []}  # of the next answers
        self.jobs: list[Any] = []
        self.broken = False  # whether the next answer ends before its end
        self.asked: list[tuple[str, str]] = []

    def code(self, path: str) -> int:
        return self.codes[path].pop(0) if self.codes[path] else {"/api/jobs/": 200, WAKES: 404}[path]


@pytest.fixture
def head() -> Head:
    return Head()


@pytest.fixture
def port(head, monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(jobs, "WAKE_SECONDS", 0.01)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            head.asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps(head.jobs).encode()
            self.send_response(head.code(self.path))
            self.send_header("Content-Length", str(len(body) + head.broken))
            head.broken = False
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def job(status: str, submission: str | None = "raysubmit_x") -> dict[str, Any]:
    return {"submission_id": submission, "job_id": "01000000", "status": status}


def end_lost(port: int) -> None:
    end_lost_jobs(Jobs(lambda: f"127.0.0.1:{port}", "secret"), port, threading.Event())


@pytest.mark.parametrize("status", ["RUNNING", "PENDING"])
def test_a_job_that_may_be_lost_wakes_the_watch_of_jobs(head, port, status):
    head.jobs = [job("SUCCEEDED"), job(status)]
    end_lost(port)
    assert head.asked == [("/api/jobs/", "Bearer secret"), (WAKES, "Bearer secret")]


def test_without_one_nothing_is_woken(head, port):
    head.jobs = [job("SUCCEEDED"), job("FAILED"), job("RUNNING", None)]
    end_lost(port)
    assert [path for path, _ in head.asked] == ["/api/jobs/"]


def test_a_head_that_only_starts_is_asked_again(head, port):
    head.jobs = [job("RUNNING")]
    head.codes = {"/api/jobs/": [503, 503], WAKES: [500]}
    end_lost(port)
    assert [path for path, _ in head.asked] == [*["/api/jobs/"] * 3, WAKES, "/api/jobs/", WAKES]


def test_an_answer_that_breaks_off_is_asked_for_again(head, port):
    head.jobs = [job("RUNNING")]
    head.broken = True
    end_lost(port)
    assert [path for path, _ in head.asked] == ["/api/jobs/", "/api/jobs/", WAKES]


def test_a_head_that_has_ended_is_not_asked(head, port):
    ended = threading.Event()
    ended.set()
    end_lost_jobs(Jobs(lambda: f"127.0.0.1:{port}", ""), port, ended)
    assert head.asked == []
