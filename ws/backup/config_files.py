"""The small files of a stack, backed up as one folder: stack file, cluster file, secrets, keys, history, builds.

They are copied first, so that all are of one moment, and builds.sqlite is whole.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from config.packages import lock_name
from config.project import FOLDER, state_root
from config.stack_file import stack_file
from stack import env_secrets
from stack.identity import StackIdentity
from stack.state import make_closed, stack_folder, write_atomically
from ws.config.editing import alone, put

PROJECT, STATE, USER = "project", "stack", "user"  # folders in the copy
CLUSTER_FILE, BUILDS = "cluster.yaml", "builds.sqlite"
STACK_FILE, LOCK = "stack.yaml", "packages.lock"  # by names without the stack's
PASSPHRASE = Path("pulumi") / "passphrase"
KEPT_FOLDERS = ("generated", env_secrets.FOLDER, "history")  # of the stack's state folder


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file or folder in the copy, and its place on the host."""

    copy: str
    place: Path


def places(identity: StackIdentity) -> list[Place]:
    """Where the files of a stack are."""
    file, root, own = stack_file(FOLDER, identity.stack), state_root(), stack_folder(identity)
    return [
        Place(copy=f"{PROJECT}/{STACK_FILE}", place=file),
        Place(copy=f"{PROJECT}/{LOCK}", place=file.with_name(lock_name(file.name))),
        Place(copy=f"{PROJECT}/{CLUSTER_FILE}", place=FOLDER / CLUSTER_FILE),
        *(Place(copy=f"{STATE}/{name}", place=own / name) for name in KEPT_FOLDERS),
        Place(copy=f"{USER}/{PASSPHRASE}", place=root / PASSPHRASE),
        Place(copy=f"{USER}/{BUILDS}", place=root / BUILDS),
        *(
            Place(copy=f"{USER}/{key.name}", place=key)
            for key in sorted((root / identity.project).glob("cluster-*.key"))
        ),
    ]


def collect(identity: StackIdentity, target: Path) -> None:
    """Copies them into a folder, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    make_closed(target)
    for one in places(identity):
        copy = target / one.copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        if one.place.name == BUILDS and one.place.is_file():
            with (
                closing(sqlite3.connect(f"file:{one.place}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as database,
            ):
                source.backup(database)
        elif one.place.is_dir():
            shutil.copytree(one.place, copy)
        elif one.place.is_file():
            shutil.copy2(one.place, copy)


def put_back(identity: StackIdentity, source: Path) -> Iterator[str]:
    """Gives this host each file that it lacks. What is there stays; yields what differs from the backup's, in words.

    Files keep their owners where this user is another than the one that made them: all belong to who restores.
    """
    wanted = places(identity)
    keys = (source / USER).glob("cluster-*.key")
    wanted += [Place(copy=f"{USER}/{key.name}", place=state_root() / identity.project / key.name) for key in keys]
    with alone(identity):
        for one in dict.fromkeys(wanted):
            copy = source / one.copy
            for file in sorted(copy.rglob("*")) if copy.is_dir() else [copy] if copy.is_file() else []:
                if file.is_file():
                    yield from _put_file(file, one.place / file.relative_to(copy) if copy.is_dir() else one.place)


def _put_file(file: Path, place: Path) -> Iterator[str]:
    content = file.read_bytes()
    if not place.exists():
        if place.is_relative_to(FOLDER):
            put(place, content)  # people and version control read it
        else:
            write_atomically(place, content, 0o600)
    elif place.name != BUILDS and place.read_bytes() != content:
        yield f"{place} is there, and stays as it is: it differs from the one in the backup"
