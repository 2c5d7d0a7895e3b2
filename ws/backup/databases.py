"""The databases of a stack's Postgres: dumps as plain SQL, and how they get back. Programs run in its container.

Plain and not compressed, so that restic finds what did not change since the last backup.
"""

import contextlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import docker
from docker.errors import APIError

from docker_api.database_dump import DATA, PREPARE, SECONDS, DumpError, output
from stack.identity import StackIdentity
from ws.backup.tables import DumpReader
from ws.errors import WsError
from ws.inside import running

POSTGRES = "postgres"
OWNERS = """\
SELECT datname, pg_get_userbyid(datdba) FROM pg_database
WHERE NOT datistemplate AND datname <> 'postgres' AND datname NOT LIKE 'cslr-%' ORDER BY 1
"""
PSQL = "psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1"
LIST = f'{PREPARE}exec {PSQL} --dbname=postgres --tuples-only --no-align --field-separator=/ --command="$0"\n'
DUMP = f'{PREPARE}exec pg_dump --dbname="$0" --format=plain --no-owner --no-privileges\n'
REMOVE = 'rm -f "$0"\n'  # a part of a dump that was not copied whole: rows of people, on the database's disk
# Into a database of its own, as the owner, so that what cannot be restored changes nothing.
LOAD = f"""\
set -e
{PREPARE}trap 'rm -f "$0"' EXIT
export PGOPTIONS="-c client_min_messages=warning"
dropdb --if-exists --force "$1"
createdb --owner="$2" "$1"
export PGOPTIONS="$PGOPTIONS -c role=$2"
{PSQL} --dbname="$1" --single-transaction --output=/dev/null --file="$0"
"""
DROP = f'{PREPARE}exec dropdb --if-exists --force "$0"\n'
# The restored database takes the place of another in one transaction.
TAKE_PLACE = f"""\
set -e
{PREPARE}dropdb --if-exists --force "$0-replaced"
printf '%s' "$1" | {PSQL} --dbname=postgres --output=/dev/null
dropdb --if-exists --force "$0-replaced"
"""
SWAP = """\
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('{name}', '{restored}');
BEGIN;
{away}
ALTER DATABASE "{restored}" RENAME TO "{name}";
COMMIT;
"""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database and the role that owns it."""

    name: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """The running Postgres of a stack. Every method raises `WsError`."""

    client: docker.DockerClient
    container: str

    @classmethod
    def of(cls, identity: StackIdentity) -> "Server":
        """That of a stack. Raises `WsError` where it does not run."""
        return cls(client=docker.from_env(timeout=SECONDS), container=running(identity, POSTGRES).identifier)

    def databases(self) -> list[Database]:
        """Its databases."""
        rows = b"".join(self._output(LIST, OWNERS)).decode().splitlines()
        return [Database(name=row.partition("/")[0], owner=row.partition("/")[2]) for row in rows]

    def dump(self, name: str, reader: DumpReader) -> Iterator[bytes]:
        """A database's dump, in parts, which `reader` reads as well."""
        yield from reader.through(self._output(DUMP, name))
        if not reader.complete:
            raise WsError(f"the dump of the database {name} broke off: Postgres was stopped meanwhile. Run it again.")

    def load(self, database: Database, parts: Iterable[bytes], size: int, *, into: str) -> None:
        """Restores a dump of `size` bytes into a database `into`, which is made anew."""
        found = self.client.containers.get(self.container)
        uid, _, gid = str(found.attrs["Config"]["User"]).partition(":")
        info = tarfile.TarInfo(f".load-{os.getpid()}.sql")
        info.size, info.mode, info.uid, info.gid = size, 0o600, int(uid or 0), int(gid or 0)
        try:
            found.put_archive(DATA, _archive(info, parts))
            self.run(LOAD, f"{DATA}/{info.name}", into, database.owner)
        except APIError as error:
            raise WsError(
                f"the dump of the database {database.name} cannot be copied to Postgres: {error.explanation}"
            ) from None
        finally:
            with contextlib.suppress(WsError):  # Postgres may be what has ended
                self.run(REMOVE, f"{DATA}/{info.name}")

    def count(self, name: str) -> DumpReader:
        """What a database holds."""
        reader = DumpReader()
        for _ in self.dump(name, reader):
            pass
        return reader

    def drop(self, name: str) -> None:
        """Removes a database, if it is there."""
        self.run(DROP, name)

    def run(self, script: str, *arguments: str) -> None:
        """Runs a script in its container."""
        for _ in self._output(script, *arguments):
            pass

    def take_place(self, restored: str, name: str) -> None:
        """Gives a restored database the name of another, which it replaces."""
        there = name in {one.name for one in self.databases()}
        away = f'ALTER DATABASE "{name}" RENAME TO "{restored}-replaced";' if there else ""
        self.run(TAKE_PLACE, restored, SWAP.format(restored=restored, name=name, away=away))

    def _output(self, script: str, *arguments: str) -> Iterator[bytes]:
        try:
            yield from output(self.client, self.container, ["sh", "-c", script, *arguments])
        except APIError as error:
            raise WsError(f"Postgres cannot run a program: {error.explanation or error}") from None
        except DumpError as error:
            raise WsError(f"Postgres could not do it: {error}") from None


def _archive(info: tarfile.TarInfo, parts: Iterable[bytes]) -> Iterator[bytes]:
    """A tar archive of one file whose size is known beforehand, in parts."""
    yield info.tobuf()
    written = 0
    for part in parts:
        written += len(part)
        yield part
    if written != info.size:
        raise WsError(f"the dump in the backup has {written} bytes instead of {info.size}")
    yield bytes(-info.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
