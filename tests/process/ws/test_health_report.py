"""How `ws` reads the health service's report."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.status import RayStatus, Status
from ws.services import HealthReport, ask_health

RAY = RayStatus(head=None, nodes=(), latency_ms=None)
STATUS = Status(time="2026-01-01T00:00:00Z", stack="dev", services=(), ray=RAY)


class TestAnswer:
    @pytest.fixture
    def served(self) -> Iterator[tuple[str, dict[str, Any]]]:
        answer: dict[str, Any] = {"body": b""}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer["body"])

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}", answer
            server.shutdown()

    def test_a_report_is_read(self, served):
        url, answer = served
        answer["body"] = STATUS.to_json().encode()
        assert ask_health(url) == HealthReport(status=STATUS)

    def test_one_of_an_older_platform_is_named_as_such(self, served):
        url, answer = served
        answer["body"] = json.dumps({"state": "healthy", "services": [], "ray": {"head": None}}).encode()
        found = ask_health(url)
        assert found.status is None
        assert "deployed by another version of the platform" in found.problem
        assert "`ws up` replaces it" in found.problem

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"null", b"<html>", b'{"schema_version": 1, "services": 1, "ray": 1}']
    )
    def test_anything_else_is_a_problem_and_not_a_crash(self, served, body):
        url, answer = served
        answer["body"] = body
        found = ask_health(url)
        assert found.status is None
        assert found.problem

    def test_no_answer_is_a_problem_with_the_address(self):
        found = ask_health("http://127.0.0.1:1")
        assert found.status is None
        assert found.problem.startswith("the health service at http://127.0.0.1:1 does not answer")
