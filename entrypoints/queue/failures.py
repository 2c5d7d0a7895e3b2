"""What a caller is told when a request cannot be carried out: an HTTP status, a sentence, and what to do about it."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """A request cannot be carried out. Message and remedy are sentences for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        remedy: str,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.remedy = remedy
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        error = {"code": self.code, "message": str(self), "remedy": self.remedy, "param": self.param}
        return {"error": error}


def no_job(name: str) -> RefusedError:
    """Return the refusal of a job that the queue does not know."""
    remedy = "List the jobs that it knows: `ws job list --all`."
    return RefusedError(404, "no_such_job", f"The queue knows no job {name!r}.", remedy=remedy, param="id")


def id_taken(name: str) -> RefusedError:
    """Return the refusal of an id under which something else was submitted."""
    message = f"The id {name} belongs to another job."
    return RefusedError(409, "id_taken", message, remedy="Submit it with another id, or with none.", param="id")


def other_case(user: str, known: str) -> RefusedError:
    """Return the refusal of a name that is another user's but for its case."""
    return RefusedError(
        409, "other_case", f"The queue knows {known}, and {user} differs from that by case only.",
        remedy=f"Submit as the user that it knows: --user {known}", param=None,
    )  # fmt: skip


def too_many(most: int, user: str | None) -> RefusedError:
    """Return the refusal of a job while so many wait already: of a user, or in all."""
    whose, key = (f"jobs of {user}", "queue.waiting_per_user") if user else ("jobs", "queue.waiting")
    return RefusedError(
        429, "too_many", f"{most} {whose} wait already.", retry_after=60,
        remedy=f"Submit again when some have started, put many short runs into one job, or have {key} raised.",
    )  # fmt: skip


def unavailable(what: str) -> RefusedError:
    """Return the refusal while something that the service needs is away, such as its database."""
    return RefusedError(
        503, "unavailable", f"{what} does not answer. Jobs that were accepted are kept, and those that run go on.",
        remedy="Try again in a minute; `ws ps` shows what is down.", retry_after=10,
    )  # fmt: skip
