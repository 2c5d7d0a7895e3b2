"""Limits of one user: how much their jobs hold at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scheduling.amounts import Amounts, plus
from scheduling.model import Limits, Request, Running

JOBS = "jobs"  # the limit of running jobs, beside those of resources


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a user's jobs hold."""

    jobs: int = 0
    amounts: Mapping[str, int]

    def with_request(self, request: Request) -> "Held":
        """Once this has started too."""
        return Held(jobs=self.jobs + 1, amounts=plus(self.amounts, request.each, request.count))


NONE = Held(amounts={})


def held_by_user(running: Iterable[Running]) -> dict[str, Held]:
    """What each user's jobs hold."""
    held: dict[str, Held] = {}
    for run in running:
        held[run.job.user] = held.get(run.job.user, NONE).with_request(run.job.request)
    return held


def exceeded(limits: Limits, held: Held, request: Request) -> str | None:
    """The limit that a request would exceed: a resource, or JOBS."""
    after = held.with_request(request)
    if limits.jobs is not None and after.jobs > limits.jobs:
        return JOBS
    for name, most in limits.amounts.items():
        if request.each.get(name) and after.amounts.get(name, 0) > most:
            return name
    return None


def impossible(limits: Limits, request: Request) -> str | None:
    """The limit that a request exceeds even if the user has no other job."""
    return exceeded(limits, NONE, request)


def passes(limits: Limits, held: Held, request: Request, earlier: Request) -> bool:
    """Whether a request may start before an earlier one of the same user.

    Not if they share a limit that is too small for both beside what runs: else small jobs could keep a large one away.
    """
    both = held.with_request(request).with_request(earlier)
    if limits.jobs is not None and both.jobs > limits.jobs:
        return False
    return all(
        both.amounts.get(name, 0) <= most for name, most in limits.amounts.items() if _both(name, request, earlier)
    )


def _both(name: str, first: Request, second: Request) -> bool:
    asked: tuple[Amounts, Amounts] = (first.each, second.each)
    return all(each.get(name) for each in asked)
