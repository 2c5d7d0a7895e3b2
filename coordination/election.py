"""Leader-election state machine of one host's agent, without clock, network or processes of its own.

Events go in, actions come out: entrypoints/ray/agent.py carries them out, and
tests/process/coordination/test_election_model.py explores them all.
A head is started only with a user in Redis that was verified after it was made, and after the users of all other grants
were deleted. So safety needs no timer: any may go off at any moment. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from coordination.lease import DEADLINE_SECONDS, RETRY_SECONDS, TTL_SECONDS, Credentials, Grant, Refusal, Renewal, View
from coordination.redis_client import Address

LOOK_SECONDS = 2.0  # a candidate checks another host's lease at least this often; releases are also published
RANK_SECONDS = 0.3  # when a lease ends, each further candidate on the whitelist waits this much longer
PORT_SECONDS = 4.0  # for the former GCS to close its port: one without rights in Redis lives 3.6 to 3.9 s
START_SECONDS = 90.0  # a head that does not serve by then is restarted
STABLE_SECONDS = 60.0  # a head that has served this long has not failed
BACKOFF_SECONDS = (0.0, 1.0, 3.0)  # before each restart of the head; after that many failures the host gives up
FAILED_HOLD_SECONDS = 30.0  # a host that gave up because its head fails stays away
GRAY_HOLD_SECONDS = 60.0  # a host that most others cannot reach stays away
MOVED_HOLD_SECONDS = 10.0  # a host that gave way to another stays away
GRAY_RENEWALS = 2  # consecutive renewals that must report it


class Phase(Enum):
    """Phases of the agent."""

    STANDBY = "standby"  # another host leads, or no host does yet
    USER = "making the head's user in Redis"
    VERIFY = "verifying the lease"
    FENCE = "deleting the users of former heads"
    PORT = "waiting for the former head to end"
    CONFIRM = "verifying the lease again"
    STARTING = "starting the head"
    ANNOUNCE = "announcing the head"
    LEADING = "leading"
    RETRACT = "telling that the head has ended"
    PAUSE = "pausing before the head is started again"
    REVOKE = "deleting its own user"
    RELEASE = "releasing the lease"
    STOPPED = "stopped"


HEAD_RUNS = frozenset({Phase.STARTING, Phase.ANNOUNCE, Phase.LEADING})
ENDING = frozenset({Phase.REVOKE, Phase.RELEASE})


class Timer(Enum):
    """Timers. Each is armed by Arm and goes off once; arming it again restarts it."""

    RETRY = "look, or try the same again"
    RENEW = "renew the lease"
    DEADLINE = "the last confirmed renewal is too old"
    PORT = "the former head had time enough to end"
    START = "the head had time enough to start"
    STABLE = "the head has served for long"
    PAUSE = "the pause is over"


class Operation(Enum):
    """A call to Redis (lease.py). One at a time; each is answered by Answered or Failed."""

    LOOK = "look"
    ACQUIRE = "acquire"
    CREATE_USER = "create_user"
    RENEW = "renew"
    FENCE = "fence"
    ANNOUNCE = "announce"
    RETRACT = "retract"
    REVOKE = "revoke"  # fence without a user to keep
    RELEASE = "release"


# ------------------------------------------------------------------------------------------------------ events


Result: TypeAlias = "View | Grant | Refusal | Renewal | Credentials | bool | int | None"


@dataclass(frozen=True)
class Begin:
    """The agent holds its host's lock, and no process of a former head runs below it."""


@dataclass(frozen=True)
class Expired:
    """A timer went off."""

    timer: Timer


@dataclass(frozen=True)
class Answered:
    """The call was executed; `result` is what the method of Lease returned."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """The call failed; it is unknown whether it was or will be executed."""

    reason: str


@dataclass(frozen=True)
class Woken:
    """Something was published about the lease."""


@dataclass(frozen=True)
class PortClosed:
    """The former head's GCS accepts no connections, or no longer."""


@dataclass(frozen=True)
class HeadServes:
    """The GCS of this host's head accepts connections."""


@dataclass(frozen=True)
class HeadEnded:
    """The process of this host's head has ended, or no longer answers."""

    reason: str


@dataclass(frozen=True)
class StopRequested:
    """The container is being stopped."""


Event: TypeAlias = "Begin | Expired | Answered | Failed | Woken | PortClosed | HeadServes | HeadEnded | StopRequested"


# ----------------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True)
class Call:
    """Call Redis."""

    operation: Operation
    grant: Grant | None = None  # the grant that the call concerns
    user: str = ""  # fence: keep this one
    reason: str = ""  # release
    hold_down: float = 0.0  # release


@dataclass(frozen=True)
class Arm:
    """Make a timer expire after a number of seconds."""

    timer: Timer
    seconds: float


@dataclass(frozen=True)
class ArmDeadline:
    """Make DEADLINE expire DEADLINE_SECONDS after the call that was just answered had been SENT."""


@dataclass(frozen=True)
class WatchPort:
    """Send PortClosed once nothing accepts connections there."""

    address: Address


@dataclass(frozen=True)
class StartHead:
    """Start a head with this user. Only ever after the user was verified."""

    grant: Grant
    credentials: Credentials


@dataclass(frozen=True)
class KillHead:
    """SIGKILL the head and all its descendants before anything else. No effect without a head."""


@dataclass(frozen=True)
class Say:
    """A line for the log."""

    text: str


@dataclass(frozen=True)
class Exit:
    """End the agent."""


Action: TypeAlias = "Call | Arm | ArmDeadline | WatchPort | StartHead | KillHead | Say | Exit"


# ------------------------------------------------------------------------------------------------- the machine


@dataclass(frozen=True)
class ElectionConfig:
    """Constants of one agent."""

    host: str
    candidates: tuple[str, ...]  # hosts of the whitelist, preferred first


@dataclass(frozen=True)
class AgentState:
    """All that an agent remembers between two events."""

    phase: Phase = Phase.STANDBY
    calling: Operation | None = None  # not answered yet
    stale: bool = False  # its answer no longer matters
    grant: Grant | None = None
    user: Credentials | None = None
    renew_due: bool = False  # as soon as there is no call under way
    leader: str = ""  # the host that led at the last check
    former: Address | None = None  # its GCS
    waited: bool = False  # for the hosts before this one on the whitelist
    failures: int = 0  # of the head, in a row
    gray: int = 0  # consecutive renewals which reported that most hosts do not reach the head
    stopping: bool = False
    reason: str = ""  # of the release under way
    hold_down: float = 0.0
    said: str = ""  # the last reason why no head is started here


def step(config: ElectionConfig, state: AgentState, event: Event) -> tuple[AgentState, tuple[Action, ...]]:
    """Process one event; return the new state and the actions to take, in order."""
    turn = _Turn(config, state)
    turn.take(event)
    return turn.state, tuple(turn.actions)


@dataclass
class _Turn:
    config: ElectionConfig
    state: AgentState
    actions: list[Action] = field(default_factory=list)

    def take(self, event: Event) -> None:
        if self.state.phase is Phase.STOPPED:
            return
        handlers: dict[type, Callable[[], None]] = {
            Begin: self._look,
            Woken: self._woken,
            PortClosed: self._port_closed,
            HeadServes: self._head_serves,
            StopRequested: self._stop,
        }
        if isinstance(event, Expired):
            self._expired(event.timer)
        elif isinstance(event, Answered):
            self._answered(event.result)
        elif isinstance(event, Failed):
            self._failed(event.reason)
        elif isinstance(event, HeadEnded):
            self._head_ended(event.reason)
        else:
            handlers[type(event)]()

    # ---- what is done

    def _set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def _do(self, *actions: Action) -> None:
        self.actions += actions

    def _say(self, text: str) -> None:
        """Say why nothing is started here, once."""
        if text != self.state.said:
            self._set(said=text)
            self._do(Say(text))

    def _call(self, operation: Operation) -> None:
        state = self.state
        assert state.calling is None  # noqa: S101
        self._set(calling=operation, stale=False, renew_due=state.renew_due and operation is not Operation.RENEW)
        if operation in (Operation.LOOK, Operation.ACQUIRE):
            self._do(Call(operation))
        elif operation is Operation.RELEASE:
            self._do(Call(operation, state.grant, reason=state.reason, hold_down=state.hold_down))
        elif operation is Operation.FENCE:
            self._do(Call(operation, state.grant, user=state.user.username if state.user else ""))
        else:
            self._do(Call(operation, state.grant))

    def _retry(self, seconds: float = RETRY_SECONDS) -> None:
        self._do(Arm(Timer.RETRY, seconds))

    def _proceed(self) -> None:
        """Make the call that the phase needs, unless one is in progress; renewals first."""
        state = self.state
        if state.calling is not None:
            return
        wanted = {
            Phase.USER: Operation.CREATE_USER,
            Phase.VERIFY: Operation.RENEW,
            Phase.FENCE: Operation.FENCE,
            Phase.CONFIRM: Operation.RENEW,
            Phase.ANNOUNCE: Operation.ANNOUNCE,
            Phase.RETRACT: Operation.RETRACT,
            Phase.REVOKE: Operation.REVOKE,
            Phase.RELEASE: Operation.RELEASE,
        }.get(state.phase)
        if state.renew_due and state.grant and state.phase not in ENDING:
            wanted = Operation.RENEW
        if wanted:
            self._call(wanted)

    def _enter(self, phase: Phase) -> None:
        self._set(phase=phase)
        self._proceed()

    def _look(self) -> None:
        if self.state.phase is Phase.STANDBY and self.state.calling is None:
            self._call(Operation.LOOK)

    def _stand_by(self, seconds: float = RETRY_SECONDS) -> None:
        """Forget the grant; the answer to any call in progress no longer counts."""
        state = self.state
        self._set(
            phase=Phase.STANDBY, grant=None, user=None, renew_due=False, gray=0, failures=0,
            stale=state.calling is not None,
        )  # fmt: skip
        if state.stopping:
            self._finish()
        else:
            self._retry(seconds)

    def _lost(self, reason: str) -> None:
        self._do(KillHead(), Say(reason))
        self._stand_by(0.0)

    def _give_up(self, reason: str, hold_down: float, text: str) -> None:
        """End the head at once, then its user, then the lease: the next one need not wait for anything."""
        self._do(KillHead(), Say(text))
        self._set(reason=reason, hold_down=hold_down, stale=self.state.calling is not None)
        self._enter(Phase.REVOKE)

    def _finish(self) -> None:
        self._set(phase=Phase.STOPPED)
        self._do(KillHead(), Exit())

    # ---- events

    def _stop(self) -> None:
        self._set(stopping=True)
        if self.state.phase in ENDING:
            return
        if self.state.grant:
            self._give_up("stopped", 0.0, "stopping: the head ends, and the lease is released")
        elif self.state.calling is not Operation.ACQUIRE:
            self._finish()

    def _woken(self) -> None:
        if self.state.phase is Phase.STANDBY:
            self._set(waited=False)
            self._look()
        elif self.state.grant:
            self._renew_now()

    def _renew_now(self) -> None:
        self._set(renew_due=True)
        self._proceed()

    def _expired(self, timer: Timer) -> None:
        state = self.state
        if timer is Timer.RETRY:
            self._look()
            self._proceed()
        elif timer is Timer.RENEW and state.grant:
            self._renew_now()
        elif timer is Timer.DEADLINE and state.grant and state.phase not in ENDING:
            self._lost(f"no renewal of the lease was confirmed for {DEADLINE_SECONDS:g} s: the head is killed")
        elif timer is Timer.PORT:
            self._port_closed()
        elif timer is Timer.START and state.phase is Phase.STARTING:
            self._head_ended(f"it did not serve within {START_SECONDS:g} s")
        elif timer is Timer.STABLE and state.phase is Phase.LEADING:
            self._set(failures=0)
        elif timer is Timer.PAUSE and state.phase is Phase.PAUSE:
            self._enter(Phase.USER)

    def _port_closed(self) -> None:
        if self.state.phase is Phase.PORT:
            self._enter(Phase.CONFIRM)

    def _head_serves(self) -> None:
        if self.state.phase is Phase.STARTING:
            self._enter(Phase.ANNOUNCE)

    def _head_ended(self, reason: str) -> None:
        state = self.state
        if state.phase not in HEAD_RUNS:
            return
        if state.failures >= len(BACKOFF_SECONDS):
            text = f"the head ended again ({reason}): this host stays away for {FAILED_HOLD_SECONDS:g} s"
            self._give_up("failed", FAILED_HOLD_SECONDS, text)
            return
        self._do(KillHead(), Say(f"the head ended ({reason}); it is started again in the same epoch"))
        self._set(user=None, stale=state.calling is not None)
        self._enter(Phase.RETRACT)

    def _failed(self, reason: str) -> None:
        operation, stale = self.state.calling, self.state.stale
        self._set(calling=None, stale=False)
        if self.state.phase is Phase.STANDBY:
            if self.state.stopping:
                self._finish()
                return
            self._say(f"no head is started here: Redis does not answer ({reason})")
            self._retry()
        elif self.state.phase in ENDING and not stale:
            # Best effort: the user ends with the next grant, the lease by itself.
            self._do(Say(f"the lease ends by itself, since Redis does not answer ({reason})"))
            self._stand_by()
        elif stale:
            self._proceed()
        else:
            if operation is Operation.RENEW:
                self._set(renew_due=True)
            self._say(f"{self.state.phase.value}: Redis does not answer ({reason})")
            self._retry(RETRY_SECONDS / 4)

    def _answered(self, result: object) -> None:
        operation, stale = self.state.calling, self.state.stale
        self._set(calling=None, stale=False)
        if stale or operation is None:
            self._look() if self.state.phase is Phase.STANDBY else self._proceed()
            return
        handlers: dict[Operation, Callable[[], None]] = {
            Operation.FENCE: self._fenced,
            Operation.ANNOUNCE: lambda: self._announced(bool(result)),
            Operation.RETRACT: lambda: self._retracted(bool(result)),
            Operation.REVOKE: lambda: self._enter(Phase.RELEASE),
            Operation.RELEASE: self._released,
        }
        if operation is Operation.LOOK:
            self._looked(result if isinstance(result, View) else None)
        elif isinstance(result, (Grant, Refusal)):
            self._asked(result)
        elif isinstance(result, Renewal):
            self._renewed(result)
        elif isinstance(result, Credentials):
            self._set(user=result)
            self._enter(Phase.VERIFY)
        else:
            handlers[operation]()

    # ---- answers

    def _looked(self, view: View | None) -> None:
        if view is None:
            rank = self._rank()
            if rank and not self.state.waited:
                self._set(waited=True)
                self._retry(rank * RANK_SECONDS)
            else:
                self._call(Operation.ACQUIRE)
            return
        self._set(leader=view.host, former=view.gcs)
        if view.host == self.config.host:
            self._call(Operation.ACQUIRE)  # of this host's former agent, or granted by a call that seemed to fail
            return
        self._say(f"{view.host} leads in epoch {view.epoch}; this host stands by")
        wait = view.remaining + 0.02 + self._rank() * RANK_SECONDS
        self._set(waited=wait < LOOK_SECONDS)
        self._retry(min(wait, LOOK_SECONDS))

    def _rank(self) -> int:
        """Return how many hosts of the whitelist take precedence; the last leader has failed and does not count."""
        before = self.config.candidates[: self.config.candidates.index(self.config.host)]
        return len([host for host in before if host != self.state.leader])

    def _asked(self, result: Grant | Refusal) -> None:
        if isinstance(result, Refusal):
            if self.state.stopping:
                self._finish()
                return
            self._say(f"no head is started here: {result.reason}")
            self._retry(min(max(result.retry_after, 0.0) + 0.02, LOOK_SECONDS))
            return
        self._set(grant=result, said="", failures=0, gray=0)
        self._do(Say(f"elected in epoch {result.epoch}"), Arm(Timer.RENEW, RETRY_SECONDS))
        if self.state.stopping:
            self._give_up("stopped", 0.0, "stopping: the lease is released")
            return
        self._enter(Phase.USER)

    def _renewed(self, renewal: Renewal) -> None:
        state = self.state
        if not renewal.held:
            self._lost(f"the lease is lost{f' to {renewal.holder}' if renewal.holder else ''}: the head is killed")
            return
        self._set(said="")
        self._do(ArmDeadline(), Arm(Timer.RENEW, RETRY_SECONDS))
        if self._gives_way(renewal):
            return
        if state.phase is Phase.VERIFY:
            self._enter(Phase.FENCE)
        elif state.phase is Phase.CONFIRM and state.grant and state.user:
            self._set(phase=Phase.STARTING)
            self._do(StartHead(state.grant, state.user), Arm(Timer.START, START_SECONDS))
        else:
            self._proceed()

    def _gives_way(self, renewal: Renewal) -> bool:
        """Give up the lease if a human or most other hosts ask for it."""
        if renewal.maintenance:
            self._give_up("maintenance", 0.0, "this host is in maintenance: the head moves")
        elif renewal.handover:
            hold_down = MOVED_HOLD_SECONDS if renewal.handover == "*" else 0.0
            target = "another host" if renewal.handover == "*" else renewal.handover
            self._give_up("handover", hold_down, f"the head moves to {target}")
        elif self._is_gray(renewal):
            text = f"{renewal.blind} of {renewal.fresh} hosts cannot reach the head: it moves"
            self._give_up("unreachable", GRAY_HOLD_SECONDS, text)
        else:
            return False
        return True

    def _is_gray(self, renewal: Renewal) -> bool:
        most_are_blind = renewal.blind * 2 > renewal.fresh and renewal.others > 0
        counts = most_are_blind and self.state.phase is Phase.LEADING
        self._set(gray=min(self.state.gray + 1, GRAY_RENEWALS) if counts else 0)
        return self.state.gray >= GRAY_RENEWALS

    def _fenced(self) -> None:
        former = self.state.former
        if former is None:
            self._enter(Phase.CONFIRM)
            return
        self._set(former=None)
        self._do(WatchPort(former), Arm(Timer.PORT, PORT_SECONDS))
        self._enter(Phase.PORT)

    def _announced(self, done: bool) -> None:
        if not done:
            self._lost("the lease is lost: the head is killed")
            return
        self._do(Say("the head serves"), Arm(Timer.STABLE, STABLE_SECONDS))
        self._enter(Phase.LEADING)

    def _retracted(self, done: bool) -> None:
        if not done:
            self._lost("the lease is lost")
            return
        pause = BACKOFF_SECONDS[self.state.failures]
        self._set(failures=self.state.failures + 1)
        if pause:
            self._do(Arm(Timer.PAUSE, pause))
            self._enter(Phase.PAUSE)
        else:
            self._enter(Phase.USER)

    def _released(self) -> None:
        # Not at once: the host that should lead instead goes first.
        self._stand_by(min(max(self.state.hold_down, RETRY_SECONDS), TTL_SECONDS))
