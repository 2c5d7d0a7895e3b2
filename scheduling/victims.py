"""Which restartable jobs are stopped so that the first in line can start: only if it then does, and none in vain."""

from collections.abc import Iterable

from scheduling.model import Job, Policy, Running
from scheduling.room import Free, fits_in


def victims(front: Job, free: Free, running: Iterable[Running], policy: Policy) -> list[Running]:
    """The jobs to stop: none if it would not help, or if those that are being stopped suffice."""
    listed = list(running)
    for run in listed:
        if run.stopping:
            free = free.without(run)
    chosen: list[Running] = []
    for run in sorted((run for run in listed if _may_stop(run, front, policy)), key=lambda run: _order(run, policy)):
        if fits_in(front.request, free):
            break
        free = free.without(run)
        chosen.append(run)
    if not fits_in(front.request, free):
        return []
    for run in tuple(chosen):
        tried = free.after(run.job.request, (node for node in run.nodes if node in free.nodes))
        if fits_in(front.request, tried):
            chosen.remove(run)
            free = tried
    return chosen


def _may_stop(run: Running, front: Job, policy: Policy) -> bool:
    if run.stopping or not run.job.restartable:
        return False
    own = policy.priorities.get(front.priority)
    other = policy.priorities.get(run.job.priority)
    outranked = own is not None and own.preempts and (other is None or other.rank < own.rank)
    return run.borrowed or outranked


def _order(run: Running, policy: Policy) -> tuple[bool, int, float, str]:
    """Loans first, then low ranks; of these the one that loses the least work."""
    known = policy.priorities.get(run.job.priority)
    return (not run.borrowed, known.rank if known else 0, -run.started, run.job.id)
