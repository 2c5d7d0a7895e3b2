"""The queue's tables in Postgres.

One connection, used by one thread at a time. Everything that belongs together is one transaction, and every change of a
job goes over the version that was read: who comes second is told so, and begins again. The service that decides holds a
lock of Postgres as long as this connection lives, so another one waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Placeholder
from psycopg.types.json import Jsonb

from contracts.document import decode, encode
from contracts.queue import Attempt, Event, State, Submission
from entrypoints.queue.schema import MIGRATIONS
from entrypoints.queue.stored import EVENTS, Job, why_ended
from scheduling.lifecycle import Cause, Outcome, Phase, Record
from scheduling.usage import Account

OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # milliseconds: a host that is gone does not close its connections
    "options": "-c statement_timeout=60s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
    "application_name": "cslr-queue",
}
MIGRATING, DECIDING = 0x0C51_0001, 0x0C51_0002  # keys of Postgres's advisory locks
NOTHING = Account()
COLUMNS = (
    "id", "user_name", "submission", "submitted", "queued", "phase", "attempt", "lost", "cause", "missing_since",
    "outcome", "version", "nodes", "borrowed", "started", "begun", "ended", "message",
    "told_long",
)  # fmt: skip
KEPT = ("id", "user_name", "submission", "submitted")  # from the beginning to the end
ADD = SQL("INSERT INTO jobs ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
    SQL(", ").join(map(Identifier, COLUMNS)), SQL(", ").join(map(Placeholder, COLUMNS))
)
CHANGE = SQL("UPDATE jobs SET {} WHERE id = %(id)s AND version = %(read)s").format(
    SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in COLUMNS if name not in KEPT)
)


class ConflictError(Exception):
    """Another one changed the job since it was read."""


class AwayError(Exception):
    """Postgres does not answer, or does not let the queue in. The message is Postgres's."""


class NewerError(Exception):
    """The tables are of a newer version of the queue."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """A user, as the store knows them."""

    account: Account = NOTHING
    last_turn: float | None = None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How many jobs wait."""

    every: int = 0
    own: int = 0  # of one user


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a user is to be told, until that is noted as done."""

    number: int
    job: str
    event: Event


@dataclass(frozen=True, kw_only=True)
class Held:
    """An attempt, and what it held from its start to its end."""

    job: str
    user: str
    project: str
    gpus: float
    cpus: float
    waited: float | None  # before the job's first start; None: of a later attempt
    started: float
    begun: float | None  # by Ray; from then on it counts
    ended: float | None
    outcome: str | None  # of the job, where this was its last attempt


class Store:
    """The tables. Methods raise AwayError."""

    def __init__(self, database: str, password: str, *, half_life: float, weigh: Callable[[Job], float]) -> None:
        """half_life, weigh: of the users' accounts; a job's charge for an hour."""
        self._database, self._password = database, password
        self._half_life, self._weigh = half_life, weigh
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._lock = threading.RLock()
        self._unended: dict[str, Job] = {}
        self._decides = False

    def close(self) -> None:
        """End the connection. With it goes the lock of who decides."""
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection, self._decides = None, False

    def decides(self) -> bool:
        """Whether this service decides: it holds the lock, or could take it now. Any other waits."""
        with self._transaction() as ask:
            if not self._decides:
                row = ask("SELECT pg_try_advisory_lock(%s) AS held", (DECIDING,)).fetchone()
                self._decides = bool(row and row["held"])
            else:
                ask("SELECT 1")  # a connection that is gone has lost the lock
            return self._decides

    def unended(self) -> Mapping[str, Job]:
        """All jobs that have not ended. Only those that changed since the last time are read as a whole."""
        with self._transaction() as ask:
            versions = {row["id"]: row["version"] for row in ask("SELECT id, version FROM jobs WHERE phase <> 'ended'")}
            known = self._unended
            changed = [
                name for name, version in versions.items()
                if name not in known or known[name].record.version != version
            ]  # fmt: skip
            fresh = {row["id"]: _job(row) for row in ask("SELECT * FROM jobs WHERE id = ANY(%s)", (changed,))}
            self._unended = {
                name: fresh.get(name) or known[name] for name in versions if name in fresh or name in known
            }
            return dict(self._unended)

    def waiting(self, user: str) -> Waiting:
        """How many jobs wait."""
        with self._transaction() as ask:
            row = ask(
                "SELECT count(*) AS every, count(*) FILTER (WHERE user_name = %s) AS own FROM jobs"
                " WHERE phase <> 'ended' AND phase = 'waiting'",  # by the index of those that have not ended
                (user,),
            ).fetchone()
            return Waiting(**row) if row else Waiting()

    def spelled(self, user: str) -> str | None:
        """Another user whose name differs by case only, unless this one is known too."""
        with self._transaction() as ask:
            rows = ask(
                "SELECT name FROM users WHERE lower(name) = lower(%(user)s)"
                " UNION SELECT user_name FROM jobs WHERE phase <> 'ended' AND lower(user_name) = lower(%(user)s)",
                {"user": user},
            )
            known = {row["name"] for row in rows}
            return None if user in known else min(known, default=None)

    def add(self, job: Job, may: Callable[[], None] = lambda: None) -> tuple[Job, bool]:
        """Keep a new job; return the one that has its id, and whether that is new.

        may: raises where no new job of this user may wait.
        """
        with self._transaction() as ask:
            if known := self.job(job.id):
                return known, False
            may()
            added = ask(ADD, _row(job)).rowcount == 1
            return (job, True) if added else (self.job(job.id) or job, False)

    def change(self, before: Job, after: Job, now: float, *, turn: bool = False) -> None:
        """Store a job over the version that was read; with it, what follows for its attempt, its user and who is told.

        turn: it starts in its user's turn. Raises ConflictError.
        """
        with self._transaction() as ask:
            if ask(CHANGE, {**_row(after), "read": before.record.version}).rowcount != 1:
                raise ConflictError(before.id)
            if after.record.attempt > before.record.attempt:
                self._begin_attempt(ask, after, now)
                if turn:
                    ask(
                        "INSERT INTO users VALUES (%s, 0, %s, %s)"
                        " ON CONFLICT (name) DO UPDATE SET last_turn = excluded.last_turn",
                        (after.user, now, now),
                    )
            elif before.holds and not after.holds:
                self._end_attempt(ask, after, why_ended(before.record, after.record), after.ended or now)
            elif before.begun is None and after.begun is not None:
                ask(
                    "UPDATE attempts SET begun = %s WHERE job = %s AND number = %s",
                    (after.begun, after.id, after.record.attempt),
                )
            event = EVENTS.get(after.record.outcome) if after.record.outcome else None
            if event and before.record.outcome is None:
                self._notice(ask, after.id, event, now)
            if after.told_long and not before.told_long:
                self._notice(ask, after.id, "waiting long", now)

    def shift(self, seconds: float, now: float) -> None:
        """The clock was set by so much: for jobs that have not ended, as much time has passed as before."""
        moved = {"by": seconds, "now": now}
        with self._transaction() as ask:
            columns = ("submitted", "queued", "started", "begun", "missing_since")
            ask(SQL("UPDATE jobs SET {}, version = version + 1 WHERE phase <> 'ended'").format(_moved(columns)), moved)
            ask(SQL("UPDATE attempts SET {} WHERE ended IS NULL").format(_moved(("started", "begun"))), moved)

    def keep_first(self, first_in_line: str | None) -> None:
        """Keep who is first in line, for the next decision."""
        with self._transaction() as ask:
            ask("UPDATE line SET first_in_line = %s", (first_in_line,))

    def first_in_line(self) -> str | None:
        """Who was first in line by the last decision."""
        with self._transaction() as ask:
            row = ask("SELECT first_in_line FROM line").fetchone()
            return row["first_in_line"] if row else None

    def users(self) -> dict[str, Used]:
        """All users who ever had a job started."""
        with self._transaction() as ask:
            return {
                row["name"]: Used(
                    account=Account(value=row["usage"], at=row["usage_at"]), last_turn=row["last_turn"]
                )
                for row in ask("SELECT * FROM users")
            }  # fmt: skip

    def job(self, name: str) -> Job | None:
        """A job, in whatever state it is."""
        with self._transaction() as ask:
            row = ask("SELECT * FROM jobs WHERE id = %s", (name,)).fetchone()
            return _job(row) if row else None

    def jobs(self, *, user: str | None, project: str | None, states: Sequence[State], limit: int) -> list[Job]:
        """The jobs that were submitted last, newest first."""
        with self._transaction() as ask:
            rows = ask(
                """
                SELECT * FROM jobs
                WHERE (%(user)s::text IS NULL OR user_name = %(user)s)
                  AND (%(project)s::text IS NULL OR submission->>'project' = %(project)s)
                  AND (%(states)s::text[] = '{}' OR CASE WHEN phase IN ('starting', 'running') AND cause IS NOT NULL
                                                 THEN 'stopping' ELSE phase END = ANY(%(states)s::text[]))
                ORDER BY submitted DESC, id LIMIT %(limit)s
                """,
                {"user": user, "project": project, "states": list(states), "limit": limit},
            )
            return [_job(row) for row in rows]

    def attempts(self, jobs: Sequence[str]) -> dict[str, list[Attempt]]:
        """The attempts of some jobs, in their order."""
        found: dict[str, list[Attempt]] = {}
        with self._transaction() as ask:
            for row in ask(
                "SELECT job, number, submission, nodes, coalesce(begun, started) AS started, ended, why_ended"
                " FROM attempts WHERE job = ANY(%s) ORDER BY job, number",
                (list(jobs),),
            ):
                nodes = tuple(row.pop("nodes"))
                found.setdefault(row.pop("job"), []).append(Attempt(**row, nodes=nodes))
        return found

    def held(self, since: float, until: float) -> list[Held]:
        """The attempts of which some time lies between two moments."""
        with self._transaction() as ask:
            rows = ask(
                """
                SELECT a.job, a.user_name AS user, a.project, a.gpus, a.cpus, a.started, a.begun, a.ended,
                       CASE WHEN a.number = 1 THEN a.waited END AS waited,
                       CASE WHEN a.number = j.attempt THEN j.outcome END AS outcome
                FROM attempts a JOIN jobs j ON j.id = a.job
                WHERE a.started < %(until)s AND (a.ended IS NULL OR a.ended > %(since)s)
                """,
                {"since": since, "until": until},
            )
            return [Held(**row) for row in rows]

    def notices(self) -> list[Notice]:
        """What users are to be told, oldest first."""
        with self._transaction() as ask:
            rows = ask("SELECT id, job, event FROM notices ORDER BY id LIMIT 100")
            return [Notice(number=row["id"], job=row["job"], event=row["event"]) for row in rows]

    def told(self, notice: Notice) -> None:
        """Note that a user was told."""
        with self._transaction() as ask:
            ask("DELETE FROM notices WHERE id = %s", (notice.number,))

    def packages(self) -> set[str]:
        """The packages of jobs that have not ended."""
        return {job.submission.package for job in self.unended().values() if job.submission.package}

    def _begin_attempt(self, ask: _Ask, job: Job, now: float) -> None:
        asked = job.submission
        ask(
            "INSERT INTO attempts VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL, NULL, NULL)",
            (
                job.id, job.record.attempt, job.user, asked.project or "", job.record.submission, list(job.nodes),
                asked.gpus * asked.count, asked.cpus * asked.count, asked.memory * asked.count,
                max(0.0, now - job.queued), now,
            ),
        )  # fmt: skip

    def _end_attempt(self, ask: _Ask, job: Job, why: str, end: float) -> None:
        """Its user is charged from the moment on when Ray began it."""
        start = end if job.begun is None else job.begun
        end = max(start, end)
        ask(
            "UPDATE attempts SET begun = %s, ended = %s, why_ended = %s WHERE job = %s AND number = %s",
            (job.begun, end, why, job.id, job.record.attempt),
        )
        row = ask("SELECT usage, usage_at FROM users WHERE name = %s FOR UPDATE", (job.user,)).fetchone()
        account = Account(value=row["usage"], at=row["usage_at"]) if row else Account()
        charged = account.charged(self._weigh(job), start, end, self._half_life)
        ask(
            "INSERT INTO users VALUES (%s, %s, %s, NULL)"
            " ON CONFLICT (name) DO UPDATE SET usage = excluded.usage, usage_at = excluded.usage_at",
            (job.user, charged.value, charged.at),
        )

    def _notice(self, ask: _Ask, job: str, event: Event, now: float) -> None:
        ask("INSERT INTO notices (job, event, at) VALUES (%s, %s, %s)", (job, event, now))

    @contextmanager
    def _transaction(self) -> Iterator[_Ask]:
        """A transaction, or a part of the one that this thread is in."""
        with self._lock:
            try:
                connection = self._connected()
                with connection.transaction():
                    yield connection.execute
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                raise AwayError(str(error).strip()) from error

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._decides = False
            connection = psycopg.connect(
                self._database, password=self._password, row_factory=dict_row, autocommit=True, **OPTIONS
            )
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def migrate(connection: psycopg.Connection[dict[str, Any]], migrations: Sequence[str] = MIGRATIONS) -> None:
    """Apply the migrations that were not applied yet. Raises NewerError."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATING,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
        row = connection.execute("SELECT coalesce(max(number), 0) AS last FROM migrations").fetchone()
        last = row["last"] if row else 0
        if last > len(migrations):
            raise NewerError(
                f"The tables of the queue are of version {last}; this service knows {len(migrations)}. They were "
                "changed by a newer version of the project: start that one, or restore the database of before."
            )
        for number, migration in enumerate(migrations[last:], last + 1):
            connection.execute(migration.encode())
            connection.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))


def _moved(columns: Sequence[str]) -> Composable:
    """Moments, moved by a span, but not into the future: some may be by the new clock already."""
    return SQL(", ").join(
        SQL("{0} = {0} + least(%(by)s::float8, %(now)s::float8 - {0})").format(Identifier(name)) for name in columns
    )


_Ask = Callable[..., psycopg.Cursor[dict[str, Any]]]


def _job(row: Mapping[str, Any]) -> Job:
    return Job(
        record=Record(
            id=row["id"],
            phase=Phase(row["phase"]),
            attempt=row["attempt"],
            lost=row["lost"],
            cause=Cause(row["cause"]) if row["cause"] else None,
            missing_since=row["missing_since"],
            outcome=Outcome(row["outcome"]) if row["outcome"] else None,
            version=row["version"],
        ),
        user=row["user_name"],
        submission=decode(Submission, row["submission"]),
        submitted=row["submitted"],
        queued=row["queued"],
        nodes=tuple(row["nodes"]),
        borrowed=row["borrowed"],
        started=row["started"],
        begun=row["begun"],
        ended=row["ended"],
        message=row["message"],
        told_long=row["told_long"],
    )


def _row(job: Job) -> dict[str, Any]:
    record = job.record
    return {
        "id": job.id,
        "user_name": job.user,
        "submission": Jsonb(encode(job.submission)),
        "submitted": job.submitted,
        "queued": job.queued,
        "phase": record.phase.value,
        "attempt": record.attempt,
        "lost": record.lost,
        "cause": record.cause.value if record.cause else None,
        "missing_since": record.missing_since,
        "outcome": record.outcome.value if record.outcome else None,
        "version": record.version,
        "nodes": list(job.nodes),
        "borrowed": job.borrowed,
        "started": job.started,
        "begun": job.begun,
        "ended": job.ended,
        "message": job.message,
        "told_long": job.told_long,
    }
