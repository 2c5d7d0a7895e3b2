"""MLflow as browsers reach it: the check, against a server with MLflow's rules or without."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from testing.harness import deploy
from verification import published
from verification.spec import Published, VerificationSpec


@pytest.fixture
def server() -> Iterator[Any]:
    """Answers only the hosts and origins that a test sets; None: all."""
    rules = SimpleNamespace(hosts=None, origins=None, prefix="", paths=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(rules.hosts is None or self.headers["Host"] in rules.hosts)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            known = rules.hosts is None or self.headers["Host"] in rules.hosts
            self.answer(known and (rules.origins is None or self.headers["Origin"] in rules.origins))

        def answer(self, allowed: bool) -> None:
            rules.paths.append(self.path)
            self.send_response(404 if not self.path.startswith(rules.prefix) else 200 if allowed else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    rules.port = http.server_address[1]
    yield rules
    http.shutdown()


def expected(server: Any, **more: Any) -> Published:
    here = f"http://127.0.0.1:{server.port}"
    values = {"origins": (here, "https://gpuhost.example.org"), "port": server.port, "container": "cslr-dev-mlflow"}
    return Published(**{**values, **more})


def obey(server: Any) -> None:
    server.hosts = {f"127.0.0.1:{server.port}", "gpuhost.example.org"}
    server.origins = {f"http://127.0.0.1:{server.port}", "https://gpuhost.example.org"}


class TestCheck:
    def test_passes_where_the_known_are_answered_and_others_refused(self, server):
        obey(server)
        found = published.check(expected(server))
        assert (found.result, found.container) == ("pass", "cslr-dev-mlflow")
        assert "gpuhost.example.org" in found.detail

    @pytest.mark.parametrize(
        ("break_it", "words"),
        [
            (lambda rules: rules.hosts.remove("gpuhost.example.org"), "the page by the name gpuhost.example.org"),
            (lambda rules: rules.origins.clear(), "a search from http://127.0.0.1:"),
            (lambda rules: setattr(rules, "hosts", None), "the page by the name 10.evil.example"),
            (lambda rules: setattr(rules, "origins", None), "a search from http://10.evil.example"),
        ],
    )
    def test_fails_with_the_first_that_is_otherwise(self, server, break_it, words):
        obey(server)
        break_it(server)
        found = published.check(expected(server))
        assert found.result == "fail"
        assert words in found.detail

    def test_knows_the_path_of_a_proxy(self, server):
        obey(server)
        server.prefix = "/mlflow"
        assert published.check(expected(server, prefix="/mlflow")).result == "pass"
        assert set(server.paths) == {"/mlflow/", "/mlflow/ajax-api/2.0/mlflow/runs/search"}

    def test_fails_where_nothing_answers(self, monkeypatch):
        monkeypatch.setattr(published, "SECONDS", 0.0)
        nobody = Published(origins=("http://127.0.0.1:9",), port=9, container="c")
        assert "not at all" in published.check(nobody).detail


class TestExpectation:
    def spec(self, settings: dict[str, Any], tmp_path: Any) -> Published | None:
        deployed = deploy(settings, state_home=tmp_path)
        return VerificationSpec.model_validate_json(deployed.verification_spec).mlflow_published

    def test_has_every_address_that_is_published(self, tmp_path):
        lan = {"network": {"bind_address": "203.0.113.7", "names": ["a.example"]}, "mlflow": {"base_url": "/track"}}
        found = self.spec(lan, tmp_path)
        assert found is not None
        assert found.origins[0] == "http://203.0.113.7:5000"
        assert "http://a.example:5000" in found.origins
        assert found.prefix == "/track"

    def test_has_this_host_by_default(self, tmp_path):
        found = self.spec({}, tmp_path)
        assert found is not None
        assert found.origins == ("http://127.0.0.1:5000",)

    def test_is_none_without_mlflow(self, tmp_path):
        assert self.spec({"mlflow": {"enabled": False}}, tmp_path) is None
