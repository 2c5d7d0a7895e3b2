"""Installs packages of Debian and its derivatives, and tells whether this process may."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from ws.environment import inherited
from ws.errors import WsError

UPDATE = ("apt-get", "update")
INSTALL = ("apt-get", "-y", "--no-install-recommends", "install")
# What packages ask before they start their service: 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")
FORBIDDEN = "#!/bin/sh\n# Left by an interrupted installation of this project's tools; may be removed.\nexit 101\n"
LAST_LINES = 15

Say = Callable[[str], None]


def is_debian() -> bool:
    """Whether this is Debian, Ubuntu or another that installs with apt-get."""
    return Path("/etc/debian_version").exists() and bool(shutil.which("apt-get"))


def run(command: tuple[str, ...]) -> None:
    """Runs a command to its end without asking anybody. Raises `WsError` with the end of its output."""
    done = subprocess.run(
        command,
        env=inherited(DEBIAN_FRONTEND="noninteractive"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        end = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-LAST_LINES:])
        raise WsError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{end}")


def install(packages: tuple[str, ...], say: Say) -> None:
    """Installs packages as of today's lists, whose services may start. Raises `WsError`."""
    for command in (UPDATE, (*INSTALL, *packages)):
        say(f"running {' '.join(command)}")
        run(command)


@contextlib.contextmanager
def services_stay_stopped() -> Iterator[None]:
    """Packages installed meanwhile do not start their services, unless the host has a policy of its own."""
    ours = not POLICY.exists() or POLICY.read_text() == FORBIDDEN
    if ours:
        POLICY.write_text(FORBIDDEN)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
