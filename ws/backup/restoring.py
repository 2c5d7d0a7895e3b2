"""Implements `ws restore`: a backup becomes a stack, on this host or another, under its name or another.

1. files of the stack that this host lacks: stack file, secrets, keys, history
2. `ws up`, which makes an empty stack; then all but Postgres stop
3. folders, then databases; each is compared with the backup
4. `ws up`, which starts everything

A run that was killed begins again from the start, and needs no permission to replace what it has made itself.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker

from config.platform import PlatformSettings
from config.project import FOLDER as PROJECT
from docker_api.api import DockerApi
from docker_api.database_dump import SECONDS
from stack.identity import StackIdentity
from stack.unfinished_restore import RESTORES, Marker, marker_of
from ws.backup import config_files
from ws.backup.comparing import Orphans, file_differences, orphans
from ws.backup.databases import POSTGRES, Database, Server
from ws.backup.display import Shown
from ws.backup.parts import ARTIFACTS, Part, databases_place, named_places, parts
from ws.backup.restic import Repository
from ws.backup.sets import Folder, Manifest
from ws.backup.space import LOADED, Need, refuse_small_disks
from ws.backup.tables import differences
from ws.backup.taking import maintenance
from ws.children import ends_with_parent
from ws.containers import containers
from ws.environment import inherited
from ws.errors import WsError

RESTORED = "cslr-restored"  # a database, until it takes its place
MLFLOW = "mlflow"
STOP_SECONDS = 30
LOST_AND_FOUND = "lost+found"
ENDED = ("created", "exited", "dead")  # states of containers; all others run, or will again
SHOWN = 10  # differences of each kind
FIREWALL = "firewall"  # stays: what runs, it protects


@dataclass(kw_only=True)
class Report:
    """What the comparison found."""

    files: int = 0
    rows: int = 0
    tables: int = 0
    differences: list[str] = field(default_factory=list)
    orphans: Orphans | None = None
    kept: list[str] = field(default_factory=list)  # what was here already


def extract(repository: Repository, folder: Folder, target: Path) -> None:
    """Restores a folder, and has restic compare the contents of all files. Raises `WsError`."""
    if folder.snapshot:
        repository.run("restore", folder.snapshot, "--target", str(target), "--verify")


@contextmanager
def extracted(
    repository: Repository, folder: Folder, within: Path | None = None, *, prefix: str = "cslr-backup-"
) -> Iterator[Path]:
    """A folder of a backup in a throw-away place, readable by this user alone."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=within) as target:
        extract(repository, folder, Path(target))
        yield Path(target)


def compare_folder(
    repository: Repository, name: str, folder: Folder, at: Path, report: Report, *, owners: bool
) -> None:
    """Compares a restored folder with the backup, file by file."""
    nodes = repository.lines("ls", folder.snapshot) if folder.snapshot else []
    found = list(file_differences(nodes, at, owners=owners))
    report.files += sum(node.get("type") == "file" for node in nodes)
    report.differences += [f"{name}: {text}" for text in found[:SHOWN]]
    if len(found) > SHOWN:
        report.differences.append(f"{name}: {len(found) - SHOWN} more")


def load_and_compare(
    repository: Repository, server: Server, name: str, manifest: Manifest, into: str, report: Report
) -> Mapping[str, Mapping[str, str]]:
    """Restores a database into another, and compares it row by row. Returns where MLflow keeps artifacts."""
    dump = manifest.databases[name]
    parts = repository.read(dump.snapshot, f"/{name}.sql")
    server.load(Database(name=name, owner=dump.owner), parts, dump.size, into=into)
    found = server.count(into)
    report.differences += [f"database {name}: {text}" for text in differences(dump.tables, found.tables)]
    report.tables += len(found.tables)
    report.rows += sum(table.rows for table in found.tables.values())
    return found.places


@dataclass(kw_only=True)
class Restoring:
    """One backup that is being restored."""

    identity: StackIdentity
    manifest: Manifest
    repository: Repository
    shown: Shown
    command: str  # by which it can be repeated
    settings: Callable[[], PlatformSettings]  # those of the stack file, once it is there
    overwrite: bool
    api: DockerApi

    def refuse_what_is_there(self) -> None:
        """Raises `WsError` where data would be replaced without permission."""
        if self.overwrite or self._begun():
            return
        there = [one.name for one in containers(self.identity)]
        there += [volume["Name"] for volume in self.api.labelled("/volumes", "Volumes", self.identity.label_filters)]
        if there:
            stack, few = self.identity.stack, ", ".join(there[:3])
            raise WsError(
                f"stack {stack} is on this host already ({few}{', …' if there[3:] else ''}); its data would be lost.\n"
                f"  Restore under another name: -s NAME. Or replace its data: --overwrite"
            )

    def run(self) -> Report:
        """Restores it. Raises `WsError`; the same command then begins again."""
        report = Report()
        with maintenance(self.identity, "ws restore"):
            if not self._begun():
                self._mark()
            with (
                self.shown.waiting("restoring the stack's files"),
                extracted(self.repository, self.manifest.config) as at,
            ):
                report.kept = list(config_files.put_back(self.identity, at))
            self._take_places(self.settings())
            self._deploy()
            settings = self.settings()
            self._refuse_small_disks(settings)
            self._stop()
            artifacts = None
            for part in parts(self.identity, settings):
                if (folder := self.manifest.folders.get(part.name)) is not None:
                    target = self._restore_folder(part, folder, report)
                    artifacts = target if part.name == ARTIFACTS else artifacts
            self._note_left_out(settings, report)
            self._restore_databases(artifacts, report)
            self._deploy()
            # Differences or not: from now on people's new work is there.
            marker_of(self.identity).unlink(missing_ok=True)
        return report

    def _begun(self) -> Marker | None:
        """The marker, if it is of this backup."""
        marker = Marker.read(self.identity)
        return marker if marker and marker.backup == self.manifest.name else None

    def _mark(self, *places: str) -> None:
        Marker(backup=self.manifest.name, command=self.command, places=places).write(self.identity)

    def _take_places(self, settings: PlatformSettings) -> None:
        """Raises `WsError` where data would be replaced that need not be this stack's; keeps what it may replace.

        Before the first `ws up`, which puts files there.
        """
        named = {part.location: part for part in named_places(self.identity, settings)}
        begun = self._begun()
        taken = begun.places if begun else ()
        for location, part in named.items():
            if not (self.overwrite or location in taken) and (folder := part.folder(self.api)) and filled(folder):
                file = f"Pulumi.{self.identity.stack}.yaml"
                raise WsError(
                    f"{part.name}: {location}, which {file} names, holds data, perhaps of another stack or host, that "
                    f"would be lost.\n  Name another place in {file} and run the same restore again, or replace the "
                    "data: --overwrite"
                )
        self._mark(*dict.fromkeys((*taken, *named)))

    def _deploy(self) -> None:
        command = [sys.executable, "-m", "ws", "up", "--stack", self.identity.stack, "--yes"]
        own = inherited(**{RESTORES: self.manifest.name})
        # Not left behind: it would refuse the restore that is run again.
        ended = subprocess.run(command, cwd=PROJECT, env=own, check=False, preexec_fn=ends_with_parent(signal.SIGTERM))
        if ended.returncode:
            raise WsError(
                f"the stack could not be deployed, see above. What is restored so far stays. Remove the cause, for "
                f"example a port in Pulumi.{self.identity.stack}.yaml that is in use, and run the same restore again."
            )

    def _refuse_small_disks(self, settings: PlatformSettings) -> None:
        """Before anything is emptied."""
        wanted = {part.name: part for part in parts(self.identity, settings)}
        needs = [
            Need(folder=target, size=folder.size, replaces=True)
            for name, folder in self.manifest.folders.items()
            if name in wanted and (target := wanted[name].folder(self.api))
        ]
        dumps = [dump.size for dump in self.manifest.databases.values()]
        if dumps and (target := databases_place(self.identity, settings).folder(self.api)):
            # The former databases go once the new ones are whole; a dump lies beside the database that it becomes.
            needs.append(Need(folder=target, size=int(LOADED * sum(dumps)) + max(dumps)))
        refuse_small_disks(needs)

    def _stop(self) -> None:
        """Nothing may write while data is replaced. The keeper ends first, since it starts others."""
        client = docker.from_env(timeout=SECONDS)
        found = sorted(containers(self.identity), key=lambda one: one.service != "keeper")
        for one in found:
            if one.service not in (POSTGRES, FIREWALL) and one.state not in ENDED:
                with self.shown.waiting(f"stopping {one.service}"):
                    client.containers.get(one.identifier).stop(timeout=STOP_SECONDS)

    def _restore_folder(self, part: Part, folder: Folder, report: Report) -> Path:
        target = part.folder(self.api)
        if target is None:
            raise WsError(f"{part.name}: {part.location} is not there after `ws up`.")
        with self.shown.waiting(f"restoring {part.name}"):
            empty(target)
            extract(self.repository, folder, target)
        with self.shown.waiting(f"comparing {part.name}"):
            compare_folder(self.repository, part.name, folder, target, report, owners=True)
        return target

    def _note_left_out(self, settings: PlatformSettings, report: Report) -> None:
        wanted = {part.name for part in parts(self.identity, settings)}
        report.differences += [
            f"{name}: not restored: the service is not enabled in Pulumi.{self.identity.stack}.yaml"
            for name in self.manifest.folders
            if name not in wanted
        ]

    def _restore_databases(self, artifacts: Path | None, report: Report) -> None:
        if not self.manifest.databases:
            return
        server = Server.of(self.identity)
        for name in self.manifest.databases:
            with self.shown.waiting(f"restoring the database {name}"):
                places = load_and_compare(self.repository, server, name, self.manifest, RESTORED, report)
                server.take_place(RESTORED, name)
            if name == MLFLOW and artifacts:
                report.orphans = orphans(places, artifacts)


def filled(folder: Path) -> bool:
    """Whether files are in a folder; a disk of its own has one without any."""
    return any(path.name != LOST_AND_FOUND for path in folder.iterdir())


def empty(folder: Path) -> None:
    """Removes what is in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
