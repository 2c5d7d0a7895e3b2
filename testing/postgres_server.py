"""A real Postgres on a port of this host, for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testing.servers import free_port, wait_for_port

PASSWORD = "a password of the queue"
OTHER_USER = "nobody"  # Postgres refuses to run as root


@dataclass
class Postgres:
    """A server, which can be stopped and started again."""

    programs: Path
    data: Path
    port: int
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        """A connection string without its password."""
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=queue"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        # Nothing here survives the machine, so nothing is synced.
        options = ["-p", str(self.port), "-k", "", "-h", "127.0.0.1", "-c", "fsync=off"]
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", self.data, *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self.user,
        )  # fmt: skip
        wait_for_port(self.port, 30)
        deadline = time.monotonic() + 30  # after a crash it listens before it lets anybody in
        while subprocess.run([self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError("Postgres did not recover")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as a crash does."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        self.process = None


@contextlib.contextmanager
def running_postgres(program: Path, folder: Path) -> Iterator[Postgres]:
    """A server with an empty database. program: that of the server."""
    user = OTHER_USER if os.geteuid() == 0 else None
    folder.mkdir(parents=True)
    password = folder / "password"
    password.write_text(PASSWORD)
    data = folder / "data"
    data.mkdir()
    if user:
        for path in (folder, data, password):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    programs = program.resolve().parent
    options = ["-U", "queue", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--encoding=UTF8"]
    subprocess.run(
        [programs / "initdb", "-D", data, *options], check=True, user=user, stdout=subprocess.DEVNULL, cwd="/"
    )
    server = Postgres(programs=programs, data=data, port=free_port(), user=user)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
