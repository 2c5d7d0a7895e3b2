"""The queue's REST documents, and the settings of its service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

API = "/api/v1"
USER_HEADER = "X-CSLR-User"  # the name of whoever asks, where the token is the group's
LARGEST_HEADER = "X-CSLR-Largest-Package"  # in bytes, in the answer to `HEAD {API}/packages/…`
RUN_TAG = "cslr.queue.job"  # of a job's MLflow run
JOB_VARIABLE = "CSLR_QUEUE_JOB"  # in a job's environment: its id
ATTEMPT_VARIABLE = "CSLR_QUEUE_ATTEMPT"  # 1, 2, …
PARTS_VARIABLE = "CSLR_QUEUE_PARTS"  # how many parts it has
CHECKPOINTS_VARIABLE = "CSLR_QUEUE_CHECKPOINTS"  # the job's folder for checkpoints, the same at each attempt
MOST_LOG = 2**20  # characters of a log in one answer

State = Literal["waiting", "starting", "running", "stopping", "ended"]
Outcome = Literal["succeeded", "failed", "cancelled", "over its time limit", "lost"]
Event = Literal["succeeded", "failed", "waiting long"]  # what a user can be told


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What `POST {API}/jobs` takes. The folder was sent before: `PUT {API}/packages/{package}.zip`."""

    entrypoint: str  # a shell command, as Ray's Jobs API takes it
    id: str | None = (
        None  # chosen by whoever submits, so that sending it twice makes one job; None: the service chooses
    )
    name: str | None = None
    project: str | None = None
    package: str | None = None  # sha256 of the zipped folder, in hexadecimal; None: none
    gpus: float = 0.0  # of each part
    cpus: float = 1.0
    memory: int = 0  # bytes
    resources: Mapping[str, float] = field(default_factory=dict)  # others, such as dataset:NAME
    count: int = 1  # equal parts, each on one node
    # Who takes in Ray what the job asks for: the command itself, once for each part, or the tasks and actors that it
    # starts, as with Ray Tune, Train and Data. Then the command runs once and holds nothing.
    held_by: Literal["command", "tasks"] = "command"
    priority: str = "normal"
    time_limit: float | None = None  # seconds
    restartable: bool = False  # it continues from its checkpoints
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()  # requirements that Ray installs for the job (runtime_env's pip)

    @property
    def title(self) -> str:
        """The job's name, or else the beginning of its command."""
        # Others see it on their terminals, which take control characters for orders.
        return self.name or "".join(filter(str.isprintable, " ".join(self.entrypoint.split())))[:80]

    @property
    def each(self) -> dict[str, float]:
        """What each part asks for, by Ray's names of resources."""
        return {"GPU": self.gpus, "CPU": self.cpus, "memory": float(self.memory), **self.resources}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a job."""

    number: int
    submission: str  # its id in Ray
    nodes: tuple[str, ...]
    started: float  # when Ray began it; until then, when it was given its nodes
    ended: float | None = None
    why_ended: str | None = None  # in words: lost with its node, made room for job 17, …


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job, as `GET {API}/jobs/ID` tells it. Times are Unix time, in seconds."""

    id: str
    user: str
    submission: Submission
    state: State
    outcome: Outcome | None
    submitted: float
    started: float | None  # of the present or last attempt; while it is `starting`, when it was given its nodes
    ended: float | None
    why: str | None  # why it waits, in a sentence
    expected: float | None  # when it starts at the latest, if that is known
    message: str | None  # of a job that failed: Ray's
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Log:
    """A part of what an attempt printed. Positions count characters from the attempt's beginning."""

    attempt: int  # 0: nothing has started yet, and text is empty
    start: int
    text: str  # at most MOST_LOG characters; where there is more, `start + len(text)` is where to go on
    complete: bool  # nothing comes after this part: the attempt has ended, and this is its last part


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node of the cluster. Amounts are in Ray's units, memory in bytes."""

    name: str
    up: bool
    capacity: Mapping[str, float]
    by_queue: Mapping[str, float]
    outside: Mapping[str, float]  # taken by work that did not come through the queue


@dataclass(frozen=True, kw_only=True)
class UserView:
    """A user's part of the cluster."""

    name: str
    shares: float
    usage: float  # decayed GPU hours, CPU hours weighed in
    fraction: float  # of all users' usage
    entitled: float  # of the cluster, among the users who have jobs
    running: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """What `GET {API}/queue` tells: jobs that run and wait, in the order of their turn, nodes and users."""

    now: float
    running: tuple[JobView, ...]
    waiting: tuple[JobView, ...]
    nodes: tuple[NodeView, ...]
    users: tuple[UserView, ...]
    ray_answers: bool  # while it does not, nothing is started
    ray_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """A user's or a project's use in a span of time (`GET {API}/usage?by=user|project&since=SECONDS&until=SECONDS`)."""

    name: str
    jobs: int
    gpu_hours: float
    cpu_hours: float
    waited_hours: float  # median from submission to first start, of jobs that started in the span
    succeeded: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where a user is told about their jobs."""

    kind: Literal["slack", "discord", "webhook", "mail"]
    target: str  # of mail: the address; of others: the environment variable that holds the URL, which is a secret
    events: tuple[Event, ...] = ("succeeded", "failed", "waiting long")


@dataclass(frozen=True, kw_only=True)
class QueueUser:
    """What the stack's settings say of a user."""

    shares: float = 1.0
    jobs: int | None = None  # running at once
    limits: Mapping[str, float] = field(default_factory=dict)  # of each resource, at once
    tell: tuple[Channel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """Settings of the queue's program."""

    stack: str
    database: str  # a libpq connection string without its password
    dashboards: tuple[str, ...]  # host:port; whichever is the head's answers
    users: Mapping[str, QueueUser] = field(default_factory=dict)  # who is missing has the defaults
    jobs_per_user: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)  # of each user without limits of their own
    backfill: Literal["off", "harmless", "limits"] = "limits"
    borrowing: bool = True
    half_life: float = 7 * 86400.0
    preempting: tuple[str, ...] = ()  # priorities that stop restartable jobs of lower ones
    long_wait: float = 86400.0  # seconds, after which a user is told
    checkpoints: str = "/home/cslr/ray_results"  # as Ray's nodes see it: a path, or a URL
    tracking_uri: str | None = None  # MLflow's
    largest_package: int = 500 * 2**20  # bytes
    packages_size: int = 20 * 2**30  # bytes, of all packages
    waiting: int = 10_000  # jobs that may wait
    waiting_per_user: int = 2_000
    smtp: str | None = None  # host:port
    mail_from: str | None = None
    smtp_user: str | None = None  # None: no login
    smtp_password: str | None = None  # the environment variable that holds it
    token: Path = Path("/run/secrets/ray-token")  # of the group; Ray's
    database_password: Path = Path("/run/secrets/postgres-queue")  # of postgres.QUEUE
    packages: Path = Path("/data/packages")
    port: int = 8070
