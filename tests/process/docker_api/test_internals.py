"""The private interfaces of Docker's SDK that this project uses."""

import base64
import contextlib
import http.server
import json
import threading
import time
from importlib.metadata import version

import docker
import pytest
import requests

from docker_api import internals

SECONDS = 5


class Silent(http.server.BaseHTTPRequestHandler):
    """Begins an answer, and says nothing more."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.connection.recv(1)  # until the other side hangs up

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_is_written_for_the_version_that_is_installed():
    assert version("docker") == internals.PINNED, "written for another version: see the module's docstring"


def test_to_hang_up_wakes_the_thread_that_reads(address):
    client = docker.APIClient(base_url=f"tcp://{address}", version="1.41")
    answer = client.get(f"http://{address}/events", stream=True)
    threading.Timer(0.3, internals.hang_up, (client, answer)).start()
    began = time.monotonic()
    with contextlib.suppress(requests.RequestException):
        assert list(answer.iter_lines()) == []
    assert time.monotonic() - began < SECONDS


def test_exclude_paths_knows_the_rules_of_ignored_files(tmp_path):
    for name in ("kept.py", "kept.md", "dropped.md"):
        (tmp_path / name).write_text("")
    assert internals.exclude_paths(str(tmp_path), ["*.md", "!kept.md"]) == {"kept.py", "kept.md"}


def test_auth_splits_a_name_and_finds_its_login(tmp_path, monkeypatch):
    login = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example.org": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert internals.auth.resolve_repository_name("registry.example.org/a/b") == ("registry.example.org", "a/b")
    found = internals.auth.load_config().resolve_authconfig("registry.example.org")
    assert (found["username"], found["password"]) == ("me", "secret")
    assert json.loads(base64.urlsafe_b64decode(internals.auth.encode_header(found)))["username"] == "me"
