"""A made trace of a research group's jobs: seeded, so that each run of the simulation has the same.

The shape is what recorded traces of such clusters have in common, not one of them: most jobs are short and few are very
long (log-normal), a few users send most jobs, many at once (sweeps), by day more than by night, and the time limits
that they give are far above what the jobs take.
"""

import random
from dataclasses import dataclass

from scheduling.amounts import amounts
from scheduling.model import DAY, HOUR, Job, Node, Request, User
from testing.queue_simulation import Work

LONGEST = 48 * HOUR  # of any job
UNLIMITED = 0.25  # of the jobs: their users give no limit
LIMITS = (HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR, LONGEST)
RESTARTABLE = 0.3
MEDIAN, SPREAD = 20 * 60.0, 1.6  # of run times, in seconds and as sigma of their logarithm
NIGHT = 0.25  # activity by night, of that by day
SHAPES = (  # GPUs and CPUs of each part, parts, of 100 jobs
    (amounts(GPU=1, CPU=4), 1, 66),
    (amounts(GPU=2, CPU=8), 1, 14),
    (amounts(GPU=4, CPU=16), 1, 8),
    (amounts(GPU=4, CPU=16), 2, 2),
    (amounts(CPU=8), 1, 10),
)
NODES = (
    *(Node(name=f"gpu-{number}", capacity=amounts(GPU=4, CPU=32)) for number in range(4)),
    Node(name="cpu-0", capacity=amounts(CPU=32)),
)
GPUS = 16


@dataclass(frozen=True, kw_only=True)
class Member:
    """A user: whose project they are in, what they are entitled to, and how much they send."""

    name: str
    project: str
    shares: float
    activity: float
    burst: float  # mean number of jobs that come at once


MEMBERS = tuple(
    Member(
        name=f"user-{number:02}",
        project=f"project-{number % 3}",
        shares=2.0 if number in (1, 6) else 1.0,
        activity=1 / (1 + number),  # the first sends twelve times as many as the last
        burst=30.0 if number < 3 else 8.0 if number < 6 else 2.0,
    )
    for number in range(12)
)
USERS = {member.name: User(name=member.name, shares=member.shares) for member in MEMBERS}


def trace(jobs: int, seed: int, load: float) -> list[Work]:
    """As many jobs, over a time in which they ask for `load` of all GPU hours."""
    chance = random.Random(seed)  # noqa: S311
    bodies = [_body(chance) for _ in range(jobs)]
    gpu_hours = sum(_gpus(request) * seconds for request, seconds, _, _ in bodies)
    span = gpu_hours / (GPUS * load)
    works: list[Work] = []
    while len(works) < jobs:
        member = chance.choices(MEMBERS, [member.activity / member.burst for member in MEMBERS])[0]
        at = _moment(chance, span)
        for _ in range(min(jobs - len(works), 1 + int(chance.expovariate(1 / member.burst)))):
            works.append(_work(len(works), member.name, at + len(works) % 7, bodies[len(works)]))
    return works


def contention(jobs: int, seed: int) -> list[Work]:
    """Everybody sends as much, and more than can be done, within the first hour: whose share is it?"""
    chance = random.Random(seed)  # noqa: S311
    names = [member.name for member in MEMBERS]
    return [_work(number, names[number % 12], chance.uniform(0, HOUR), _body(chance)) for number in range(jobs)]


Body = tuple[Request, float, float | None, bool]  # what is asked, run time, time limit, restartable


def _body(chance: random.Random) -> Body:
    each, count, _ = chance.choices(SHAPES, [part for _, _, part in SHAPES])[0]
    seconds = float(round(min(LONGEST, max(30.0, MEDIAN * chance.lognormvariate(0.0, SPREAD)))))
    wished = seconds * chance.uniform(1.2, 10)
    limit = None if chance.random() < UNLIMITED else next((limit for limit in LIMITS if limit >= wished), LONGEST)
    return Request(each=each, count=count), seconds, limit, chance.random() < RESTARTABLE


def _gpus(request: Request) -> float:
    return request.each.get("GPU", 0) / 10_000 * request.count


def _moment(chance: random.Random, span: float) -> float:
    """By day more than by night."""
    while True:
        at = chance.uniform(0, span)
        by_day = 9 * HOUR <= at % DAY < 21 * HOUR
        if by_day or chance.random() < NIGHT:
            return float(round(at))


def _work(number: int, user: str, at: float, body: Body) -> Work:
    request, seconds, limit, restartable = body
    job = Job(
        id=f"job-{number:05}",
        user=user,
        request=request,
        submitted=at,
        time_limit=limit,
        restartable=restartable,
    )
    return Work(job=job, seconds=seconds)
