"""One decision: which waiting jobs start, which restartable ones make room, and why each other one waits.

`decide` is a pure function: the same state gives the same plan. It starts jobs in the order of the line until one does
not fit. That one is first in line: everything that could serve it is kept for it. Others start past it only where that
cannot delay it (claims.py), or where it does not by all time limits (reservation.py), or on loan.
"""

from dataclasses import dataclass, field

from scheduling import room
from scheduling.claims import Claims
from scheduling.limits import NONE, Held, exceeded, held_by_user, impossible, passes
from scheduling.line import Line
from scheduling.model import Backfill, Job, Limits, Plan, Policy, Reason, Start, State, Stop, User, Why
from scheduling.reservation import latest_start, without_end
from scheduling.victims import victims


def decide(state: State, policy: Policy) -> Plan:
    """What to do now. To be asked again whenever a job comes or ends, or the cluster changes."""
    held = held_by_user(state.running)
    return _Round(state=state, policy=policy, held=held, line=Line(state, policy, held)).plan()


@dataclass
class _Round:
    """What has been decided so far."""

    state: State
    policy: Policy
    held: dict[str, Held]
    line: Line
    front: Job | None = None
    tried: int = 0
    starts: list[Start] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    reasons: dict[str, Reason] = field(default_factory=dict)
    over_limit: dict[str, Job] = field(default_factory=dict)  # user → their first job that a limit keeps back

    def __post_init__(self) -> None:
        self.running = list(self.state.running)
        self.free = room.free_now(self.state.nodes, self.running)
        self.capacity = room.capacity(self.state.nodes)
        self.up = room.capacity(node for node in self.state.nodes if node.up)
        self.controlled = room.controlled(self.state.nodes)

    def plan(self) -> Plan:
        for ahead, job in enumerate(self.line):
            if self.front is not None and self.tried >= self.policy.depth:
                break
            reason = self._unable(job) or self._kept_back(job) or self._try(job, ahead)
            if reason is not None:
                self.reasons[job.id] = reason
        return Plan(
            starts=tuple(self.starts),
            stops=tuple(self.stops),
            first_in_line=self.front.id if self.front else None,
            reasons=self.reasons,
        )

    def _unable(self, job: Job) -> Reason | None:
        """Jobs that no end of another job of the queue would let start. Nothing is kept for them."""
        limit = impossible(self._limits(job.user), job.request)
        if limit:
            return Reason(why=Why.TOO_LARGE, by=limit)
        if room.fits_in(job.request, self.controlled):
            return None
        if room.fits_in(job.request, self.up):
            return Reason(why=Why.OUTSIDE)
        return Reason(why=Why.NODE_DOWN if room.fits_in(job.request, self.capacity) else Why.TOO_LARGE)

    def _kept_back(self, job: Job) -> Reason | None:
        """Jobs that the user's limits keep back, for their own sake or for an earlier one's."""
        limits, held = self._limits(job.user), self.held.get(job.user, NONE)
        limit = exceeded(limits, held, job.request)
        if limit:
            self.over_limit.setdefault(job.user, job)
            return Reason(why=Why.USER_LIMIT, by=limit)
        earlier = self.over_limit.get(job.user)
        if self.front is not None and self.front.user == job.user:
            earlier = earlier or self.front
        if earlier and not passes(limits, held, job.request, earlier.request):
            return Reason(why=Why.USER_LIMIT, by=earlier.id)
        return None

    def _try(self, job: Job, ahead: int) -> Reason | None:
        if self.front is not None:
            self.tried += 1
            return self._past_the_front(job, self.front, ahead)
        where = room.place(job.request, self.free)
        if where is None:
            return self._becomes_front(job)
        self._start(Start(job=job, nodes=where))
        return None

    def _becomes_front(self, job: Job) -> Reason:
        self.front = job
        self.claims = Claims(
            front=job.request,
            free=self.free,
            running=tuple(self.running),
            nodes={node.name: node for node in self.state.nodes},
        )
        self.stops = [Stop(job=run.job, for_job=job.id) for run in victims(job, self.free, self.running, self.policy)]
        self.making_room = bool(self.stops) or any(run.stopping for run in self.running)
        self.promised = latest_start(job.request, self.free, self.running, self.state.now)
        by = None if self.promised is not None else without_end(job.request, self.free, self.running)
        return Reason(why=Why.FIRST_IN_LINE, by=by, expected=self.promised)

    def _past_the_front(self, job: Job, front: Job, ahead: int) -> Reason | None:
        if room.place(job.request, self.free) is None:
            return Reason(why=Why.TURN, ahead=ahead)
        start = self._harmless(job) or self._within_limits(job, front) or self._on_loan(job)
        if start is None:
            return Reason(why=Why.WOULD_DELAY, ahead=ahead, by=front.id)
        self._start(start)
        if not start.borrowed:
            self.claims.give(job.request, start.nodes)
        return None

    def _harmless(self, job: Job) -> Start | None:
        if self.policy.backfill is Backfill.OFF:
            return None
        each = job.request.each
        where = room.place(job.request, self.free, lambda node, most: self.claims.harmless(each, node, most))
        return Start(job=job, nodes=where, backfill=True) if where else None

    def _within_limits(self, job: Job, front: Job) -> Start | None:
        """If the first in line still starts by the promised time at the latest."""
        if self.policy.backfill is not Backfill.LIMITS or self.promised is None:
            return None
        where = room.place(job.request, self.free)
        if where is None:
            return None
        if not self._ends_in_time(job, self.promised):
            after = self.free.after(job.request, where)
            running = [*self.running, room.started(job, self.state.now, where)]
            latest = latest_start(front.request, after, running, self.state.now)
            if latest is None or latest > self.promised:
                return None
        return Start(job=job, nodes=where, backfill=True)

    def _ends_in_time(self, job: Job, time: float) -> bool:
        return job.time_limit is not None and self.state.now + job.time_limit <= time

    def _on_loan(self, job: Job) -> Start | None:
        """Not while others are making room: it would have to do the same at once."""
        if not self.policy.borrowing or not job.restartable or self.making_room:
            return None
        where = room.place(job.request, self.free)
        return Start(job=job, nodes=where, backfill=True, borrowed=True) if where else None

    def _start(self, start: Start) -> None:
        job = start.job
        self.starts.append(start)
        self.free = self.free.after(job.request, start.nodes)
        self.running.append(room.started(job, self.state.now, start.nodes, borrowed=start.borrowed))
        self.held[job.user] = self.held.get(job.user, NONE).with_request(job.request)
        self.line.holds(job)

    def _limits(self, user: str) -> Limits:
        own = self.state.users.get(user, User(name=user)).limits
        return self.policy.limits if own is None else own
