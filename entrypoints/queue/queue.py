"""What the queue can be asked, whichever way it keeps its jobs: the interface between the HTTP server and the store.

All methods may be called at any time from the event loop and at once. Each may raise RefusedError: failures.unavailable
where the database does not answer, and what its docstring names.
"""

from __future__ import annotations

from typing import Literal, Protocol

from contracts.queue import JobView, Log, QueueView, State, Submission, UsageRow


class Queue(Protocol):
    """The queue."""

    async def submit(self, user: str, submission: Submission) -> tuple[JobView, bool]:
        """Keep a job that waits, and return it, and whether it is new. It is stored when this returns.

        The submission has an id, and was checked on its own: texts, amounts and numbers are within sensible bounds, the
        priority exists, the package was uploaded. The same submission of the same user under the same id is the same
        job, in whatever state it is by now: that is returned with False. Raises failures.id_taken where the id belongs
        to another user's job or to one with another submission, 409 `other_case` where another user's name differs by
        case only, and 429 `too_many` where too many wait already.
        """
        ...

    async def jobs(
        self, *, user: str | None = None, project: str | None = None, states: tuple[State, ...] = (), limit: int = 100
    ) -> tuple[JobView, ...]:
        """The jobs submitted last, newest first; of all users, projects and states where none is named."""
        ...

    async def job(self, name: str) -> JobView:
        """A job by its id, with all its attempts. Raises failures.no_job."""
        ...

    async def log(self, name: str, *, attempt: int | None = None, start: int = 0) -> Log:
        """What an attempt printed from a position on; of the last attempt where none is named.

        A negative start counts from the end. One beyond the end gives an empty text at the end that there is.
        Raises failures.no_job, a refusal 404 `no_such_attempt`, 410 `log_gone` where Ray no longer has it (such as of a
        node that is gone), and 503 `unavailable` while Ray does not answer.
        """
        ...

    async def cancel(self, name: str) -> JobView:
        """Have a job end; the answer may come while it still stops. One that has ended stays as it is.

        Raises failures.no_job.
        """
        ...

    async def retry(self, name: str) -> JobView:
        """Have a job that ended wait again, with its id, as its next attempt.

        Raises failures.no_job, and a refusal 409 `not_ended` where it has not ended. Where its package was removed
        meanwhile: 409 `no_package`. Where too many wait already: 429 `too_many`.
        """
        ...

    async def packages(self) -> set[str]:
        """The packages of jobs that have not ended, by their SHA-256."""
        ...

    async def view(self) -> QueueView:
        """What runs and waits, in the order of their turn, nodes and users: as seen last, without asking Ray."""
        ...

    async def usage(self, by: Literal["user", "project"], since: float, until: float) -> tuple[UsageRow, ...]:
        """What users or projects used between two moments (Unix time, seconds), most GPU hours first.

        Attempts count with the part of their time that lies between, running ones up to now. Jobs without a project
        are under the name "".
        """
        ...
