"""The checks of the cluster test against servers on the loopback: what passes, what fails, and in which words."""

import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contracts.cluster_test import ClusterTestSettings, Door
from contracts.document import SETTINGS_VARIABLE, dump
from entrypoints import cluster_test
from entrypoints.verify_cluster import CheckFailed, NotYet
from testing.harness import PROJECT
from verification.report import Report

HOST = "127.0.0.1"


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def guarded(*, with_token: int = 200, without: int = 401) -> http.server.ThreadingHTTPServer:
    """A server whose answer depends on the token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(with_token if self.headers.get("Authorization") == "Bearer right" else without)
            self.end_headers()
            self.wfile.write(json.dumps({"ray_version": "2.60.0", "version": "0.25.2"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    return http.server.ThreadingHTTPServer((HOST, 0), Handler)


def saying(answer: bytes) -> socketserver.TCPServer:
    """A server that gives one answer to whatever is asked."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(answer)

    return socketserver.TCPServer((HOST, 0), Handler)


@pytest.fixture
def shut() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("right\n")
    return path


def door(port: int, why: str = "") -> Door:
    return Door(service="mlflow", host=HOST, port=port, why=why)


class TestPorts:
    def test_an_open_one_that_is_published_passes(self):
        with serving(guarded()) as port:
            found = cluster_test.published_ports(ClusterTestSettings(open=(door(port),)))
        assert found == f"mlflow at 127.0.0.1:{port}"

    def test_a_shut_one_that_is_published_is_named(self, shut):
        with pytest.raises(NotYet, match=f"mlflow at 127.0.0.1:{shut} does not answer: does a firewall"):
            cluster_test.published_ports(ClusterTestSettings(open=(door(shut),)))

    def test_an_open_one_that_is_not_published_fails_with_what_it_means(self, shut):
        with serving(guarded()) as port:
            settings = ClusterTestSettings(closed=(door(shut, "no"), door(port, "no firewall stands before it")))
            with pytest.raises(CheckFailed, match=f"127.0.0.1:{port} answers: no firewall stands before it$"):
                cluster_test.other_ports(settings)

    def test_shut_ones_pass(self, shut):
        assert cluster_test.other_ports(ClusterTestSettings(closed=(door(shut),))).startswith("1 ports at 127.0.0.1")


class TestTokens:
    @pytest.mark.parametrize("check", [cluster_test.dashboard, cluster_test.marimo])
    def test_a_service_that_asks_for_its_token_passes(self, check, token):
        with serving(guarded()) as port:
            url = f"http://{HOST}:{port}"
            found = check(ClusterTestSettings(dashboard=url, marimo=url, ray_token=token, marimo_token=token))
        assert "refuses requests without the token" in found

    @pytest.mark.parametrize("check", [cluster_test.dashboard, cluster_test.marimo])
    def test_a_service_that_does_not_ask_fails(self, check, token):
        with serving(guarded(without=200)) as port:
            url = f"http://{HOST}:{port}"
            settings = ClusterTestSettings(dashboard=url, marimo=url, ray_token=token, marimo_token=token)
            with pytest.raises(CheckFailed, match="anyone who reaches it can run code there"):
                check(settings)

    def test_a_token_that_is_refused_fails(self, token):
        with serving(guarded(with_token=401)) as port:
            settings = ClusterTestSettings(marimo=f"http://{HOST}:{port}", marimo_token=token)
            with pytest.raises(NotYet, match="answered 401 to the stack's own token"):
                cluster_test.marimo(settings)

    @pytest.mark.parametrize("answer", [b"-NOAUTH Authentication required.\r\n", b"-NOPERM no\r\n"])
    def test_redis_that_asks_for_its_password_passes(self, answer):
        with serving(saying(answer)) as port:
            assert "refuses" in cluster_test.redis(ClusterTestSettings(redis=door(port)))

    def test_redis_that_answers_anybody_fails(self):
        with serving(saying(b"*0\r\n")) as port, pytest.raises(CheckFailed, match="without a password"):
            cluster_test.redis(ClusterTestSettings(redis=door(port)))


class TestOrder:
    def test_a_refusal_proves_nothing_where_nobody_is_let_in(self):
        check = next(one for one in cluster_test.CHECKS if one.name == "ray_client_without_token")
        found = cluster_test.outcome_of(ClusterTestSettings(ray_client="ray://127.0.0.1:1"), check, ["ray_client"])
        assert (found.result, found.detail) == ("skip", "not run, because ray_client did not pass")


class TestProgram:
    def run(self, document: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, SETTINGS_VARIABLE: document}
        command = [sys.executable, "-m", "entrypoints.cluster_test"]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    def test_reports_each_check_and_ends_with_0_where_none_failed(self):
        skipped = {check.name: "not here" for check in cluster_test.CHECKS}
        done = self.run(dump(ClusterTestSettings(skipped=skipped)))
        assert done.returncode == 0, done.stderr
        report = Report.model_validate_json(done.stdout)
        assert [check.name for check in report.checks] == list(skipped)
        assert {check.result for check in report.checks} == {"skip"}
        assert "verify: skip mlflow (0.0 s): not here" in done.stderr

    def test_ends_with_1_where_one_failed(self):
        skipped = {check.name: "not here" for check in cluster_test.CHECKS if check.name != "other_ports"}
        with serving(guarded()) as port:
            done = self.run(dump(ClusterTestSettings(skipped=skipped, closed=(door(port, "it must not"),))))
        assert done.returncode == 1
        assert [check.name for check in Report.model_validate_json(done.stdout).failures] == ["other_ports"]

    def test_without_settings_says_so(self):
        done = self.run("")
        assert (done.returncode, done.stdout) == (2, "")
        assert "CSLR_SETTINGS is not set" in done.stderr
