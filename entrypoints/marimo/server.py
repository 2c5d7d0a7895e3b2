"""Starts Marimo's notebook server; runs in its container. Standard library only, Python 3.10 or newer.

Reads /run/secrets/marimo-token (which a browser must present), /workspace/notebooks (writable), to which it adds the
examples of /run/cslr/examples.zip where there is nothing yet. Packages that notebooks install are below HOME
(notebook_packages.py), those of a person's own notebooks below MARIMO_OWN_FOLDER. MARIMO_BASE_URL is the path prefix
behind a reverse proxy. Health: GET :8080/health.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NoReturn

from entrypoints import examples
from entrypoints.marimo import notebook_packages
from entrypoints.ray.launcher import keep_half

TOKEN_FILE = Path(os.environ.get("MARIMO_TOKEN_FILE", "/run/secrets/marimo-token"))
NOTEBOOKS = Path(os.environ.get("MARIMO_NOTEBOOKS", "/workspace/notebooks"))
EXAMPLES = Path(os.environ.get("MARIMO_EXAMPLES", examples.ARCHIVE))
LOST = "lost+found"  # of a disk that is mounted there
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
    try:
        give_examples(NOTEBOOKS, EXAMPLES)
    except (OSError, zipfile.BadZipFile) as error:  # a full disk, say: people can work without them
        print(f"[marimo] no examples in {NOTEBOOKS}: {error}", flush=True)
    return serve(python())


def give_examples(notebooks: Path, archive: Path) -> None:
    """Unpack the examples where there are no notebooks yet; nothing of anybody's is ever replaced."""
    if not any(not path.name.startswith(".") for path in notebooks.iterdir() if path.name != LOST):
        examples.unpack(archive, notebooks)


def python() -> str:
    """Return the Python for notebooks and set its variables: that of their own environment, or the image's."""
    home = Path(os.environ.setdefault("HOME", "/tmp"))  # noqa: S108  (the container's own tmpfs)
    child = notebook_packages.prepare(Path(os.environ.get("MARIMO_OWN_FOLDER", home)))
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
