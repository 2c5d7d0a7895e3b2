"""A real sshd on a free port of the loopback, with keys of its own, into which this user may log in."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from testing.client_servers import HOST, free_port

SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running sshd."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def options(self) -> tuple[str, ...]:
        """What ssh must be told to log in there without a question."""
        known = f"UserKnownHostsFile={self.folder}/known"
        return (
            *("-p", str(self.port), "-i", f"{self.folder}/key", "-F", "none", "-o", "BatchMode=yes"),
            *("-o", known, "-o", "StrictHostKeyChecking=accept-new"),
        )

    @property
    def host_key(self) -> str:
        """The line of a file of known hosts."""
        return f"[{HOST}]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def cut(self) -> None:
        """Ends all connections at once, as a network that breaks; the server stays."""
        for session in _below(self.process.pid):
            os.kill(session, signal.SIGKILL)


@contextmanager
def serving(
    sshd: Path, folder: Path, *, rights: str = "", settings: dict[str, object] | None = None
) -> Iterator[Server]:
    """sshd until the end of the block; `rights`: of the key in `folder`, as `authorized_keys` has them."""
    for name in ("host_key", "key"):
        make_key(folder / name)
    (folder / "authorized").write_text(f"{rights} {(folder / 'key.pub').read_text()}".lstrip())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates privileges
    port = free_port()
    told = {
        "AuthorizedKeysFile": folder / "authorized",
        "HostKey": folder / "host_key",
        "ListenAddress": f"{HOST}:{port}",
        "PasswordAuthentication": "no",
        "PidFile": "none",
        "StrictModes": "no",  # the folder is below one that everybody may write to
        "UsePAM": "no",
        **(settings or {}),
    }
    options = [word for key, value in told.items() for word in ("-o", f"{key}={value}")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", "/dev/null", *options], stderr=log)
        try:
            wait_for(port, process, folder / "log")
            yield Server(port=port, folder=folder, process=process)
        finally:
            process.terminate()
            process.wait()


def make_key(file: Path) -> None:
    """A new key without a passphrase, and its public half beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until something listens. Fails with what the program said where it has ended."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with socket.socket() as client:
            if client.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on {port}: {log.read_text()}")


def _below(process: int) -> list[int]:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (*_below(child), child)]
