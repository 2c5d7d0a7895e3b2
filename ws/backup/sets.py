"""The backups in a repository. Each is a set of snapshots of restic, one for each part, with a manifest.

It counts once its manifest is there, which is written last: what a killed run left is no backup, but what it has
stored need not be stored again.
"""

import json
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError

from ws.backup.restic import Repository, moment
from ws.backup.tables import Table
from ws.errors import WsError

MANIFEST = "manifest.json"
TAG = "cslr"  # of all snapshots
STACK, SET, PART, OF_HOST = "stack=", "set=", "part=", "host="  # beginnings of tags


class Folder(BaseModel):
    """A folder as it was backed up."""

    snapshot: str  # empty for a folder without files, of which restic makes none
    files: int
    size: int  # bytes
    unread: int = 0  # files that could not be read


class Dump(BaseModel):
    """A database as it was dumped."""

    snapshot: str
    owner: str
    size: int  # bytes
    tables: dict[str, Table]


class Manifest(BaseModel):
    """What a backup holds."""

    layout: int = 1
    name: str
    stack: str
    host: str
    began: float
    ended: float
    version: str
    commit: str = ""
    config: Folder
    folders: dict[str, Folder]
    databases: dict[str, Dump]
    added: int = 0  # bytes that the repository grew by

    @property
    def size(self) -> int:
        """Bytes of all files and dumps."""
        return sum(
            (one.size for one in (self.config, *self.folders.values())),
            start=sum(dump.size for dump in self.databases.values()),
        )

    @property
    def files(self) -> int:
        """The number of files in its folders."""
        return sum(one.files for one in (self.config, *self.folders.values()))

    @property
    def unread(self) -> int:
        """The number of files that it lacks."""
        return sum(one.unread for one in (self.config, *self.folders.values()))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A backup as the list of snapshots tells of it."""

    name: str
    stack: str
    host: str
    time: str
    manifest: str | None  # its snapshot; None for one that was not completed
    snapshots: tuple[str, ...]

    @property
    def when(self) -> datetime:
        """When it ended."""
        return moment(self.time)


def new_name() -> str:
    """The name of a new backup: its time, and what makes it the only one of a second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def tags(name: str, stack: str, part: str) -> tuple[str, str]:
    """The arguments that tag the snapshot of a part."""
    return ("--tag", ",".join((TAG, STACK + stack, SET + name, OF_HOST + socket.gethostname(), PART + part)))


def entries(repository: Repository, stack: str | None = None) -> list[Entry]:
    """The backups of a stack, or of all, completed or not, the oldest first."""
    found: dict[str, list[tuple[dict[str, str], dict[str, str]]]] = {}
    for snapshot in repository.json("snapshots", "--tag", TAG) or ():
        told = dict(tag.split("=", 1) for tag in snapshot.get("tags") or () if "=" in tag)
        if {"stack", "set", "part"} <= told.keys() and stack in (None, told["stack"]):
            found.setdefault(told["set"], []).append((told, snapshot))
    every = []
    for name, members in found.items():
        told, _ = members[0]
        manifest = next((snapshot for told, snapshot in members if told["part"] == MANIFEST), None)
        # restic tells the time of whoever made it: not in order where zones differ, or summer time ends.
        last = max(moment(snapshot["time"]) for _, snapshot in members).isoformat()
        every.append(
            Entry(
                name=name,
                stack=told["stack"],
                host=told.get("host", ""),
                time=last,
                manifest=manifest["id"] if manifest else None,
                snapshots=tuple(snapshot["id"] for _, snapshot in members),
            )
        )
    return sorted(every, key=lambda one: one.time)


def chosen(every: Sequence[Entry], stack: str, name: str | None) -> Entry:
    """The backup of that name, or the last one of a stack on this host. Raises `WsError`."""
    completed = [one for one in every if one.manifest]
    if name:
        matching = [one for one in completed if one.name.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        reason = "is the beginning of several names" if matching else "is not a backup in this repository"
        raise WsError(f"{name} {reason}. `ws backup list --all -s {stack}` shows them.")
    own = [one for one in completed if one.stack == stack]
    if not own:
        others = ", ".join(sorted({one.stack for one in completed}))
        raise WsError(
            f"the repository has no backup of the stack {stack}. "
            + (f"It has backups of: {others}. Choose one with --from." if others else "`ws backup` makes one.")
        )
    here = [one for one in own if one.host == socket.gethostname()]
    if not here and len({one.host for one in own}) > 1:
        hosts = ", ".join(sorted({one.host for one in own}))
        raise WsError(
            f"the backups of the stack {stack} are of several hosts: {hosts}. Name one of those in `ws backup list`."
        )
    return (here or own)[-1]


def manifest_of(repository: Repository, entry: Entry) -> Manifest:
    """What a backup holds. Raises `WsError`."""
    assert entry.manifest  # noqa: S101  (`chosen` takes no other)
    text = b"".join(repository.read(entry.manifest, f"/{MANIFEST}"))
    try:
        document: Mapping[str, object] = json.loads(text)
        if document.get("layout") != 1:
            raise WsError(f"the backup {entry.name} was made by a newer version of the platform: use that version.")
        return Manifest.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise WsError(f"the manifest of the backup {entry.name} is damaged: {str(error).splitlines()[0]}") from None
