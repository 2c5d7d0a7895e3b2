"""Installs what a stack asks for beyond its image, and leaves no trace of the installing: ``install.py packages``.

Runs inside the Dockerfile's RUN with the image's own Python, as root. The lock is mounted at ``/tmp/packages.txt``;
build arguments arrive as environment variables. Everything that the image holds stays as it is: only what the lock
names is installed, without looking at what that needs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from images.ml import trim

LOCK = Path("/tmp/packages.txt")  # noqa: S108 (a mount of the build)
CACHE = Path("/tmp/cache")  # noqa: S108
VENV = Path("/opt/venv")
WITHOUT_TORCH = "# Without torch:"  # the line of the lock before what only images without torch lack


def main() -> int:
    """Install; return the exit status."""
    started = time.time() - 0.1  # the clock of files is coarser than this one
    try:
        install_debian(os.environ)
        install_python(os.environ)
    except subprocess.CalledProcessError as error:
        print(f"packages: {Path(error.cmd[0]).name} failed with status {error.returncode}", file=sys.stderr)
        return 1
    finish(started)
    return 0


def install_debian(environment: Mapping[str, str]) -> None:
    """Debian's packages, in the versions that its mirror has now, with what they need and no recommendation."""
    names = environment.get("APT", "").split()
    if names:
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *names, DEBIAN_FRONTEND="noninteractive")
        found = run("dpkg-query", "--show", "--showformat=${Package}=${Version}\n", *names, quiet=True)
        print(f"from Debian: {', '.join(found.split())}", flush=True)


def install_python(environment: Mapping[str, str]) -> None:
    """The packages of the lock."""
    text = wanted(LOCK.read_text(encoding="utf-8"), without_torch=bool(environment.get("WITHOUT_TORCH")))
    if "==" not in text:
        return
    index = environment.get("PYPI_INDEX")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        run(
            *(VENV / "bin/uv", "pip", "install", "--no-config", "--no-deps", "--no-progress", "--link-mode=copy"),
            *("--require-hashes", f"--python={VENV}", f"--cache-dir={CACHE}", f"--requirement={file.name}"),
            *([f"--default-index={index}"] if index else []),
        )


def wanted(lock: str, *, without_torch: bool) -> str:
    """The part of the lock that an image lacks."""
    both, _, more = lock.partition(WITHOUT_TORCH)
    return both + more if without_torch else both


def finish(started: float) -> None:
    """Compile what is new, and even it out, as in the layers below."""
    for pattern in trim.TRACES:
        for path in trim.ROOT.glob(pattern):
            trim.remove(path)
    fresh = list(trim.made_since(started))
    print(f"bytecode: {trim.compile_bytecode(fresh, (), CACHE / 'bytecode')}", flush=True)
    for path in trim.made_since(started):
        trim.settle(path, started)


def run(*command: str | Path, quiet: bool = False, **environment: str) -> str:
    """Run a program to its end. Raises CalledProcessError."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, check=True, env=os.environ | environment, text=True, stdout=subprocess.PIPE if quiet else None
    )
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
