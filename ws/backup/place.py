"""Where a stack's backups are, as its settings or options say, and what this host remembers of them."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import BaseModel, ValidationError

from config.backup import BackupSettings
from contracts.document import load
from contracts.facts import BACKUP, Times
from stack import facts
from stack.identity import StackIdentity
from stack.state import HostFiles, stack_folder, write_atomically
from ws.backup.restic import Repository
from ws.backup.sets import Manifest
from ws.errors import WsError

PASSWORD = "backup-password"  # noqa: S105  (the name of a file)
FOLDER, LAST = "backup", "last.json"  # in the stack's state folder
FACT = "ws backup"  # its name beside other backups


class Last(BaseModel):
    """The last backup that was completed on this host."""

    name: str
    time: float
    repository: str
    files: dict[str, int] = {}  # of each folder
    size: int = 0  # bytes of all folders


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a command line says in place of the stack file."""

    repository: str | None = None
    password_file: Path | None = None
    s3_credentials: Path | None = None

    @property
    def words(self) -> list[str]:
        """As they are on a command line."""
        named = {f"--{one.name.replace('_', '-')}": getattr(self, one.name) for one in fields(self)}
        return [word for option, value in named.items() if value for word in (option, str(value))]


def repository_of(
    identity: StackIdentity,
    settings: BackupSettings | None,
    options: Options,
    say: Callable[[str], None],
    *,
    make_password: bool = False,
) -> Repository:
    """The repository of a stack; `say` tells people what it waits for.

    Raises `WsError` where nothing says where it is, or with which password.
    """
    location = options.repository or (settings and settings.repository)
    if not location:
        raise WsError(
            f"stack {identity.stack} has no repository for backups. Set one, such as a disk that is mounted:\n"
            f"    ws set backup.repository /mnt/backup/cslr -s {identity.stack}\n"
            "  `ws restore` also takes it as an option: --repository /mnt/backup/cslr"
        )
    credentials = options.s3_credentials or (settings and settings.s3_credentials)
    password_file, is_new = _password_file(identity, settings, options, make=make_password)
    found = Repository(
        location=location,
        password_file=password_file,
        s3_credentials=Path(credentials) if credentials else None,
        password_is_new=is_new,
        say=say,
    )
    found.refuse_missing_programs()
    found.refuse_missing_files()
    return found


def _password_file(
    identity: StackIdentity, settings: BackupSettings | None, options: Options, *, make: bool
) -> tuple[Path, bool]:
    """The file with the password, and whether it was made just now."""
    if named := options.password_file or (settings and settings.password_file):
        return Path(named), False
    files = HostFiles(folder=stack_folder(identity), dry_run=False)
    file = files.folder / "generated" / PASSWORD
    if file.is_file():
        return file, False
    if not make:
        raise WsError(f"{file} is missing, the password of the backups. Name the file with it: --password-file FILE")
    files.generated(PASSWORD)
    return file, True


def refuse_other_users() -> None:
    """Raises `WsError` with the command: only root reads volumes, and gives files back to their owners."""
    if os.geteuid():
        raise WsError(
            "backups need root, which alone may read Docker's volumes and restore the owners of files.\n"
            '  Run it as root: sudo env HOME="$HOME" bin/ws …'
        )


def last_of(identity: StackIdentity) -> Last | None:
    """The last backup on this host, if there was one."""
    try:
        return Last.model_validate_json((stack_folder(identity) / FOLDER / LAST).read_text())
    except (OSError, ValidationError):
        return None


def remember(identity: StackIdentity, made: Manifest, repository: Repository) -> None:
    """Keeps what the last backup was, also for the health service, whose metrics and alert tell its age.

    The alert does not count one that lacks files.
    """
    now, folder = time.time(), stack_folder(identity)
    files = {name: one.files for name, one in made.folders.items()}
    size = sum(one.size for one in made.folders.values())
    last = Last(name=made.name, time=now, repository=repository.location, files=files, size=size)
    write_atomically(folder / FOLDER / LAST, last.model_dump_json().encode(), 0o600)
    if not made.unread:
        facts.write(folder, BACKUP, Times(times={**_others(folder / facts.FOLDER / f"{BACKUP}.json"), FACT: now}))


def _others(file: Path) -> Mapping[str, float]:
    """The times of backups that a site's own scripts have written."""
    try:
        return load(Times, file.read_text()).times
    except (OSError, ValueError):  # DocumentError is one
        return {}
