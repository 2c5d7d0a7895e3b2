"""Marimo's server shows a notebook only to users with the token."""

import atexit
import contextlib
import functools
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

TOKEN = "of-this-test-alone"
HERE = "127.0.0.1"
START_SECONDS = 60
NOTEBOOK = """
import marimo

app = marimo.App(app_title="Seen by the test")


@app.cell
def _():
    import torch
    total = torch.ones(3).sum().item()
    return (total,)


if __name__ == "__main__":
    app.run()
"""


@functools.cache
def address() -> str:
    """Start the server, once. Where it answers."""
    folder = Path(tempfile.mkdtemp(prefix="marimo-"))
    Path(folder, "notebook.py").write_text(NOTEBOOK)
    Path(folder, "token").write_text(TOKEN)
    with socket.create_server((HERE, 0)) as free:
        port = free.getsockname()[1]
    # As entrypoints/marimo/server.py starts it.
    options = ["--headless", f"--host={HERE}", f"--port={port}", f"--token-password-file={folder / 'token'}"]
    options += ["--skip-update-check", "--no-sandbox"]
    server = subprocess.Popen(
        [sys.executable, "-m", "marimo", "--yes", "--quiet", "edit", *options, str(folder)], cwd=folder
    )
    atexit.register(server.kill)
    url = f"http://{HERE}:{port}"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            return url if get(f"{url}/health")[0] == 200 else ""
        time.sleep(0.1)
    raise AssertionError(f"no answer within {START_SECONDS} s; the server's exit code: {server.poll()}")


def get(url: str) -> tuple[int, str]:
    """The status and text of a page, wherever it leads to."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def check_starts_and_is_healthy() -> None:
    """Its health check needs no token."""
    assert address()


def check_serves_the_notebook_with_the_token() -> None:
    """As a browser asks for it."""
    status, page = get(f"{address()}/?file=notebook.py&access_token={TOKEN}")
    assert status == 200
    assert "notebook.py" in page
    assert "<marimo-" in page


def check_refuses_without_the_token() -> None:
    """And says nothing about the notebook."""
    for url in (f"{address()}/?file=notebook.py", f"{address()}/?file=notebook.py&access_token=wrong"):
        status, page = get(url)
        assert status in (401, 403) or "<marimo-" not in page, (url, status, page[:500])
    assert get(f"{address()}/api/status")[0] in (401, 403)


def check_notebook_runs_as_a_program() -> None:
    """Without a server, as a job runs it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "notebook.py")
        notebook.write_text(NOTEBOOK)
        done = subprocess.run([sys.executable, notebook], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
