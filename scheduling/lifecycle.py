"""A job's way through the queue, such that none is lost and none runs twice at once, wherever the service is killed.

Three rules give that, and all functions here keep them:

- A change is stored before anything is done about it, and only over the version that was read. So of two services, one
  that does not know that it was replaced included, one loses and begins again.
- Each attempt has an id of its own, and Ray accepts an id once. So asking again does no harm, however late it arrives.
- A next attempt begins only when Ray has said of the one before that it ended, or has not known it for `FORGOTTEN`
  although it did. An attempt that Ray may still be asked for is never given up: its id is claimed by an empty job.
"""

from dataclasses import dataclass, replace
from enum import Enum

FORGOTTEN = 120.0  # seconds without an entry in Ray, after which a job that was there is gone; a head move is shorter
RETRIES = 3  # after a lost node


class Phase(Enum):
    """Where a job is."""

    WAITING = "waiting"
    STARTING = "starting"  # Ray is, or was, asked to start it
    RUNNING = "running"  # Ray has it
    STOPPING = "stopping"  # Ray has it, and is asked to stop it
    ENDED = "ended"


class Outcome(Enum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # its own program did
    CANCELLED = "cancelled"
    OVER_TIME = "over its time limit"
    LOST = "lost"  # with its node, more often than it is retried


class Cause(Enum):
    """Why a job is to stop."""

    MAKE_ROOM = "make room"  # it waits again
    OVER_TIME = "over its time limit"
    CANCEL = "cancel"


class Seen(Enum):
    """What Ray says of an attempt."""

    UNKNOWN = "unknown"  # it answers, and has no such id; while it does not answer, nothing follows
    ALIVE = "alive"  # pending or running
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"  # its supervisor died: the node did
    CLAIMED = "claimed"  # the empty job has the id


class Act(Enum):
    """What to ask Ray for, about the present attempt."""

    SUBMIT = "submit"
    STOP = "stop"
    CLAIM = "claim"  # submit the empty job


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is stored of a job."""

    id: str
    phase: Phase = Phase.WAITING
    attempt: int = 0
    lost: int = 0  # attempts
    cause: Cause | None = None  # of a stop that is under way
    missing_since: float | None = None
    outcome: Outcome | None = None
    version: int = 0

    @property
    def submission(self) -> str:
        """The attempt's id in Ray."""
        return f"queue-{self.id}-{self.attempt}"


ENDS = {Cause.CANCEL: Outcome.CANCELLED, Cause.OVER_TIME: Outcome.OVER_TIME}
ENDED = {Seen.SUCCEEDED: Outcome.SUCCEEDED, Seen.FAILED: Outcome.FAILED, Seen.STOPPED: Outcome.CANCELLED}


def start(record: Record) -> Record:
    """The scheduler gave it a place. Anything but a waiting job stays as it is."""
    if record.phase is not Phase.WAITING:
        return record
    return _changed(record, phase=Phase.STARTING, attempt=record.attempt + 1)


def stop(record: Record, cause: Cause) -> Record:
    """It shall stop. A cancellation is final: no later cause replaces it."""
    if record.phase is Phase.WAITING:
        return _ended(record, ENDS[cause]) if cause in ENDS else record
    if record.phase is Phase.ENDED or record.cause in ENDS:
        return record
    # While it is not known whether Ray has the attempt, it stays in that phase: `follow` finds out.
    phase = Phase.STARTING if record.phase is Phase.STARTING else Phase.STOPPING
    return _changed(record, phase=phase, cause=cause)


def retry(record: Record) -> Record:
    """An ended job shall run again: its next attempt has an id that Ray never saw. Any other stays as it is."""
    if record.phase is not Phase.ENDED:
        return record
    return _changed(record, phase=Phase.WAITING, outcome=None, lost=0)


def follow(record: Record, seen: Seen, now: float) -> tuple[Record, Act | None]:
    """What follows from Ray's answer about the present attempt: the record to store, then what to ask for."""
    if record.phase in (Phase.WAITING, Phase.ENDED):
        return record, None
    if seen is Seen.UNKNOWN:
        return _unknown(record, now)
    if seen is Seen.ALIVE:
        return _alive(record)
    return _over(record, seen), None


def _unknown(record: Record, now: float) -> tuple[Record, Act | None]:
    if record.phase is Phase.STARTING:
        return record, Act.SUBMIT if record.cause is None else Act.CLAIM
    if record.missing_since is None:
        return _changed(record, missing_since=now), None
    if now - record.missing_since < FORGOTTEN:
        return record, None
    return _over(record, Seen.LOST), None


def _alive(record: Record) -> tuple[Record, Act | None]:
    phase = Phase.RUNNING if record.cause is None else Phase.STOPPING
    act = None if record.cause is None else Act.STOP
    if record.phase is phase and record.missing_since is None:
        return record, act
    return _changed(record, phase=phase, missing_since=None), act


def _over(record: Record, seen: Seen) -> Record:
    """The attempt has ended."""
    if seen is Seen.SUCCEEDED:  # also if it was about to be stopped
        return _ended(record, Outcome.SUCCEEDED)
    if record.cause in ENDS:
        return _ended(record, ENDS[record.cause])
    if record.cause is Cause.MAKE_ROOM:
        return _waits_again(record)
    if seen is Seen.LOST:
        again = replace(record, lost=record.lost + 1)
        return _waits_again(again) if again.lost <= RETRIES else _ended(again, Outcome.LOST)
    return _ended(record, ENDED[seen])


def _waits_again(record: Record) -> Record:
    return _changed(record, phase=Phase.WAITING, cause=None, missing_since=None)


def _ended(record: Record, outcome: Outcome) -> Record:
    return _changed(record, phase=Phase.ENDED, cause=None, missing_since=None, outcome=outcome)


def _changed(record: Record, **changes: object) -> Record:
    return replace(record, version=record.version + 1, **changes)  # type: ignore[arg-type]
