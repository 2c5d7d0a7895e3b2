"""The store of builds and measurements: an SQLite file in the user's state folder.

Several processes use it at once; each call is one short transaction. Imports little, because a program that finds its
image measured already should end at once.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from build_report.records import (
    PUSHING,
    Build,
    BuildRecord,
    Image,
    Layer,
    Package,
    ReportError,
    Sample,
    Subject,
    Usage,
    used,
)
from build_report.runs import current_run
from build_report.schema import MIGRATIONS
from config.project import state_root
from contracts.facts import BUILDS, BuildFact, Builds
from docker_api.step import Step
from stack import facts
from stack.state import make_closed

WAIT = 30.0  # seconds for other writers
LOG = logging.getLogger("build_report")

USAGE = ("cpu_peak", "cpu_mean", "memory_peak", "disk_before", "disk_after")
SUBJECT = ("image", "target", "variant", "flavour", "platform")
PLAIN = ("tag", "engine", "started", "ended", "result", "error", "image_id", "builder", "sent", "timing")
OF_SUBJECT = " AND ".join(f"{name} IS :{name}" for name in SUBJECT)


class StoreError(ReportError):
    """The store cannot be read or written. The message is one sentence."""


def default_path() -> Path:
    """The user's store."""
    return state_root() / "builds.sqlite"


def record_build(record: BuildRecord) -> None:
    """Stores a build of the current run, and lets the health service know the last result of each image.

    If that fails, it only warns: the build itself is what counts.
    """
    try:
        store = Store()
        store.add_build(record)
        _tell(store)
    except (StoreError, OSError) as error:
        LOG.warning("the build of %s is not in the build report: %s", record.tag, error)


def _tell(store: "Store") -> None:
    found = {
        build.subject.title: BuildFact(time=build.ended, succeeded=build.result != "failed")
        for build in store.newest(failed=True)
    }
    facts.write(state_root(), BUILDS, Builds(images=found))


def record_push(tag: str, started: float) -> None:
    """Stores the push of an image that has just ended, with its build. If that fails, it only warns."""
    try:
        store = Store()
        if build := store.build_of_tag(tag):
            store.add_step(build.number, Step(name=f"{PUSHING}{tag}", started=started, completed=time.time()))
    except StoreError as error:
        LOG.warning("the push of %s is not in the build report: %s", tag, error)


class Store:
    """One store, by default the user's. Every method may raise `StoreError`."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    # --- builds ---

    def add_build(self, record: BuildRecord, run: str | None = None) -> Build:
        """Keeps a build."""
        run = run or current_run()
        row = {name: getattr(record, name) for name in PLAIN} | {"run": run} | vars(record.subject)
        row |= {name: getattr(record.usage, name) if record.usage else None for name in USAGE}
        with self._open() as db:
            number = db.execute(
                f"INSERT INTO builds ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})",  # noqa: S608
                row,
            ).lastrowid
            db.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, position, step.name, step.started, step.completed, step.cached, step.error)
                    for position, step in enumerate(record.steps)
                ],
            )
            return self._build(db, db.execute("SELECT * FROM builds WHERE number = ?", (number,)).fetchone())

    def amend_build(self, number: int, **values: Any) -> None:  # noqa: ANN401
        """Sets columns of a build, or its `subject`."""
        subject = values.pop("subject", None)
        row = values | (vars(subject) if subject else {})
        with self._open() as db:
            db.execute(
                f"UPDATE builds SET {', '.join(f'{name} = :{name}' for name in row)} WHERE number = :number",  # noqa: S608
                row | {"number": number},
            )

    def add_step(self, number: int, step: Step) -> None:
        """Keeps one more step of a build, such as its push."""
        with self._open() as db:
            db.execute(
                "INSERT INTO steps SELECT ?, coalesce(max(position) + 1, 0), ?, ?, ?, ?, ? FROM steps WHERE build = ?",
                (number, step.name, step.started, step.completed, step.cached, step.error, number),
            )

    def build_of_tag(self, tag: str) -> Build | None:
        """The newest successful build of a tag."""
        return next(iter(self._builds("tag = ? AND result <> 'failed' ORDER BY number DESC LIMIT 1", (tag,))), None)

    def builds_of_run(self, run: str) -> list[Build]:
        """A run's builds in the order in which they began."""
        return self._builds("run = ? ORDER BY started, number", (run,))

    def builds_since(self, runs: int) -> list[Build]:
        """The builds of the last `runs` runs, oldest first."""
        return self._builds(
            "run IN (SELECT run FROM builds GROUP BY run ORDER BY max(number) DESC LIMIT ?) ORDER BY started, number",
            (runs,),
        )

    def previous(self, build: Build) -> Build | None:
        """The build before this of the same subject that left an image which was measured."""
        values = vars(build.subject) | {"number": build.number, "started": build.started}
        condition = "number <> :number AND started <= :started AND image_id IN (SELECT image_id FROM images)"
        found = self._builds(f"{OF_SUBJECT} AND {condition} ORDER BY started DESC, number DESC LIMIT 1", values)
        return found[0] if found else None

    def newest(self, *, failed: bool = False) -> list[Build]:
        """The newest successful build of every subject; with `failed`, the newest."""
        which = "1" if failed else "result <> 'failed' AND image_id NOTNULL"
        numbers = f"SELECT max(number) FROM builds WHERE {which} GROUP BY {', '.join(SUBJECT)}"  # noqa: S608
        return self._builds(f"number IN ({numbers}) ORDER BY number", ())

    def last_run(self) -> str | None:
        """The run of the last build."""
        with self._open() as db:
            row = db.execute("SELECT run FROM builds ORDER BY number DESC LIMIT 1").fetchone()
        return row["run"] if row else None

    # --- runs ---

    def runs(self, beginning: str) -> list[str]:
        """The runs whose names begin so, the newest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT run FROM builds WHERE substr(run, 1, ?) = ? GROUP BY run ORDER BY max(number) DESC",
                (len(beginning), beginning),
            )
            return [row["run"] for row in rows]

    def add_note(self, run: str, text: str) -> None:
        """Keeps a remark on a run, in place of any earlier one; an empty text removes it."""
        with self._open() as db:
            db.execute("DELETE FROM notes WHERE run = ?", (run,))
            if text:
                db.execute("INSERT INTO notes VALUES (?, ?)", (run, text))

    def notes(self) -> dict[str, str]:
        """The remarks on runs."""
        with self._open() as db:
            return {row["run"]: row["text"] for row in db.execute("SELECT run, text FROM notes")}

    def add_cache_size(self, run: str, size: int) -> None:
        """Keeps how many bytes the build cache has, at first before the run, then after it."""
        with self._open() as db:
            db.execute(
                "INSERT INTO caches VALUES (?, ?, NULL) ON CONFLICT (run) DO UPDATE SET after = excluded.before",
                (run, size),
            )

    def cache_sizes(self, run: str) -> tuple[int, int | None] | None:
        """The bytes of the build cache before and after a run; None where they were not asked for."""
        with self._open() as db:
            row = db.execute("SELECT before, after FROM caches WHERE run = ?", (run,)).fetchone()
        return (row["before"], row["after"]) if row else None

    def step_names(self) -> set[str]:
        """Names of all steps of builds that this project made, by which its part of the build cache is known."""
        with self._open() as db:
            return {row["name"] for row in db.execute("SELECT DISTINCT name FROM steps")}

    # --- images ---

    def add_image(self, image: Image) -> None:
        """Keeps what was measured of an image; what was kept of it before is replaced."""
        row = (image.image_id, image.created, json.dumps(image.labels), image.distribution, image.python)
        with self._open() as db:
            db.execute("DELETE FROM images WHERE image_id = ?", (image.image_id,))
            db.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, image.torch, image.torch_cuda))
            db.executemany(
                "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (image.image_id, position, layer.diff_id, layer.chain_id, layer.name, layer.size, layer.created)
                    for position, layer in enumerate(image.layers)
                ],
            )
            db.executemany(
                "INSERT INTO packages VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (image.image_id, package.kind, package.name, package.version, package.size, package.architecture,
                     package.source)
                    for package in image.packages
                ],
            )  # fmt: skip

    def chain_ids(self, *, other_than: str) -> set[str]:
        """Chain IDs of all layers of the other images."""
        with self._open() as db:
            return {row[0] for row in db.execute("SELECT chain_id FROM layers WHERE image_id <> ?", (other_than,))}

    def image(self, image_id: str | None) -> Image | None:
        """What was measured of an image."""
        with self._open() as db:
            row = db.execute("SELECT * FROM images WHERE image_id = ?", (image_id,)).fetchone()
            if row is None:
                return None
            layers = db.execute(
                "SELECT layers.*, compressed.size AS compressed FROM layers LEFT JOIN compressed USING (diff_id)"
                " WHERE image_id = ? ORDER BY position",
                (image_id,),
            )
            packages = db.execute("SELECT * FROM packages WHERE image_id = ? ORDER BY kind, name", (image_id,))
            return Image(
                **{
                    name: row[name] for name in ("image_id", "created", "distribution", "python", "torch", "torch_cuda")
                },
                labels=json.loads(row["labels"]),
                layers=tuple(Layer(**_without(layer, "image_id", "position")) for layer in layers),
                packages=tuple(Package(**_without(package, "image_id")) for package in packages),
            )

    def add_compressed(self, sizes: Iterable[tuple[str, int]], method: str) -> None:
        """Stores compressed sizes by diff ID. Sizes from a registry replace measured ones."""
        with self._open() as db:
            db.executemany(
                "INSERT INTO compressed VALUES (?, ?, ?) ON CONFLICT (diff_id) DO UPDATE"
                " SET size = excluded.size, method = excluded.method WHERE excluded.method = 'registry'",
                [(diff_id, size, method) for diff_id, size in sizes],
            )

    # --- usage ---

    def add_sample(self, run: str, sample: Sample) -> None:
        """Stores one sample of the host during a run."""
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO samples VALUES (:run, :time, :cpu, :memory, :disk)",
                {"run": run} | vars(sample),
            )

    def usage(self, run: str, started: float, ended: float) -> Usage | None:
        """What the host used in an interval of a run; None if there are no samples."""
        with self._open() as db:
            rows = db.execute(
                "SELECT time, cpu, memory, disk FROM samples WHERE run = ? AND time BETWEEN ? AND ? ORDER BY time",
                (run, started, ended),
            ).fetchall()
        return used([Sample(**_without(row)) for row in rows])

    # --- the file ---

    def _builds(self, condition: str, values: Sequence[Any] | dict[str, Any]) -> list[Build]:
        with self._open() as db:
            rows = db.execute(f"SELECT * FROM builds WHERE {condition}", values).fetchall()  # noqa: S608
            return [self._build(db, row) for row in rows]

    @staticmethod
    def _build(db: sqlite3.Connection, row: sqlite3.Row) -> Build:
        steps = db.execute("SELECT * FROM steps WHERE build = ? ORDER BY position", (row["number"],))
        return Build(
            **{name: row[name] for name in (*PLAIN, "number", "run")},
            subject=Subject(**{name: row[name] for name in SUBJECT}),
            steps=tuple(
                Step(**{**_without(step, "build", "position"), "cached": bool(step["cached"])}) for step in steps
            ),
            usage=Usage(**{name: row[name] for name in USAGE}) if row["cpu_peak"] is not None else None,
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction, on migrated tables."""
        try:
            make_closed(self.path.parent)
            self.path.touch(mode=0o600)  # the output of failed builds is private
            with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA foreign_keys = ON")
                db.execute("PRAGMA synchronous = NORMAL")  # with WAL, losing power loses the last build and no more
                if db.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
                    _migrate(db, self.path)
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    if db.in_transaction:  # SQLite ends it itself when the disk is full
                        db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}. Unlock or repair it, or remove it to start over.") from error
        except OSError as error:
            raise StoreError(
                f"{error.filename or self.path}: {error.strerror}. Builds are kept in {self.path}."
            ) from error


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Creates missing tables. With several processes at once, the first one does."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN EXCLUSIVE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        db.execute("ROLLBACK")
        raise StoreError(
            f"{path} was written by a newer version of this project (schema {version}, known are {len(MIGRATIONS)}): "
            "update the project, or remove the file to start over."
        )
    for script in MIGRATIONS[version:]:
        for statement in script.split(";"):  # executescript would end the transaction
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


def _without(row: sqlite3.Row, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name not in names}  # noqa: SIM118 (a Row is not a mapping)
