"""entrypoints/postgres.sh on a folder of this host, as it runs in a stack's container."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from testing.harness import PROJECT
from testing.postgres_server import OTHER_USER
from testing.servers import free_port

SCRIPT = PROJECT / "entrypoints/postgres.sh"
SECONDS = 60.0


@dataclass(kw_only=True)
class Entrypoint:
    """The data and secrets of one Postgres, which can be started again and again."""

    programs: Path  # the folder of those of Postgres
    folder: Path

    @property
    def data(self) -> Path:
        """What the container has at /var/lib/postgresql/data."""
        return self.folder / "data"

    @property
    def user(self) -> str | None:
        """Who runs it: Postgres refuses to run as root."""
        return OTHER_USER if os.geteuid() == 0 else None

    def prepare(self, secrets: Mapping[str, str]) -> None:
        """Writes the secrets, in place of those that are there."""
        shutil.rmtree(self.folder / "secrets", ignore_errors=True)
        for folder in (self.folder, self.data, self.folder / "secrets"):
            folder.mkdir(parents=True, exist_ok=True)
            self.give(folder)
        for name, value in secrets.items():
            (self.folder / "secrets" / name).write_text(value)
            self.give(self.folder / "secrets" / name)

    def give(self, path: Path) -> None:
        """Makes a file that of the user."""
        if self.user:
            os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)

    def run(self, program: str, *arguments: str | Path, text: str = "") -> str:
        """What a program of Postgres prints, and is told on its standard input."""
        command = [self.programs / program, *arguments]
        return subprocess.run(
            command, user=self.user, cwd="/", input=text, text=True, check=True, capture_output=True
        ).stdout

    def popen(self, port: int, *verb: str) -> "subprocess.Popen[str]":
        """Starts the script, as the container does; with a verb, another one does."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "POSTGRES_DATA": str(self.data),
            "POSTGRES_PASSWORD_FILE": str(self.folder / "secrets/postgres-password"),
        }
        # Nothing here survives the machine, so nothing is synced.
        options = ["-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off"]
        return subprocess.Popen(
            ["sh", SCRIPT, *(verb or options)], user=self.user, cwd="/", env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def fails(self) -> str:
        """What it says when it cannot start."""
        with self.popen(free_port()) as process:
            said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, said
        return said

    def dump(self) -> None:
        """Writes all databases to the file from which another version begins."""
        with self.popen(free_port(), "dump") as process:
            said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said

    def killed_after(self, seconds: float) -> None:
        """Starts it and, that much later, ends all of its processes at once, as a power failure does."""
        process = self.popen(free_port())
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        servers = [one for one in psutil.process_iter() if self._is_server(one)]  # one has a session of its own
        for server in servers:
            with contextlib.suppress(psutil.NoSuchProcess):
                server.kill()
        psutil.wait_procs(servers, timeout=SECONDS)
        process.communicate(timeout=SECONDS)

    def _is_server(self, process: psutil.Process) -> bool:
        try:
            return Path(process.cwd()).is_relative_to(self.data)
        except psutil.Error:
            return False

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        """The server, once it lets people in."""
        port = free_port()
        process = self.popen(port)
        try:
            until = time.monotonic() + SECONDS
            ready: list[str | Path] = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while process.poll() is None and subprocess.run(ready, check=False).returncode:
                assert time.monotonic() < until, "Postgres does not answer"
                time.sleep(0.05)
            assert process.returncode is None, process.communicate()[0]
            yield Server(port=port)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that answers."""

    port: int

    def connect(self, user: str, password: str, database: str) -> psycopg.Connection:
        """A session, whose statements count at once."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database, autocommit=True
        )

    def ask(self, user: str, password: str, database: str, question: str) -> list[tuple[object, ...]]:
        """The rows of an answer."""
        with self.connect(user, password, database) as session:
            return session.execute(question.encode()).fetchall()
