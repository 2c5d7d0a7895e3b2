"""The queue's loop: it follows the attempts in Ray, decides, stores what was decided, and asks Ray for it.

What a turn stores, the next one reads again, and what it asks Ray for, the next one sees there: nothing is kept between
turns that a killed service would miss. What fails is tried again with the next turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from contracts.queue import QueueSettings
from entrypoints.queue.cluster import Share, shares
from entrypoints.queue.ray_jobs import NotTakenError, RayAwayError, RayCluster, SeenNode, Sight
from entrypoints.queue.starter import PostponedError, Starter
from entrypoints.queue.store import AwayError, ConflictError, NewerError, Store, Used
from entrypoints.queue.stored import Job
from scheduling import usage
from scheduling.amounts import from_ray
from scheduling.decide import decide
from scheduling.lifecycle import Act, Cause, Outcome, Phase, Seen, follow, start, stop
from scheduling.model import DEFAULT_PRIORITIES, Backfill, Limits, Plan, Policy, State, User

PAUSE = 2.0  # seconds between turns
SOON = 0.1  # after a turn that changed something
STANDBY = 3.0  # while another service decides, or the database is away
LAG = 5.0  # seconds in which Ray may still count what an ended job held
AT_ONCE = 8  # requests to Ray
UNSTARTED = 900.0  # seconds without Ray having an attempt, after which its nodes go to others
JUMP = 30.0  # seconds by which the clock was set, from which on that counts


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a turn saw and decided."""

    now: float
    shares: tuple[Share, ...] = ()
    plan: Plan | None = None
    users: Mapping[str, User] = field(default_factory=dict)
    first_in_line: str | None = None  # that the plan was made with
    ray_message: str | None = "The queue has not asked Ray yet."


class Loop:
    """Turns, one after the other."""

    def __init__(
        self,
        store: Store,
        ray: RayCluster,
        starter: Starter,
        settings: QueueSettings,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: of the moments that are stored. steady: one that nobody sets."""
        self.policy = policy_of(settings)
        self.picture = Picture(now=clock())
        self._store, self._ray, self._starter, self._settings = store, ray, starter, settings
        self._say, self._clock, self._steady = say, clock, steady
        self._moment: tuple[float, float] | None = None  # of the last turn, by both clocks
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ray")
        self._woken = threading.Event()
        self._stopped = False
        self._head = ""  # the node that leads, since it was last woken
        self._just_ended: dict[str, tuple[float, Job]] = {}
        self._unbegun: dict[str, float] = {}  # jobs that Ray has not begun, and when that was seen last
        self._said = ""
        self._postponed: dict[str, str] = {}  # job → what was said of why it cannot start right now

    def wake(self) -> None:
        """Have the next turn come at once."""
        self._woken.set()

    def stop(self) -> None:
        """Have `run` return after its present turn."""
        self._stopped = True
        self.wake()

    def run(self) -> None:
        """Turns, until it is stopped. Raises NewerError."""
        try:
            while not self._stopped:
                try:
                    pause = self.turn()
                except NewerError:
                    raise
                except AwayError as error:
                    self._tell(f"the database does not answer: {error}")
                    pause = STANDBY
                except Exception as error:  # noqa: BLE001 - a fault of one turn must not end the queue
                    self._tell(f"a turn failed: {type(error).__name__}: {error}")
                    pause = STANDBY
                self._woken.wait(pause)
                self._woken.clear()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> float:
        """One turn; returns the seconds until the next. Raises AwayError, NewerError."""
        now, steady = self._clock(), self._steady()  # together: the database may take its time
        if not self._store.decides():
            self.picture = Picture(now=now, ray_message="Another service of this queue decides.")
            self._moment = None
            return STANDBY
        self._follow_clock(now, steady)
        jobs = dict(self._store.unended())
        self._note_long_waits(jobs, now)
        try:
            nodes = self._ray.nodes()
            sights, complete = self._look(nodes, [job for job in jobs.values() if job.holds])
        except RayAwayError as error:
            self._away(error, now)
            return PAUSE
        self._unbegun = {name: seen for name, seen in self._unbegun.items() if name in sights}
        self._postponed = {name: said for name, said in self._postponed.items() if name in sights}
        changed, done = self._follow(jobs, sights, nodes, now)
        if not (complete and done):
            return PAUSE
        self._tell("")
        return SOON if self._decide(jobs, nodes, now) or changed else PAUSE

    def _follow_clock(self, now: float, steady: float) -> None:
        """Where the clock was set, as by NTP or after a pause of the machine, no job is older or younger by that."""
        if self._moment:
            jump = (now - self._moment[0]) - (steady - self._moment[1])
            if abs(jump) >= JUMP:
                self._store.shift(jump, now)
                self._unbegun = {name: seen + jump for name, seen in self._unbegun.items()}
                self._just_ended = {name: (at + jump, job) for name, (at, job) in self._just_ended.items()}
                self._say(f"the clock was set by {jump:.0f} s: time limits and waits continue as before")
        self._moment = (now, steady)

    # ------------------------------------------------------------------------------------------------- attempts

    def _look(self, nodes: Iterable[SeenNode], holding: list[Job]) -> tuple[dict[str, Sight], bool]:
        """What Ray says of each attempt, and whether it said something of all."""
        head = next((node.identifier for node in nodes if node.head and node.up), "")
        if holding and head and head != self._head:
            self._ray.wake(holding[0].record.submission)
            self._head = head
        asked = {job.id: self._pool.submit(self._ray.look, job.record.submission) for job in holding}
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = answer.result()
            except RayAwayError as error:
                self._away(error, self._clock())
        return found, len(found) == len(asked)

    def _follow(
        self, jobs: dict[str, Job], sights: Mapping[str, Sight], nodes: Iterable[SeenNode], now: float
    ) -> tuple[bool, bool]:
        """Store what follows, then ask Ray; returns whether anything changed, and whether Ray could be asked."""
        up = {node.name: node.identifier for node in nodes if node.up}
        changed = False
        acts: dict[str, tuple[Act, Future[None]]] = {}
        for name, sight in sights.items():
            job = jobs[name]
            record, act = follow(job.record, _judged(sight, frozenset(up.values())), now)
            end = min(now, sight.ended) if sight.ended else now
            after = self._with_begin(job.follows(record, end, message=sight.message), sight, now, end)
            if after.holds and after.record.cause is None and (cause := stopping_cause(after, sight, up, now)):
                after = replace(after, record=stop(after.record, cause))
                act = None
            if after.record != job.record:
                changed = True
                if not self._change(jobs, job, after, now):
                    continue
            if act is not None:
                acts[name] = act, self._pool.submit(self._starter.act, act, after, up)
        begun, done = self._asked(jobs, acts, now)
        return changed or begun, done

    def _with_begin(self, job: Job, sight: Sight, now: float, end: float) -> Job:
        """With the moment when Ray began its attempt. Of one that ended between two looks, it is that of the former."""
        if job.begun is not None or sight.seen is Seen.CLAIMED:
            return job
        if sight.seen is Seen.UNKNOWN or (sight.seen is Seen.ALIVE and not sight.runs):
            self._unbegun[job.id] = now
            return job
        seen = self._unbegun.pop(job.id, job.started or end)
        return job.begins(now if sight.runs else min(seen, end))

    def _asked(
        self, jobs: dict[str, Job], acts: Mapping[str, tuple[Act, Future[None]]], now: float
    ) -> tuple[bool, bool]:
        begun, done = False, True
        for name, (act, answer) in acts.items():
            try:
                answer.result()
                begun |= act is not Act.STOP  # which takes its time
            except RayAwayError as error:
                self._away(error, now)
                done = False
            except PostponedError as error:
                if self._postponed.get(name) != str(error):
                    self._say(str(error))
                self._postponed[name] = str(error)
            except NotTakenError as error:
                # Ray refuses this very request, whoever sends it and whenever: the attempt cannot begin later.
                job = jobs[name]
                record = job.record
                failed = replace(record, phase=Phase.ENDED, outcome=Outcome.FAILED, version=record.version + 1)
                self._change(jobs, job, job.follows(failed, now, message=str(error)), now)
        return begun, done

    # ------------------------------------------------------------------------------------------------ decisions

    def _decide(self, jobs: dict[str, Job], nodes: tuple[SeenNode, ...], now: float) -> bool:
        """Decide and store it; the next turn asks Ray for it. Returns whether there was anything to do."""
        holding = [job for job in jobs.values() if job.holds]
        self._just_ended = {name: entry for name, entry in self._just_ended.items() if now - entry[0] < LAG}
        in_ray = [*holding, *(job for _, job in self._just_ended.values())]
        seen = shares(nodes, holding, in_ray)
        state = State(
            now=now,
            nodes=tuple(share.node for share in seen),
            running=tuple(job.running(now) for job in holding),
            waiting=tuple(job.waiting for job in jobs.values() if job.record.phase is Phase.WAITING),
            users=self._users(jobs.values(), now),
            first_in_line=self._store.first_in_line(),
        )
        plan = decide(state, self.policy)
        if plan.first_in_line != state.first_in_line:
            self._store.keep_first(plan.first_in_line)
        for begun in plan.starts:
            job = jobs[begun.job.id]
            self._change(jobs, job, job.starts(start(job.record), begun, now), now, turn=not begun.backfill)
        for ended in plan.stops:
            job = jobs[ended.job.id]
            self._change(jobs, job, replace(job, record=stop(job.record, Cause.MAKE_ROOM)), now)
        self.picture = Picture(
            now=now,
            shares=shares(nodes, [job for job in jobs.values() if job.holds], in_ray),
            plan=plan,
            users=state.users,
            first_in_line=plan.first_in_line,
            ray_message=None,
        )
        return bool(plan.starts or plan.stops)

    def _users(self, jobs: Iterable[Job], now: float) -> dict[str, User]:
        known = self._store.users()
        running: dict[str, list[Job]] = {}
        names = {*self._settings.users, *known}
        for job in jobs:
            names.add(job.user)
            if job.holds:
                running.setdefault(job.user, []).append(job)
        return {name: self._user(name, known.get(name, Used()), running.get(name, ()), now) for name in names}

    def _user(self, name: str, used: Used, running: Iterable[Job], now: float) -> User:
        settings, held = self._settings.users.get(name), [job.running(now) for job in running]
        return User(
            name=name,
            shares=settings.shares if settings else 1.0,
            usage=usage.usage_now(used.account, held, now, self.policy.weights, self.policy.half_life),
            limits=limits_of(self._settings, name),
            last_turn=used.last_turn,
        )

    # ------------------------------------------------------------------------------------------------ the store

    def _note_long_waits(self, jobs: dict[str, Job], now: float) -> None:
        for job in [*jobs.values()]:
            waits = job.record.phase is Phase.WAITING and now - job.queued > self._settings.long_wait
            if waits and not job.told_long:
                record = replace(job.record, version=job.record.version + 1)
                self._change(jobs, job, replace(job, record=record, told_long=True), now)

    def _change(self, jobs: dict[str, Job], before: Job, after: Job, now: float, *, turn: bool = False) -> bool:
        """Store a change; False where somebody else changed the job meanwhile, which the next turn sees."""
        try:
            self._store.change(before, after, now, turn=turn)
        except ConflictError:
            return False
        jobs[after.id] = after
        if before.holds and not after.holds:
            self._just_ended[before.id] = (now, before)
        return True

    def _away(self, error: RayAwayError, now: float) -> None:
        self._tell(str(error))
        self.picture = replace(self.picture, now=now, ray_message=str(error))

    def _tell(self, message: str) -> None:
        """Say what hinders the queue, once, and when it goes on."""
        if message != self._said:
            self._say(message or "the queue goes on")
        self._said = message


def policy_of(settings: QueueSettings) -> Policy:
    """What the stack's settings say of how to decide."""
    return Policy(
        backfill=Backfill(settings.backfill),
        borrowing=settings.borrowing,
        priorities={
            name: replace(priority, preempts=name in settings.preempting)
            for name, priority in DEFAULT_PRIORITIES.items()
        },
        limits=limits_of(settings, None),
        half_life=settings.half_life,
    )


def limits_of(settings: QueueSettings, user: str | None) -> Limits:
    """The limits of a user, for each of which that of all users is the default."""
    own = settings.users.get(user) if user is not None else None
    jobs = own.jobs if own and own.jobs is not None else settings.jobs_per_user
    return Limits(jobs=jobs, amounts=from_ray((own and own.limits) or settings.limits))


def _judged(sight: Sight, up: frozenset[str]) -> Seen:
    """What an attempt counts as, one of whose nodes may have gone down.

    A program that failed then did not fail by itself. What had not begun is bound to a node that never comes back under
    that id: Ray 2.60 calls it pending for 15 minutes, and does not stop it when asked.
    """
    lacks_node = bool(sight.nodes - up)
    ended = sight.seen is Seen.FAILED or (sight.seen is Seen.ALIVE and not sight.runs)
    return Seen.LOST if lacks_node and ended else sight.seen


def stopping_cause(job: Job, sight: Sight, up: Mapping[str, str], now: float) -> Cause | None:
    """Why an attempt is to stop, other than by a decision or a cancellation."""
    if job.over_time(now):
        return Cause.OVER_TIME
    if sight.seen is not Seen.UNKNOWN:
        return None
    # Ray does not have it yet, and could not be told where it belongs, or refuses it without saying that it is wrong.
    since = now if job.started is None else job.started
    refused = job.record.phase is Phase.STARTING and now - since > UNSTARTED
    return Cause.MAKE_ROOM if refused or {*job.nodes} - {*up} else None
