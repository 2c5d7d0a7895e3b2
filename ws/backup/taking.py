"""Implements `ws backup`: databases first, files after, and what the set holds at the end.

What is logged after the dump has files in the backup and no rows, which harms nothing. Each run in the dump finds its
artifacts, as long as `mlflow gc` removes none meanwhile, which the lock prevents.
"""

import json
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.platform import PlatformSettings
from config.project import commit, version
from docker_api.api import DockerApi
from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from ws.backup import config_files, sets
from ws.backup.databases import POSTGRES, Server
from ws.backup.display import Shown
from ws.backup.parts import WITHOUT, Part, parts
from ws.backup.place import FOLDER, last_of, remember
from ws.backup.restic import Json, Repository, ResticError
from ws.backup.space import refuse_small_repository, size_of
from ws.backup.tables import DumpReader
from ws.errors import WsError

MAINTENANCE = "maintenance"  # folder of the lock between a backup and what removes data
CONFIG = "config"
STAGE = "stage"
# What restic would say of a folder without files, of which it refuses to make a snapshot.
EMPTY: Json = {"snapshot_id": "", "total_files_processed": 0, "total_bytes_processed": 0, "data_added": 0, "unread": []}


@contextmanager
def maintenance(identity: StackIdentity, command: str) -> Iterator[None]:
    """Holds the lock of a stack's data: backup, restore and `mlflow gc` exclude each other. Raises `LockedError`."""
    folder = stack_folder(identity) / MAINTENANCE
    work = "backup, restore, upgrade of Postgres or `mlflow gc`"
    # Backups need root, `mlflow gc` does not: the lock is for both.
    with stack_lock(folder, identity.stack, work=work, holder=command, shared=True):
        yield


@dataclass(kw_only=True)
class Taking:
    """One backup that is being made."""

    identity: StackIdentity
    settings: PlatformSettings
    repository: Repository
    shown: Shown
    api: DockerApi
    name: str = field(default_factory=sets.new_name)
    added: int = 0

    def run(self) -> sets.Manifest:
        """Makes it. Raises `WsError`; what is stored until then shortens the next run."""
        began = time.time()
        server = Server.of(self.identity) if POSTGRES in self.settings.services() else None
        present = self._present(server)
        self._refuse_small_disk(folder for _, folder in present)
        databases = {one.name: self._dump(server, one.name, one.owner) for one in server.databases()} if server else {}
        folders = {part.name: self._folder(part.name, folder) for part, folder in present}
        manifest = sets.Manifest(
            name=self.name,
            stack=self.identity.stack,
            host=socket.gethostname(),
            began=began,
            ended=time.time(),
            version=version(),
            commit=commit(),
            config=self._config(),
            folders=folders,
            databases=databases,
            added=self.added,
        )
        text = manifest.model_dump_json(indent=1).encode()
        self._store(sets.MANIFEST, iter([text]))
        remember(self.identity, manifest, self.repository)
        return manifest

    def _present(self, server: Server | None) -> list[tuple[Part, Path]]:
        found = [(part, part.folder(self.api)) for part in parts(self.identity, self.settings)]
        present = [(part, folder) for part, folder in found if folder]
        if not present and server is None:
            raise WsError(
                f"stack {self.identity.stack} has no data on this host. Deploy it first: ws up -s {self.identity.stack}"
            )
        for part, folder in found:
            if folder is None:
                self._refuse_if_vanished(part.name, part.location)
                self.shown.say(f"{part.name}: {part.location} is not there, and is left out")
        return present

    def _refuse_small_disk(self, folders: Iterable[Path]) -> None:
        last = last_of(self.identity)
        before = last.size if last and last.repository == self.repository.location else None
        refuse_small_repository(self.repository.location, sum(map(size_of, folders)), before)

    def _refuse_if_vanished(self, part: str, place: str) -> None:
        """Raises `WsError` where there were files: this backup would seem whole, and outlive those that are."""
        last = last_of(self.identity)
        if last and (files := last.files.get(part)):
            raise WsError(
                f"{part}: {place} holds no files, but {files} at the last backup, {last.name}. Is its disk mounted?\n"
                "  If it is to be empty, put a file there."
            )

    def _dump(self, server: Server, name: str, owner: str) -> sets.Dump:
        reader = DumpReader()
        summary = self._store(f"{name}.sql", server.dump(name, reader))
        if (stored := summary["total_bytes_processed"]) != reader.size:
            raise WsError(
                f"the database {name}: restic has stored {stored} bytes of a dump of {reader.size}. Run it again."
            )
        return sets.Dump(snapshot=summary["snapshot_id"], owner=owner, size=reader.size, tables=dict(reader.tables))

    def _config(self) -> sets.Folder:
        stage = stack_folder(self.identity) / FOLDER / STAGE
        try:
            config_files.collect(self.identity, stage)
            return self._folder(CONFIG, stage)
        finally:  # a second copy of all secrets
            shutil.rmtree(stage, ignore_errors=True)

    def _folder(self, part: str, folder: Path) -> sets.Folder:
        excluded = [f"--exclude={folder}{path}" for path in WITHOUT.get(part, ())]
        arguments = [*sets.tags(self.name, self.identity.stack, part), *excluded, "."]
        try:
            with self.shown.part(part) as heard:
                summary = self.repository.backup(arguments, heard, folder=folder)
        except ResticError as error:
            if not error.empty:
                raise
            summary = EMPTY
        if not summary["total_files_processed"]:
            self._refuse_if_vanished(part, str(folder))
        for complaint in summary["unread"][:5]:
            self.shown.say(f"{part}: not read: {complaint}")
        self.added += summary["data_added"]
        return sets.Folder(
            snapshot=summary["snapshot_id"],
            files=summary["total_files_processed"],
            size=summary["total_bytes_processed"],
            unread=len(summary["unread"]),
        )

    def _store(self, file: str, source: Iterator[bytes]) -> Json:
        arguments = [*sets.tags(self.name, self.identity.stack, file), "--stdin", "--stdin-filename", file]
        with self.shown.part(file) as heard:
            summary = self.repository.backup(arguments, heard, source=source)
        self.added += summary["data_added"]
        return summary


def make_repository(identity: StackIdentity, repository: Repository, *, anew: bool) -> bool:
    """Makes the repository where there is none; whether it did. Raises `WsError` where one has vanished."""
    try:
        if repository.exists():
            return False
    except ResticError as error:
        if not (error.wrong_password and repository.password_is_new):
            raise
        file = repository.password_file
        file.unlink()
        raise WsError(
            f"{repository.location} is a repository already, and {file} with its password is missing. Copy the "
            f"password there, or name the file with it:\n    ws set backup.password_file FILE -s {identity.stack}"
        ) from None
    last = last_of(identity)
    if last and last.repository == repository.location and not anew:
        raise WsError(
            f"{repository.location} holds no repository any more, but the backup {last.name} was made there. "
            f"Is its disk mounted?\n  If it is lost, begin a new one: ws backup --new -s {identity.stack}"
        )
    repository.make()
    return True


def manifest_as_json(manifest: sets.Manifest) -> str:
    """For programs."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2)
