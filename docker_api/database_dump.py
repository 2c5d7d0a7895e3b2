"""`python -m docker_api.database_dump CONTAINER FOLDER WHAT`: keeps the databases that WHAT uses, before it changes.

Also restores MLflow's (`restore`).

Runs `pg_dump` in the container of Postgres, and writes what it says to a new file in FOLDER, or in a folder below it
for another database than MLflow's; the newest few of each stay. Does nothing where there is nothing to keep: no such
container, one that does not run, no such database, or one without tables. Prints the files' paths. Exit code: 0, or 1
with the reason on standard error.
"""

import contextlib
import os
import shlex
import sys
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import docker
import requests

SECONDS = 24 * 3600  # that a program may be silent
EXIT_SECONDS = 10.0
KEPT = 5
SUFFIX = ".dump"
# Debian's image has the programs of Postgres in a folder of their own, the official one on PATH. They log in as the
# superuser: in a container of an earlier version that is `mlflow`, which has no file of its own there.
PREPARE = """\
for bin in /usr/lib/postgresql/*/bin; do [ ! -d "$bin" ] || PATH="$bin:$PATH"; done
PGPASSWORD=$(head -n 1 "${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres-password}")
PGUSER=postgres
[ -e /run/secrets/postgres-mlflow ] || PGUSER=mlflow
export PGPASSWORD PGUSER PGHOST=127.0.0.1
"""
MLFLOW, QUEUE = "mlflow", "queue"  # databases
# What changes → the databases that are kept; of all else MLflow's.
USES = {"postgres": (MLFLOW, QUEUE), "queue": (QUEUE,)}
DUMP = f'{PREPARE}exec pg_dump --dbname="$0" --format=custom\n'
THERE = "SELECT count(*) FROM pg_database WHERE datname = '$0'"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
ASK = "psql --no-psqlrc --tuples-only --no-align"
# A Postgres of a version without the queue has no database for it.
COUNT_TABLES = f"""\
set -e
{PREPARE}there=$({ASK} --dbname=postgres --command="{THERE}")
if [ "$there" = 0 ]; then echo 0; else exec {ASK} --dbname="$0" --command="{TABLES}"; fi
"""
MAGIC = b"PGDMP"  # that a dump begins with
DATA = "/var/lib/postgresql/data"  # of Postgres: the one place that outlives its container, and has room
SWAP = """\
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('mlflow', 'restored');
BEGIN;
ALTER DATABASE mlflow RENAME TO replaced;
ALTER DATABASE restored RENAME TO mlflow;
COMMIT;
"""
# Into a database of its own, which then takes the other's name: a dump that cannot be restored changes nothing.
RESTORE = f"""\
set -e
{PREPARE}trap 'rm -f "$0"' EXIT
for name in restored replaced; do dropdb --if-exists --force $name; done
createdb --owner=mlflow restored
PGOPTIONS="-c role=mlflow" pg_restore --dbname=restored --exit-on-error --no-owner --no-privileges "$0"
printf '%s' "$1" | psql --dbname=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null
dropdb --force replaced
"""


class DumpError(Exception):
    """A program in a container failed. The message is its last word."""


def output(client: docker.DockerClient, container: str, command: list[str]) -> Iterator[bytes]:
    """What a program in a container prints, in parts. Raises `DumpError` and docker's own errors."""
    complaints = b""
    run = client.api.exec_create(container, command)["Id"]
    for printed, complained in client.api.exec_start(run, stream=True, demux=True):
        complaints = (complaints + (complained or b""))[-4000:]
        if printed:
            yield printed
    if code := _exit_code(client, run):
        reason = complaints.decode(errors="replace").strip() or f"exit code {code}"
        raise DumpError(reason.splitlines()[-1] if "Traceback (most recent call last)" in reason else reason)


def _exit_code(client: docker.DockerClient, run: str) -> int:
    """The exit code of a program that has closed its output. Raises `DumpError` where it has none: Docker lost it."""
    deadline = time.monotonic() + EXIT_SECONDS
    while (code := client.api.exec_inspect(run)["ExitCode"]) is None:  # Docker notes it a moment later
        if time.monotonic() > deadline:
            raise DumpError("the program's end is unknown, since its container was stopped or Docker restarted")
        time.sleep(0.1)
    return int(code)


@contextlib.contextmanager
def written(file: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all. It holds what people logged, which is theirs alone."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            yield target
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def keep(client: docker.DockerClient, container: str, folder: Path, what: str, database: str = MLFLOW) -> str:
    """Keeps a database, if there is one; returns what became of it."""
    try:
        found = client.containers.get(container)
    except docker.errors.NotFound:
        return "nothing to keep: there is no database yet"
    if found.status != "running":
        return f"nothing kept: {container} does not run; its data stays as it is"
    if b"".join(output(client, container, ["sh", "-c", COUNT_TABLES, database])).strip() == b"0":
        return f"nothing to keep: the database {database} has no tables yet"
    own = folder if database == MLFLOW else folder / database
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = own / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}Z-before-{what}{SUFFIX}"
    with written(file) as target:
        for part in output(client, container, ["sh", "-c", DUMP, database]):
            target.write(part)
    for old in sorted(own.glob(f"*{SUFFIX}"))[:-KEPT]:
        old.unlink()
    return str(file)


def restore(client: docker.DockerClient, container: str, file: Path) -> None:
    """Makes the database what a dump says. Raises `DumpError` and docker's own errors; it is then as it was."""
    found = client.containers.get(container)
    uid, _, gid = str(found.attrs["Config"]["User"]).partition(":")
    info = tarfile.TarInfo(f".restore-{os.getpid()}{SUFFIX}")
    info.size, info.mode, info.uid, info.gid = file.stat().st_size, 0o600, int(uid or 0), int(gid or 0)
    found.put_archive(DATA, _archive(info, file))
    b"".join(output(client, container, ["sh", "-c", RESTORE, f"{DATA}/{info.name}", SWAP]))


def _archive(info: tarfile.TarInfo, file: Path) -> Iterator[bytes]:
    """A tar archive of one file, in parts: a dump may be larger than memory."""
    yield info.tobuf()
    with file.open("rb") as source:
        yield from iter(lambda: source.read(2**20), b"")
    yield bytes(-info.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def command(python: str, container: str, folder: Path, what: str) -> str:
    """The command line of this program."""
    return shlex.join([python, "-m", "docker_api.database_dump", container, str(folder), what])


def main(arguments: list[str]) -> int:
    """The program."""
    container, folder, what = arguments
    database = MLFLOW
    try:
        for database in USES.get(what, (MLFLOW,)):
            print(keep(docker.from_env(timeout=SECONDS), container, Path(folder), what, database))  # noqa: T201
    except (DumpError, OSError, docker.errors.DockerException, requests.RequestException) as error:
        said = (
            f"the database {database} could not be kept before {what} changes: {error}\n  See: docker logs {container}"
        )
        print(said, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
