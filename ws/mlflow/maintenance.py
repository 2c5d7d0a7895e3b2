"""Runs maintenance programs on MLflow's data, inside the containers that have the programs and the passwords."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import docker
from docker.errors import APIError
from rich.console import Console
from rich.text import Text

from stack.identity import StackIdentity
from stack.programs import run_python
from ws.containers import containers
from ws.errors import WsError

SECONDS = 24 * 3600  # that a program may be silent
# Debian's image has the programs of Postgres in a folder of their own, the official one on PATH.
PG_DUMP = """\
for bin in /usr/lib/postgresql/*/bin; do [ ! -d "$bin" ] || PATH="$bin:$PATH"; done
PGPASSWORD=$(head -n 1 "${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres-password}")
export PGPASSWORD
exec pg_dump --host=127.0.0.1 --username=mlflow --dbname=mlflow --format=custom
"""


def garbage_collection(identity: StackIdentity, options: Sequence[str], console: Console) -> None:
    """`mlflow gc` with further options. Raises `WsError` where it fails."""
    said = False
    for text in _output(identity, "mlflow", run_python("mlflow_server.py", "gc", *options)):
        said = True
        console.print(Text.from_ansi(text.decode(errors="replace")), soft_wrap=True, end="")
    if not said:
        console.print("Nothing to remove.")


def database_dump(identity: StackIdentity, file: Path | None) -> int:
    """Writes the database to a file, whole or not at all, or to stdout. Returns the number of bytes."""
    with _written(file) as target:
        return sum(target.write(part) for part in _output(identity, "postgres", ("sh", "-c", PG_DUMP)))


@contextlib.contextmanager
def _written(file: Path | None) -> Iterator[IO[bytes]]:
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # It holds what people logged, which is theirs alone.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            yield target
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _output(identity: StackIdentity, service: str, command: Sequence[str]) -> Iterator[bytes]:
    """The output of a program in a service's container. Raises `WsError` with its error message."""
    found = next((one for one in containers(identity) if one.service == service), None)
    if found is None:
        raise WsError(
            f"stack {identity.stack} has no {service} on this host. Start it with: ws up --stack {identity.stack}"
        )
    if found.state != "running":
        raise WsError(f"{found.name} does not run ({found.status}). Start it with: ws up --stack {identity.stack}")
    api = docker.from_env(timeout=SECONDS).api
    complaints = b""
    try:
        run = api.exec_create(found.identifier, list(command))["Id"]
        for printed, complained in api.exec_start(run, stream=True, demux=True):
            complaints = (complaints + (complained or b""))[-4000:]
            if printed:
                yield printed
        code = api.exec_inspect(run)["ExitCode"]
    except APIError as error:
        raise WsError(f"{found.name} cannot run a program: {error.explanation or error}.") from None
    if code:
        reason = complaints.decode(errors="replace").strip() or f"exit code {code}"
        if "Traceback (most recent call last)" in reason:
            reason = reason.splitlines()[-1]
        raise WsError(f"{service} of stack {identity.stack} could not do it: {reason}")
