"""Implements `ws backup verify`: restores a backup into a throw-away place, and compares all of it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from build_report.units import size
from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from ws.backup.comparing import orphans
from ws.backup.databases import Server
from ws.backup.display import Shown
from ws.backup.parts import ARTIFACTS
from ws.backup.restic import Repository
from ws.backup.restoring import MLFLOW, Report, compare_folder, extracted, load_and_compare
from ws.backup.sets import Manifest
from ws.errors import WsError

VERIFIED = "cslr-verified"  # a database in the stack's Postgres, for as long as it is compared
LOCK = "verify"  # folder of the lock, in the stack's state folder
SPARE = 1.05  # of the largest folder


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """One backup that is verified."""

    identity: StackIdentity
    manifest: Manifest
    repository: Repository
    shown: Shown
    within: Path | None  # where files are restored to

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
        for name, folder in {"config": self.manifest.config, **self.manifest.folders}.items():
            with self.shown.waiting(f"restoring {name}"), extracted(self.repository, folder, self.within) as at:
                compare_folder(self.repository, name, folder, at, report, owners=True)
                if name == ARTIFACTS:
                    report.orphans = orphans(places, at)
        return report

    def _databases(self, report: Report) -> dict[str, dict[str, str]]:
        places: dict[str, dict[str, str]] = {}
        if not self.manifest.databases:
            return places
        server = Server.of(self.identity)
        for name in self.manifest.databases:
            with self.shown.waiting(f"restoring the database {name}"):
                try:
                    found = load_and_compare(self.repository, server, name, self.manifest, VERIFIED, report)
                finally:
                    server.drop(VERIFIED)
            if name == MLFLOW:
                places = {table: dict(keys) for table, keys in found.items()}
        return places

    def _refuse_small_disk(self) -> None:
        needed = SPARE * max((one.size for one in self.manifest.folders.values()), default=0)
        folder = self.within or Path(tempfile.gettempdir())
        if shutil.disk_usage(folder).free < needed:
            raise WsError(f"{folder} lacks {size(int(needed))} for a temporary copy. Name another folder: --within")
