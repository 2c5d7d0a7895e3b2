"""Probing whether a registry or an index is reachable, against servers that are neither."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import sources
from stack.sources import reachable

HEADER = "docker-distribution-api-version"


@contextmanager
def server(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A server of one answer; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class TestReachable:
    def test_registry_that_asks_for_a_login_is(self):
        with server(401, {"Docker-Distribution-Api-Version": "registry/2.0"}) as url:
            assert reachable(f"{url}/v2/", needed_header=HEADER)

    def test_open_registry_is(self):
        with server(200, {"Docker-Distribution-Api-Version": "registry/2.0"}) as url:
            assert reachable(f"{url}/v2/", needed_header=HEADER)

    @pytest.mark.parametrize("status", [200, 401, 403, 503])
    def test_page_of_a_captive_portal_is_no_registry(self, status):
        with server(status, {"Content-Type": "text/html"}) as url:
            assert not reachable(f"{url}/v2/", needed_header=HEADER)

    def test_index_that_answers_is(self):
        with server(200, {}) as url:
            assert reachable(f"{url}/cpu/torch/")

    @pytest.mark.parametrize("status", [403, 404, 503])
    def test_index_that_refuses_is_not(self, status):
        with server(status, {}) as url:
            assert not reachable(f"{url}/cpu/torch/")

    def test_closed_port_is_not(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        assert not reachable(f"http://127.0.0.1:{port}/v2/", needed_header=HEADER)

    @pytest.mark.parametrize("url", ["http://no.such.host.invalid/", "nonsense", "http://127.0.0.1:99999/"])
    def test_address_that_cannot_be_is_not(self, url):
        assert not reachable(url)

    def test_server_that_hangs_is_given_up(self, monkeypatch):
        monkeypatch.setattr(sources, "PROBE_SECONDS", 0.2)
        with silent_server() as url:
            began = time.monotonic()
            assert not reachable(f"{url}/v2/", needed_header=HEADER)
        assert time.monotonic() - began < 5

    def test_server_that_drips_is_given_up(self, monkeypatch):
        """A timeout of the socket alone would start again with every byte."""
        monkeypatch.setattr(sources, "PROBE_SECONDS", 0.3)
        with dripping_server() as url:
            began = time.monotonic()
            assert not reachable(f"{url}/v2/", needed_header=HEADER)
        assert time.monotonic() - began < 5

    def test_server_that_talks_nonsense_is_not(self):
        with dripping_server(b"what?\r\n\r\n", pause=0) as url:
            assert not reachable(url)


@contextmanager
def dripping_server(answer: bytes = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, pause: float = 0.1) -> Iterator[str]:
    """Answers one byte after the other, with a `pause` of seconds."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            for i in range(len(answer)):
                if ended.wait(pause):
                    return
                try:
                    connection.sendall(answer[i : i + 1])
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        thread.join(2)
