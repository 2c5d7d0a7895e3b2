"""Runs maintenance programs on MLflow's data, inside the containers that have the programs and the passwords."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import docker
from docker.errors import APIError
from rich.console import Console
from rich.text import Text

from docker_api.database_dump import DUMP, MAGIC, MLFLOW, SECONDS, DumpError, keep, output, restore, written
from stack import unfinished_restore
from stack.identity import StackIdentity
from stack.programs import run_python
from stack.state import DUMPS, stack_folder
from ws.backup.taking import maintenance
from ws.errors import WsError
from ws.inside import running, there

STOP_SECONDS = 20


def garbage_collection(identity: StackIdentity, options: Sequence[str], console: Console) -> None:
    """`mlflow gc` with further options. Raises `WsError` where it fails."""
    said = False
    with maintenance(identity, "ws mlflow gc"):  # a backup's artifacts are to be those of the database that it has
        unfinished_restore.check(identity, {})
        for text in _output(identity, "mlflow", run_python("mlflow_server.py", "gc", *options)):
            said = True
            console.print(Text.from_ansi(text.decode(errors="replace")), soft_wrap=True, end="")
    if not said:
        console.print("Nothing to remove.")


def database_dump(identity: StackIdentity, file: Path | None) -> int:
    """Writes the database to a file, whole or not at all, or to stdout. Returns the number of bytes."""
    with _target(file) as target:
        return sum(target.write(part) for part in _output(identity, "postgres", ("sh", "-c", DUMP, MLFLOW)))


def database_restore(identity: StackIdentity, file: Path) -> str:
    """Makes the database what a dump says, while MLflow is stopped. Returns what became of the database before.

    Raises `WsError`; the database is then as it was.
    """
    unfinished_restore.check(identity, {})
    try:
        with file.open("rb") as source:
            if source.read(len(MAGIC)) != MAGIC:
                raise WsError(f"{file} is not a dump of `ws mlflow dump` or `pg_dump --format=custom`")
    except OSError as error:
        raise WsError(f"{file} cannot be read: {error.strerror}") from None
    postgres, mlflow = running(identity, "postgres"), there(identity, "mlflow")
    client = docker.from_env(timeout=SECONDS)
    server = client.containers.get(mlflow.identifier)
    try:
        server.stop(timeout=STOP_SECONDS)
        before = keep(client, postgres.name, stack_folder(identity) / DUMPS, "restore")
        restore(client, postgres.name, file)
    except (DumpError, APIError, OSError) as error:
        raise WsError(f"{file} was not restored; the database is as it was. {error}") from None
    finally:
        server.start()
    return before


@contextlib.contextmanager
def _target(file: Path | None) -> Iterator[IO[bytes]]:
    if file:
        with written(file) as target:
            yield target
    else:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def _output(identity: StackIdentity, service: str, command: Sequence[str]) -> Iterator[bytes]:
    """The output of a program in a service's container. Raises `WsError` with its error message."""
    found = running(identity, service)
    try:
        yield from output(docker.from_env(timeout=SECONDS), found.identifier, list(command))
    except APIError as error:
        raise WsError(f"{found.name} cannot run a program: {error.explanation or error}.") from None
    except DumpError as error:
        raise WsError(f"{service} of stack {identity.stack} could not do it: {error}") from None
