"""The queue as people see it, from what a turn of the loop saw and decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from contracts.queue import Attempt, JobView, QueueView, UserView
from entrypoints.queue import cluster
from entrypoints.queue.loop import Picture
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Phase
from scheduling.limits import held_by_user
from scheduling.line import Line
from scheduling.model import Limits, Plan, Policy, State, User
from scheduling.words import why

NEW = "It was just submitted: the queue has not looked at it yet."
PENDING = (
    "Ray has it and has not begun it: its nodes are still preparing its environment, or what it asks for is taken by "
    "work that did not come through the queue."
)
NO_RAY = "Nothing is started while Ray does not answer."


def job_view(job: Job, picture: Picture, limits: Callable[[str], Limits], attempts: Sequence[Attempt] = ()) -> JobView:
    """A job, with why it waits."""
    if job.record.phase is not Phase.WAITING:
        view = job.view(attempts)
        # That Ray has an attempt does not mean that it runs.
        begins = view.state == "running" and job.begun is None
        return replace(view, state="starting", why=PENDING) if begins else view
    plan = picture.plan
    if picture.ray_message is not None:
        return job.view(attempts, why=f"{NO_RAY} {picture.ray_message}")
    if plan is None or job.queued > picture.now or _starts(plan, job):
        return job.view(attempts, why=NEW)
    reason = plan.reasons.get(job.id)
    return job.view(
        attempts,
        why=why(job.waiting, plan, limits(job.user), picture.now),
        expected=reason.expected if reason else None,
    )


def queue_view(
    jobs: Iterable[Job],
    attempts: Mapping[str, Sequence[Attempt]],
    picture: Picture,
    policy: Policy,
    limits: Callable[[str], Limits],
    now: float,
) -> QueueView:
    """What runs and waits, in the order of their turn."""
    known = {job.id: job for job in jobs}
    holding = sorted((job for job in known.values() if job.holds), key=lambda job: (job.started or 0.0, job.id))
    state = State(
        now=now,
        nodes=tuple(share.node for share in picture.shares),
        running=tuple(job.running(now) for job in holding),
        waiting=tuple(job.waiting for job in known.values() if job.record.phase is Phase.WAITING),
        users=picture.users,
        first_in_line=picture.first_in_line,
    )
    line = [known[job.id] for job in Line(state, policy, held_by_user(state.running))]
    return QueueView(
        now=now,
        running=tuple(job_view(job, picture, limits, attempts.get(job.id, ())) for job in holding),
        waiting=tuple(job_view(job, picture, limits) for job in line),
        nodes=tuple(cluster.view(share) for share in picture.shares),
        users=_users(picture.users, holding, line),
        ray_answers=picture.ray_message is None,
        ray_message=picture.ray_message,
    )


def _users(users: Mapping[str, User], holding: Sequence[Job], line: Sequence[Job]) -> tuple[UserView, ...]:
    running, waiting = _count(holding), _count(line)
    users = {**{name: User(name=name) for name in {*running, *waiting}}, **users}
    used = sum(user.usage for user in users.values())
    shares = sum(user.shares for user in users.values() if user.name in running or user.name in waiting)
    views = [
        UserView(
            name=user.name,
            shares=user.shares,
            usage=user.usage,
            fraction=user.usage / used if used else 0.0,
            entitled=user.shares / shares if user.name in running or user.name in waiting else 0.0,
            running=running.get(user.name, 0),
            waiting=waiting.get(user.name, 0),
        )
        for user in users.values()
    ]
    return tuple(sorted(views, key=lambda view: (-view.usage, view.name)))


def _count(jobs: Iterable[Job]) -> dict[str, int]:
    found: dict[str, int] = {}
    for job in jobs:
        found[job.user] = found.get(job.user, 0) + 1
    return found


def _starts(plan: Plan, job: Job) -> bool:
    return any(begun.job.id == job.id for begun in plan.starts)
