"""The configuration of docs/sso.md in real nginx, before stand-ins for the login service and for a stack's page."""

import contextlib
import http.server
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from stack.certificates import issue, make_authority
from testing.harness import PROJECT

SESSION = {"Cookie": "session=of-alice"}
SECONDS = 30.0  # until nginx listens
SURROUNDINGS = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{documented}
}}
"""


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, headers: Mapping[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Login(Quiet):
    """As much of a login service as nginx asks: one session, of alice."""

    def do_GET(self) -> None:
        if self.path == "/login":
            self.answer(200, {"Content-Type": "text/html"}, b"Log in")
        elif self.path == "/auth" and SESSION["Cookie"] in self.headers.get("Cookie", ""):
            self.answer(202, {"X-Auth-Request-User": "alice"})
        else:
            self.answer(401, {})


class Page(Quiet):
    """A service of the stack: tells what it was asked; after an upgrade, sends back what it gets."""

    def do_GET(self) -> None:
        self.tell()

    def do_POST(self) -> None:
        self.tell()

    def tell(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "upgrade")
            self.send_header("X-User", self.headers.get("X-WEBAUTH-USER", ""))
            self.end_headers()
            self.wfile.write(self.rfile.read(4))
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = [value for name, value in self.headers.items() if name.lower().replace("_", "-") == "x-webauth-user"]
        content = json.dumps({"path": self.path, "users": names, "bytes": len(body)}).encode()
        self.answer(200, {"Content-Type": "application/json"}, content)


@contextlib.contextmanager
def serving(handler: type[Quiet]) -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@dataclass(frozen=True, kw_only=True)
class Site:
    """nginx as it is documented."""

    port: int
    authority: Path
    login: http.server.ThreadingHTTPServer

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.ask("GET", path, headers=headers)

    def ask(self, method: str, path: str, **how: Any) -> requests.Response:
        return requests.request(
            method, f"https://127.0.0.1:{self.port}{path}", verify=str(self.authority), timeout=30, **how
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def documented(ports: Mapping[str, int], certificate: Path) -> str:
    """The block of the page, with the ports and the certificate of this test."""
    found = re.search(r"```nginx\n(.*?)```", (PROJECT / "docs/sso.md").read_text(), re.DOTALL)
    assert found
    text = found[1].replace("listen 443 ssl", f"listen 127.0.0.1:{ports['nginx']} ssl")
    text = re.sub(r"/etc/ssl/site/\w+\.pem", str(certificate), text)
    text = text.replace("127.0.0.1:4180", f"127.0.0.1:{ports['login']}")
    return re.sub(r"127\.0\.0\.1:(5000|8080|8265|8888|8070|3000)\b", f"127.0.0.1:{ports['page']}", text)


@pytest.fixture
def site(nginx: Path, tmp_path: Path) -> Iterator[Site]:
    now = datetime.now(UTC)
    authority = make_authority("site", now)
    pair = issue(authority, ("127.0.0.1",), now)
    certificate, trusted = tmp_path / "server.pem", tmp_path / "authority.pem"
    certificate.write_bytes(pair.chain + pair.key)
    trusted.write_bytes(authority.chain)
    with serving(Login) as login, serving(Page) as page:
        port = free_port()
        ports = {"nginx": port, "login": login.server_port, "page": page.server_port}
        conf = tmp_path / "nginx.conf"
        conf.write_text(SURROUNDINGS.format(folder=tmp_path, documented=documented(ports, certificate)))
        with subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(conf), "-e", str(tmp_path / "log")]) as process:
            try:
                until = time.monotonic() + SECONDS
                while not listens(port):
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() < until
                    time.sleep(0.05)
                yield Site(port=port, authority=trusted, login=login)
            finally:
                process.terminate()


PATHS = ("/mlflow/api", "/marimo/", "/ray/api/jobs/", "/home/", "/queue/jobs", "/grafana/")


@pytest.mark.parametrize("path", PATHS)
def test_who_has_no_login_gets_its_page_and_nothing_else(site, path):
    for headers in ({}, {"Cookie": "session=of-mallory"}, {"X-WEBAUTH-USER": "alice"}):
        answer = site.get(path, **headers)
        assert (answer.status_code, answer.text) == (401, "Log in")
    assert site.ask("POST", path, data=b"x").status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_who_has_one_passes_with_the_own_name(site, path):
    answer = site.get(path, **SESSION)
    assert answer.status_code == 200
    assert answer.json()["users"] == ["alice"]


@pytest.mark.parametrize("name", ["X-WEBAUTH-USER", "x-webauth-user", "X_WEBAUTH_USER"])
def test_a_name_that_the_client_sets_is_replaced(site, name):
    assert site.get("/grafana/", **SESSION, **{name: "admin"}).json()["users"] == ["alice"]


def test_a_large_body_passes(site):
    answer = site.ask("POST", "/mlflow/artifact", data=b"x" * 5_000_000, headers=SESSION)
    assert (answer.status_code, answer.json()["bytes"]) == (200, 5_000_000)


def test_the_question_is_not_for_clients(site):
    assert site.get("/auth", **SESSION).status_code == 404


def test_without_the_login_service_nobody_passes(site):
    site.login.shutdown()
    site.login.server_close()
    assert site.get("/mlflow/", **SESSION).status_code == 500


@pytest.mark.parametrize(
    ("cookie", "status"), [(f"Cookie: {SESSION['Cookie']}\r\n", 101), ("", 401)], ids=["with login", "without"]
)
def test_a_websocket_passes_with_the_login_alone(site, cookie, status):
    context = ssl.create_default_context(cafile=site.authority)
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(
            f"GET /marimo/ws HTTP/1.1\r\nHost: gpuhost.example.org\r\n{cookie}X-WEBAUTH-USER: admin\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        if status == 101:
            assert b"X-User: alice\r\n" in answer
            connection.sendall(b"ping")
            rest = answer.partition(b"\r\n\r\n")[2]
            while len(rest) < 4:
                rest += connection.recv(4)
            assert rest == b"ping"
