"""A person's computer and the servers that a bundle leads to, on the loopback."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import grpc  # type: ignore[import-untyped]

from stack.ray_tls import RayCertificate

HOST = "127.0.0.1"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = {"ray": version("ray")}  # of this environment


def run(
    *command: str, at: Path, environment: Mapping[str, str] | None = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder, with nothing of this process's environment but PATH."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(at), **(environment or {})}
    return subprocess.run(command, cwd=at, env=clean, capture_output=True, text=True, timeout=seconds)


def outcomes(folder: Path) -> dict[str, str]:
    """What `check` says of each thing."""
    done = run("./check", at=folder)
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok", "FAIL"))]
    return {title.strip(): result for result, title in (line.partition(":")[0].split(None, 1) for line in lines)}


def give_python(folder: Path) -> None:
    """Gives a bundle this interpreter in the place of an environment of its own."""
    program = folder / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


class Answers(http.server.BaseHTTPRequestHandler):
    """What Ray's dashboard, MLflow and pages answer: path → status and text."""

    paths: Mapping[str, tuple[int, str]] = {}
    authorization = ""

    def do_GET(self) -> None:
        status, text = self.paths.get(self.path, (404, ""))
        if self.authorization and self.headers.get("Authorization") != self.authorization:
            status, text = 401, ""
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(token: str = "", authorization: str = "", **paths: tuple[int, str]) -> Iterator[str]:
    """The address of a server; names of paths are written with `_` for `/`."""
    answers = {name.replace("_", "/"): answer for name, answer in paths.items()}
    expected = f"Bearer {token}" if token else authorization
    handler = type("Handler", (Answers,), {"paths": answers, "authorization": expected})
    server = http.server.ThreadingHTTPServer((HOST, 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """The port of a server that accepts one connection, gives an answer, and closes it."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(answer)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


@contextmanager
def grpc_server(certificate: RayCertificate | None = None) -> Iterator[int]:
    """The port of a gRPC server without services, as which Ray Client looks before a program connects.

    With a certificate, it lets in whoever has one of the same authority.
    """
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        address = f"{HOST}:0"
        if certificate:
            pair, authority = certificate.pair, certificate.authority
            credentials = grpc.ssl_server_credentials([(pair.key, pair.chain)], authority, require_client_auth=True)
            port = int(server.add_secure_port(address, credentials))
        else:
            port = int(server.add_insecure_port(address))
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def ray_version(text: str = PACKAGES["ray"]) -> tuple[int, str]:
    """What the dashboard answers of a Ray."""
    return 200, json.dumps({"ray_version": text})
