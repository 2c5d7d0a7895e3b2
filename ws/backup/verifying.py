"""Implements `ws backup verify`: restores a backup into a throw-away place, and compares all of it."""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from config.services import PostgresSettings
from docker_api.api import DockerApi, bytes_free
from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from ws.backup.comparing import orphans
from ws.backup.display import Shown
from ws.backup.parts import ARTIFACTS
from ws.backup.restic import Repository
from ws.backup.restoring import MLFLOW, Report, compare_folder, extracted, load_and_compare
from ws.backup.sets import Manifest
from ws.backup.space import refuse_little_room
from ws.backup.throw_away import throw_away_server

VERIFIED = "cslr-verified"  # a database in a Postgres of its own, for as long as it is compared
LOCK = "verify"  # folder of the lock, in the stack's state folder
RANDOM = 8  # characters that `tempfile` appends
SPARE = 1.05  # of the largest folder


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """One backup that is verified."""

    identity: StackIdentity
    manifest: Manifest
    repository: Repository
    shown: Shown
    within: Path | None  # where files are restored to
    postgres: PostgresSettings
    api: DockerApi

    def run(self) -> Report:
        """Verifies it. Raises `WsError` where that is not possible."""
        # Of its own, since a backup may run meanwhile: two of these would compare one throw-away database.
        with stack_lock(
            stack_folder(self.identity) / LOCK,
            self.identity.stack,
            work="`ws backup verify`",
            holder="ws backup verify",
        ):
            return self._verified()

    def _verified(self) -> Report:
        self._refuse_small_disk()
        report = Report()
        with self.shown.waiting("checking the repository"):
            self.repository.run("check")
        places = self._databases(report)
        prefix = f"{self.identity.prefix}-verify-"
        remove_leftovers(self._within, prefix)
        for name, folder in {"config": self.manifest.config, **self.manifest.folders}.items():
            with (
                self.shown.waiting(f"restoring {name}"),
                extracted(self.repository, folder, self._within, prefix=prefix) as at,
            ):
                compare_folder(self.repository, name, folder, at, report, owners=True)
                if name == ARTIFACTS:
                    report.orphans = orphans(places, at)
        return report

    def _databases(self, report: Report) -> dict[str, dict[str, str]]:
        places: dict[str, dict[str, str]] = {}
        if not self.manifest.databases:
            return places
        owners = {one.owner for one in self.manifest.databases.values()}
        largest = max(one.size for one in self.manifest.databases.values())
        with throw_away_server(self.identity, self.api, self.postgres, owners=owners, largest=largest) as server:
            for name in self.manifest.databases:
                with self.shown.waiting(f"restoring the database {name}"):
                    found = load_and_compare(self.repository, server, name, self.manifest, VERIFIED, report)
                    server.drop(VERIFIED)
                if name == MLFLOW:
                    places = {table: dict(keys) for table, keys in found.items()}
        return places

    @property
    def _within(self) -> Path:
        return self.within or Path(tempfile.gettempdir())

    def _refuse_small_disk(self) -> None:
        needed = SPARE * max((one.size for one in self.manifest.folders.values()), default=0)
        folder = self._within
        refuse_little_room(
            folder, bytes_free(folder), int(needed), "a temporary copy", "Name another folder: --within FOLDER"
        )


def remove_leftovers(within: Path, prefix: str) -> None:
    """Removes the temporary folders of a run that was killed. Everybody may write to /tmp: only own ones."""
    for path in within.glob(prefix + "?" * RANDOM):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)
