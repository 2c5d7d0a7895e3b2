"""What the scheduler is told, and what it decides. Times are seconds since any fixed moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from scheduling.amounts import CPU, GPU, Amounts

HOUR = 3600.0
DAY = 24 * HOUR


class Backfill(Enum):
    """Which jobs may start past the first in line."""

    OFF = "off"  # none
    HARMLESS = "harmless"  # those that cannot delay it, whenever running jobs end
    LIMITS = "limits"  # also those that do not delay it if all running jobs take as long as they may


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job needs, all at once: `count` times `each`, each of which lies on one node."""

    each: Amounts
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that waits, or waited."""

    id: str
    user: str
    request: Request
    submitted: float
    priority: str = "normal"
    time_limit: float | None = None  # it is stopped after so many seconds
    restartable: bool = False  # it continues from a checkpoint, so it may be stopped to make room


@dataclass(frozen=True, kw_only=True)
class Running:
    """A job that holds resources."""

    job: Job
    started: float
    nodes: tuple[str, ...]  # one for each of the request's `count`
    borrowed: bool = False  # it started past the first in line, on condition that it makes room
    stopping: bool = False  # it was told to, and still holds its resources


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster."""

    name: str
    capacity: Amounts
    taken: Amounts = field(default_factory=dict)  # by work that did not come through the queue
    up: bool = True


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a user's jobs may hold at once."""

    jobs: int | None = None
    amounts: Amounts = field(default_factory=dict)  # only for the resources named


@dataclass(frozen=True, kw_only=True)
class User:
    """What counts for the turn of a user's jobs."""

    name: str
    shares: float = 1.0
    usage: float = 0.0  # decayed charge up to now, running jobs included (usage.py)
    limits: Limits | None = None  # None: those of the policy
    last_turn: float | None = None  # when a job of theirs last started other than past the first in line


@dataclass(frozen=True, kw_only=True)
class Priority:
    """A class of jobs. All jobs of a higher rank go before all of a lower one."""

    rank: int
    preempts: bool = False  # its first in line may stop restartable jobs of lower ranks


DEFAULT_PRIORITIES: Mapping[str, Priority] = {
    "low": Priority(rank=0),
    "normal": Priority(rank=1),
    "high": Priority(rank=2),
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a site decides."""

    backfill: Backfill = Backfill.LIMITS
    borrowing: bool = True  # restartable jobs may start past the first in line, and are stopped when it could start
    priorities: Mapping[str, Priority] = field(default_factory=lambda: DEFAULT_PRIORITIES)
    limits: Limits = Limits()
    weights: Mapping[str, float] = field(default_factory=lambda: {GPU: 1.0, CPU: 1 / 16})  # charge of one for an hour
    half_life: float = 7 * DAY
    ahead: float = 120.0  # what a user holds counts as if it were held so much longer
    patience: float = 7 * DAY  # a user without a turn for so long goes before all others
    depth: int = 100  # jobs tried past the first in line


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that a decision depends on."""

    now: float
    nodes: tuple[Node, ...]
    running: tuple[Running, ...]
    waiting: tuple[Job, ...]
    users: Mapping[str, User]  # who is missing has the defaults
    first_in_line: str | None = None  # by the decision before this one


class Why(Enum):
    """Why a job waits."""

    FIRST_IN_LINE = "first in line"
    TURN = "turn"
    WOULD_DELAY = "would delay the first in line"
    USER_LIMIT = "limit of the user"
    TOO_LARGE = "larger than the cluster"
    NODE_DOWN = "a node is down"
    OUTSIDE = "taken outside of the queue"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why one job waits, with what a sentence about it needs (words.py)."""

    why: Why
    ahead: int = 0  # jobs that go before it
    by: str | None = None  # the job, or the limit, that it waits for
    expected: float | None = None  # when it starts at the latest, if that is known


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start this job, on these nodes."""

    job: Job
    nodes: tuple[str, ...]
    backfill: bool = False
    borrowed: bool = False


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Stop this job and let it wait again, to make room for another."""

    job: Job
    for_job: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A decision."""

    starts: tuple[Start, ...]
    stops: tuple[Stop, ...]
    first_in_line: str | None  # to be handed in with the next state
    reasons: Mapping[str, Reason]  # of jobs that were looked at and go on waiting; all others wait for their turn
