"""Facts that commands on the host learn, and that the health service shows: one JSON document for each.

A site's own programs may write `backup.json` and `certificates.json` too (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VERIFICATION, BUILDS, BASES = "verification", "builds", "bases"
BACKUP, CERTIFICATES = "backup", "certificates"
HISTORY, DRIFT = "history", "drift"


@dataclass(frozen=True, kw_only=True)
class VerificationFact:
    """The last verification of a stack."""

    time: float  # when it ended, in seconds since the epoch
    passed: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BuildFact:
    """The last build of an image."""

    time: float
    succeeded: bool


@dataclass(frozen=True, kw_only=True)
class Builds:
    """The last build of each image of this host's user."""

    images: Mapping[str, BuildFact]


@dataclass(frozen=True, kw_only=True)
class Times:
    """When something happened or will: name → seconds since the epoch.

    Of `bases`, when a base image was made; of `backup`, when one last succeeded; of `certificates`, when one expires.
    """

    times: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A run of `up`, `down` or `rollback` on the stack, as its history has it, without its error and its files."""

    number: int  # in the history
    operation: str  # up, down, rollback, rotate secrets, upgrade Postgres
    who: str
    time: float  # when it began, in seconds since the epoch
    outcome: str  # running, done, failed, interrupted, unknown
    seconds: float | None = None  # how long it took
    returned_to: int | None = None  # of a rollback: the number of the run
    counts: Mapping[str, int] = field(default_factory=dict)  # what was done → to how many resources
    changed: tuple[str, ...] = ()  # the first of these resources, by name
    failed: tuple[str, ...] = ()  # resources that failed
    verification: str = ""  # 13 of 13 passed


@dataclass(frozen=True, kw_only=True)
class PastRuns:
    """The last runs on the stack, the newest first."""

    runs: tuple[PastRun, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which something on the host is not as it was deployed, without its values, which may be secrets."""

    kind: str  # container
    name: str  # cslr-dev-redis
    field: str = ""  # memory; empty: it is missing, or is not declared


@dataclass(frozen=True, kw_only=True)
class DriftFact:
    """What the last `ws drift` found on the host."""

    time: float  # when it looked
    compared_with: int | None  # the run that deployed last; None: the stack file
    differences: tuple[Difference, ...] = ()
    left_out: int = 0  # further ones
