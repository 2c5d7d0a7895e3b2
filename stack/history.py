"""The history of a stack: one record for each `up`, `down`, rollback and rotation of secrets, in its state folder.

Private, bounded in number and bytes, without secrets. Numbers only grow. Does not import Pulumi.
"""

import os
import pwd
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.facts import HISTORY, PastRun, PastRuns
from stack import facts
from stack.identity import StackIdentity
from stack.state import make_closed, stack_folder, write_atomically

FOLDER = "history"  # in the stack's folder
MOST_RECORDS = 100
MOST_BYTES = 8 * 1024**2  # of all records
MOST_TEXT = 512 * 1024  # characters of the files in one record; larger ones are not kept
MOST_CHANGES = 200  # named in one record
MOST_ERROR = 300  # characters
TOLD_RUNS, TOLD_NAMES = 5, 8  # runs that the health service shows, and resources in each
BEGUN_SECONDS = 10.0  # for which a file may be empty whose number a run has just taken
CLOCK_SECONDS = 5.0  # by which the start of a process, counted from the boot, may be off
LOGIN_USERS = ("SUDO_USER", "DOAS_USER")  # variables with the user who called sudo or doas


class Operation(StrEnum):
    """What was done to the stack."""

    UP = "up"
    DOWN = "down"
    ROLLBACK = "rollback"
    ROTATION = "rotate secrets"
    UPGRADE = "upgrade Postgres"


class Outcome(StrEnum):
    """How it ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"  # a plain `pulumi up` tells its program no outcome


DEPLOYED = (Outcome.DONE, Outcome.UNKNOWN)  # outcomes of a run after which the stack is, or may be, as its files say


class Model(BaseModel):
    """Frozen; ignores keys that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Changed(Model):
    """One resource that was changed, or that failed."""

    name: str
    kind: str
    action: str  # create, update, replace, repair, delete
    failed: bool = False


class RunImage(Model):
    """The image of a container."""

    identifier: str
    tags: tuple[str, ...] = ()


class Record(Model):
    """One run on a stack."""

    number: int = 0
    operation: Operation
    engine: str
    who: str
    started: float  # seconds since 1970
    seconds: float | None = None
    version: str
    commit: str = ""
    outcome: Outcome = Outcome.RUNNING
    error: str = ""  # its first line
    changed: tuple[Changed, ...] = ()
    counts: dict[str, int] = {}  # action → resources
    verification: str = ""  # 13 of 13 passed
    files: dict[str, str] = {}  # the stack file and the lock of its packages: name → text without secrets
    masked: tuple[str, ...] = ()  # keys of the stack file whose plain secrets were taken out
    images: dict[str, RunImage] = {}  # service → what its container ran in the end
    returned_to: int | None = None  # of a rollback: the number of the record
    process: int | None = None

    @property
    def deployed(self) -> bool:
        """Whether the stack was as its files say in the end."""
        return self.operation is not Operation.DOWN and self.outcome is Outcome.DONE

    @property
    def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """What a rollback returns to. Names that others gave to an image make no other one of it."""
        return self.files, {service: image.identifier for service, image in self.images.items()}

    def ended(self, outcome: Outcome, **values: object) -> "Record":
        """The record of the run that has ended now."""
        seconds = round(time.time() - self.started, 1)
        return self.model_copy(update={"seconds": seconds, "process": None, **values, "outcome": outcome})


class History:
    """The records of one stack."""

    def __init__(self, identity: StackIdentity) -> None:
        self.folder = stack_folder(identity) / FOLDER

    def records(self) -> list[Record]:
        """All records, the oldest first. One whose process has gone was interrupted."""
        return [_settled(record) for _, record in self._read() if record]

    def unreadable(self) -> list[Path]:
        """Files that should be records and are none: damaged, or another version's."""
        return [path for path, record in self._read() if record is None]

    def begin(self, record: Record) -> Record:
        """Writes a record under the next number, and drops the oldest beyond the bounds."""
        make_closed(self.folder)
        files = self._files()
        for number in count(_number(files[-1]) + 1 if files else 1):
            with suppress(FileExistsError):  # another run has just taken it
                os.close(os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                break
        begun = record.model_copy(update={"number": number})
        self.write(begun)
        self._drop_old()
        return begun

    def write(self, record: Record) -> None:
        """Replaces a record; not one that was removed meanwhile, as by ``ws down -v``."""
        if self._path(record.number).exists():
            write_atomically(self._path(record.number), record.model_dump_json(indent=1).encode(), 0o600)
            self.tell()

    def remove(self, record: Record) -> None:
        """Removes the record of a run that changed nothing because the user declined."""
        self._path(record.number).unlink(missing_ok=True)
        self.tell()

    def tell(self) -> None:
        """Lets the health service know the last runs, without what only the stack's owner may read."""
        if not self.folder.is_dir():
            return
        last = [_settled(record) for _, record in self._read(TOLD_RUNS) if record]
        with suppress(OSError):  # the page then shows what was known before
            facts.write(self.folder.parent, HISTORY, PastRuns(runs=tuple(map(_told, reversed(last)))))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def _files(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("*.json") if path.stem.isdigit()), key=_number)

    def _read(self, last: int = 0) -> Iterator[tuple[Path, Record | None]]:
        """All, or those with the highest numbers."""
        for path in self._files()[-last:]:
            try:
                text, age = path.read_bytes(), time.time() - path.stat().st_mtime
            except FileNotFoundError:  # it was dropped meanwhile
                continue
            except OSError:
                yield path, None
                continue
            if text or age > BEGUN_SECONDS:
                yield path, _parsed(text)

    def _drop_old(self) -> None:
        """Keeps the last deployment, whose files say what the host should be."""
        last = max((record.number for _, record in self._read() if record and record.deployed), default=0)
        files = self._files()
        sizes = {path: path.stat().st_size for path in files}
        for path in files[:-1]:
            if len(sizes) <= MOST_RECORDS and sum(sizes.values()) <= MOST_BYTES:
                return
            if _number(path) != last:
                path.unlink(missing_ok=True)
                del sizes[path]


def before(records: Sequence[Record], number: int) -> Record | None:
    """The deployment before a record, whose files its config is compared with; one that failed was none."""
    earlier = [one for one in records if one.number < number and one.files and one.outcome in DEPLOYED]
    return earlier[-1] if earlier else None


def first_line(error: object) -> str:
    """What a record says of an error: a log that follows may hold anything."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:MOST_ERROR]


def who(environment: Mapping[str, str]) -> str:
    """The user who logged in, also behind sudo: ``anna (as root)``."""
    acting = _name(os.getuid())
    login = next((environment[key] for key in LOGIN_USERS if environment.get(key)), "") or _audited() or acting
    return login if login == acting else f"{login} (as {acting})"


def _audited() -> str:
    """The user of the login session, as the kernel keeps it through su; empty where it keeps none."""
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return ""
    return _name(uid) if uid != 2**32 - 1 else ""


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _number(path: Path) -> int:
    return int(path.stem)


def _parsed(text: bytes) -> Record | None:
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        return None


def _told(record: Record) -> PastRun:
    done = [one.name for one in record.changed if not one.failed]
    return PastRun(
        number=record.number,
        operation=record.operation.value,
        who=record.who,
        time=record.started,
        outcome=record.outcome.value,
        seconds=record.seconds,
        returned_to=record.returned_to,
        counts=record.counts,
        changed=tuple(done[:TOLD_NAMES]),
        failed=tuple(one.name for one in record.changed if one.failed)[:TOLD_NAMES],
        verification=record.verification,
    )


def _settled(record: Record) -> Record:
    if record.outcome is not Outcome.RUNNING or record.process is None or _lives(record):
        return record
    return record.model_copy(update={"outcome": Outcome.INTERRUPTED})


def _lives(record: Record) -> bool:
    """Whether the process that wrote it still runs; a later one may have its number."""
    try:
        return psutil.Process(record.process).create_time() <= record.started + CLOCK_SECONDS
    except psutil.Error:
        return False
