"""When a job starts at the latest, if every running job takes as long as it may."""

from collections.abc import Iterable, Sequence

from scheduling.model import Request, Running
from scheduling.room import Free, fits_in


def latest_start(request: Request, free: Free, running: Sequence[Running], now: float) -> float | None:
    """The time, or None if it depends on a job without a time limit, or on what the queue did not start.

    Jobs on loan count as ended, because they are stopped for it.
    """
    for run in running:
        if run.borrowed:
            free = free.without(run)
    if fits_in(request, free):
        return now
    for end, run in sorted(_ends(running, now), key=lambda entry: (entry[0], entry[1].job.id)):
        free = free.without(run)
        if fits_in(request, free):
            return end
    return None


def without_end(request: Request, free: Free, running: Iterable[Running]) -> str | None:
    """The job without a time limit that a request waits for, once all others have ended; None if there is none."""
    listed = list(running)
    for run in listed:
        if run.job.time_limit is not None:
            free = free.without(run)
    for run in sorted((run for run in listed if run.job.time_limit is None), key=lambda run: (run.started, run.job.id)):
        free = free.without(run)
        if fits_in(request, free):
            return run.job.id
    return None


def _ends(running: Iterable[Running], now: float) -> list[tuple[float, Running]]:
    """The latest ends. A job past its limit is being stopped: it ends now."""
    return [
        (max(now, run.started + run.job.time_limit), run)
        for run in running
        if run.job.time_limit is not None and not run.borrowed
    ]
