"""A daemon that says nothing any more: the call ends, as a failure of the network that is worth trying again."""

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from docker_api.api import DockerApi, DockerError
from ws.network_failures import is_network_failure


class Daemon(http.server.BaseHTTPRequestHandler):
    """Answers with one line, waits, and answers with another."""

    pause = 0.0

    def do_GET(self) -> None:
        self._answer(b'{"ApiVersion": "1.41"}')

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "a"}\n')
        self.wfile.flush()
        time.sleep(type(self).pause)
        self.wfile.write(b'{"status": "b"}\n')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerApi]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    yield DockerApi()
    server.shutdown()
    server.server_close()


def test_one_that_is_silent_for_too_long_is_given_up(api, monkeypatch):
    monkeypatch.setattr(Daemon, "pause", 8.0)
    began = time.monotonic()
    with pytest.raises(DockerError, match="said nothing for 1 s") as error:
        list(api.stream("/images/create", query={}, silence=1.0))
    assert time.monotonic() - began < 6
    assert is_network_failure(str(error.value))


def test_one_that_is_slow_is_not(api, monkeypatch):
    monkeypatch.setattr(Daemon, "pause", 2.0)
    assert [one["status"] for one in api.stream("/images/create", query={}, silence=30.0)] == ["a", "b"]
