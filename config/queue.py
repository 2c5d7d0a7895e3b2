"""Settings of the queue: its service, its users, and how it decides. Rules between keys are in ``queue_rules.py``."""

from typing import Annotated, Literal

from pydantic import Field

from config.services import (
    GIB,
    MIB,
    PORT,
    CpuLimit,
    DataLocation,
    EnvSecretNames,
    MemoryLimit,
    Settings,
    SinglePortSettings,
)
from config.types import (
    Amount,
    AsMapping,
    AsTuple,
    EnvironmentName,
    HostPort,
    MailAddress,
    MailServer,
    Memory,
    QueueUserName,
    ResourceName,
)
from contracts.queue import Event

MOST_JOBS = 10**6
JobCount = Annotated[int, Field(ge=1, le=MOST_JOBS)]
Limits = Annotated[dict[ResourceName, Amount], AsMapping]
LIMITS = "The most of each resource at once, of running jobs together: `{GPU: 4, CPU: 32, memory: 256g}`."


class QueueChannelSettings(Settings):
    """A way to tell a user about their jobs."""

    kind: Literal["slack", "discord", "webhook", "mail"] = Field(
        description="Slack's or Discord's webhook, a webhook of one's own (JSON), or mail.", examples=["slack"]
    )
    variable: EnvironmentName | None = Field(
        default=None,
        description="Of a webhook: the environment variable that holds its address, which is a secret. Name it in "
        "`queue.env_secrets` too.",
    )
    address: MailAddress | None = Field(default=None, description="Of mail: where to.")
    events: Annotated[tuple[Event, ...], AsTuple, Field(min_length=1)] = Field(
        default=("succeeded", "failed", "waiting long"), description="What to tell."
    )


class QueueUserSettings(Settings):
    """A user of the queue. Who is not listed has one share and the limits of all."""

    shares: Amount = Field(
        default=1.0, description="Part of the cluster under contention, in proportion to others' shares."
    )
    jobs: JobCount | None = Field(default=None, description="Jobs that may run at once. Unset: `queue.jobs_per_user`.")
    limits: Limits = Field(default={}, description=f"{LIMITS} Instead of `queue.limits`, if any is set.")
    tell: Annotated[tuple[QueueChannelSettings, ...], AsTuple] = Field(
        default=(), description="Where the user is told of jobs that ended or wait long. Empty: nowhere."
    )


class QueueMailSettings(Settings):
    """The SMTP server through which users are told by mail."""

    server: MailServer = Field(description="`host:port` of the SMTP server.", examples=["smtp.example.org:587"])
    sender: MailAddress = Field(description="The address that mails come from.", examples=["cslr@example.org"])
    user: str | None = Field(default=None, description="Login at the server. Unset: none.")
    password: EnvironmentName | None = Field(
        default=None,
        description="The environment variable that holds its password. Name it in `queue.env_secrets` too.",
    )


class QueueSettings(SinglePortSettings):
    """The queue: takes jobs of several users, decides whose turn it is, and starts them on the Ray cluster."""

    data_key = "data"
    enabled: bool = Field(default=False, description="Whether this host runs the service.")
    cpus: CpuLimit = 0.5
    memory: MemoryLimit = 256 * MIB
    port: HostPort = Field(
        default=8070, description=f"{PORT} In a cluster of several hosts: on the host's address there."
    )
    env_secrets: EnvSecretNames = ()
    users: Annotated[dict[QueueUserName, QueueUserSettings], AsMapping] = Field(
        default={},
        description="User → `shares`, `jobs`, `limits`, `tell`. Anyone with the token may submit, listed or not.",
    )
    jobs_per_user: JobCount | None = Field(
        default=None, description="Jobs of a user that may run at once. Unset: as many as fit."
    )
    limits: Limits = Field(default={}, description=f"{LIMITS} For each user without limits of their own.")
    backfill: Literal["off", "harmless", "limits"] = Field(
        default="limits",
        description="Which jobs start past the first in line: none, those that cannot delay it, or also those that end "
        "in time by their limits (docs/queue.md).",
    )
    borrowing: bool = Field(
        default=True,
        description="Whether jobs that can continue from a checkpoint may start past the first in line, and be stopped "
        "as soon as that lets it start.",
    )
    half_life_days: Annotated[Amount, Field(le=3650)] = Field(
        default=7.0, description="Days after which a used hour counts half."
    )
    preempting: Annotated[tuple[Literal["normal", "high"], ...], AsTuple] = Field(
        default=(),
        description="Priorities whose first in line stops jobs of lower ones that can continue from a checkpoint.",
    )
    long_wait_hours: Annotated[Amount, Field(le=8760)] = Field(
        default=24.0, description="Hours of waiting after which a user is told."
    )
    largest_package: Memory = Field(
        default=500 * MIB, description="The largest zipped folder that is taken with a job, in Docker's notation."
    )
    packages_size: Memory = Field(
        default=20 * GIB,
        description="The most disk space that all these zipped folders take together. Those of ended jobs are removed "
        "after seven days, or sooner if their space is needed.",
    )
    waiting_per_user: JobCount = Field(
        default=2_000, description="How many jobs of one user may wait at once. More are refused."
    )
    waiting: JobCount = Field(
        default=10_000, description="How many jobs of all users may wait at once. More are refused."
    )
    mail: QueueMailSettings | None = Field(default=None, description="Unset: nobody is told by mail.")
    data: DataLocation = None
