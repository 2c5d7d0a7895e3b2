"""Starts Marimo's notebook server; runs in its container. Standard library only, Python 3.10 or newer.

Reads /run/secrets/marimo-token (which a browser must present), /workspace/notebooks (writable). Packages that notebooks
install are below HOME (notebook_packages.py). MARIMO_BASE_URL is the path prefix behind a reverse proxy. Health: GET
:8080/health.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from entrypoints.marimo import notebook_packages
from entrypoints.ray.launcher import keep_half

TOKEN_FILE = Path(os.environ.get("MARIMO_TOKEN_FILE", "/run/secrets/marimo-token"))
NOTEBOOKS = Path(os.environ.get("MARIMO_NOTEBOOKS", "/workspace/notebooks"))
PORT = os.environ.get("MARIMO_PORT", "8080")
BASE_URL = os.environ.get("MARIMO_BASE_URL", "")


def precondition() -> str:
    """Return a sentence about a missing precondition; empty if Marimo can start."""
    if not os.access(TOKEN_FILE, os.R_OK) or not TOKEN_FILE.stat().st_size:
        return f"{TOKEN_FILE} (Marimo's token) is missing, empty or unreadable; mount the secret into this container."
    if not os.access(NOTEBOOKS, os.W_OK | os.X_OK):
        return (
            f"{NOTEBOOKS} is not a folder that user {os.getuid()} can write to; mount the notebooks there, and give "
            f"a bind mount to that user: chown {os.getuid()} <folder on the host>."
        )
    return ""


def main() -> int:
    """Become `marimo edit`; return 1 when that is impossible."""
    if missing := precondition():
        print(f"[marimo] error: {missing}", flush=True)
        return 1
    return serve(python())


def python() -> str:
    """Return the Python for notebooks and set its variables: that of their own environment, or the image's."""
    home = Path(os.environ.setdefault("HOME", "/tmp"))  # noqa: S108  (the container's own tmpfs)
    child = notebook_packages.prepare(home)
    if child is None:
        return sys.executable
    os.environ.update(notebook_packages.environment(child, os.environ))
    notebook_packages.start_restoring(child)
    return str(child.python)


def serve(python: str) -> NoReturn:
    """Become `marimo edit`."""
    os.chdir(NOTEBOOKS)
    options = ["--headless", "--host=0.0.0.0", f"--port={PORT}", f"--token-password-file={TOKEN_FILE}"]
    # Offline: no check for a newer version, and no sandbox environment to download packages into.
    options += ["--skip-update-check", "--no-sandbox"]
    if BASE_URL:
        options += [f"--base-url={BASE_URL}"]
    print(f"[marimo] serving {NOTEBOOKS} on port {PORT}", flush=True)
    guard = [sys.executable, "-m", "entrypoints.ray.process_guard", "marimo"]
    subprocess.Popen(guard, cwd=Path(__file__).parents[2], start_new_session=True)
    keep_half()
    # Quiet: Marimo would log its address with the token.
    os.execv(python, [python, "-m", "marimo", "--yes", "--quiet", "edit", *options, str(NOTEBOOKS)])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
