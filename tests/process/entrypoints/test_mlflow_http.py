"""uvicorn with several workers, as MLflow runs it: an answer in two pieces comes without a delay."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.live.deployment import wait_until

DELAY = 0.04  # seconds for which Linux holds back an acknowledgement, at least
APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""
PROTOCOL = Path(__file__).parents[3] / "entrypoints/mlflow_http.py"


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[int]:
    (folder / "twopieces.py").write_text(APP)
    (folder / "mlflow_http.py").write_text(PROTOCOL.read_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--lifespan=off", "--workers=2", f"--port={port}", *options]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen([*command, "twopieces:app"], cwd=folder, env=environment) as process:
        try:
            wait_until(lambda: answers(port), "uvicorn answers")
            yield port
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        return fastest(port, 1) > 0
    except OSError:
        return False


def fastest(port: int, requests: int) -> float:
    """Seconds of the fastest of the last ones over one connection: Linux acknowledges the first ones at once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    took = []
    for _ in range(requests):
        began = time.monotonic()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        took.append(time.monotonic() - began)
    connection.close()
    return min(took[-20:])


def test_no_answer_waits_for_an_acknowledgement(tmp_path):
    with serving(tmp_path, "--http=mlflow_http:Protocol") as port:
        assert fastest(port, 60) < DELAY


def test_uvicorn_alone_waits(tmp_path):
    """When this fails, uvicorn sets TCP_NODELAY itself, and entrypoints/mlflow_http.py may go."""
    with serving(tmp_path) as port:
        assert fastest(port, 60) >= DELAY
