"""The queue without a cluster: events in their order, and a scheduler that is asked after each.

Shared by the property tests and by `python -m bench.queue`. Jobs take as long as their `Work` says, which the scheduler
does not know. A job that is stopped to make room continues later from where it was, less what it loses.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from scheduling import usage
from scheduling.model import Job, Node, Plan, Policy, Running, Start, State, User

Scheduler = Callable[[State, Policy], Plan]
ARRIVAL, END = "arrival", "end"
REPEATED = 100  # decisions at one moment, after which something is wrong


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job and how long it takes."""

    job: Job
    seconds: float


@dataclass
class Record:
    """What became of a job."""

    work: Work
    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    ended: float | None = None
    backfilled: bool = False  # when it last started

    @property
    def waited(self) -> float:
        """Until it first started."""
        return self.starts[0] - self.work.job.submitted


@dataclass
class Simulation:
    """A cluster of fixed nodes, with jobs that come, run and end."""

    nodes: tuple[Node, ...]
    policy: Policy
    scheduler: Scheduler
    users: dict[str, User] = field(default_factory=dict)
    lost_by_stop: float = 0.0  # seconds of work
    now: float = 0.0
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    first_in_line: str | None = None
    watch: Callable[[State, Plan], None] | None = None
    _left: dict[str, float] = field(default_factory=dict)
    _accounts: dict[str, usage.Account] = field(default_factory=dict)
    _events: list[tuple[float, int, str, str]] = field(default_factory=list)
    _ends: dict[str, int] = field(default_factory=dict)  # job → the number of its end, others are of earlier starts
    _number: int = 0

    def submit(self, works: Iterable[Work]) -> None:
        """Jobs that come at their time."""
        for work in works:
            self.records[work.job.id] = Record(work=work)
            self._left[work.job.id] = work.seconds
            self._push(work.job.submitted, ARRIVAL, work.job.id)

    def run(self, until: float = float("inf"), *, stop: Callable[[], bool] = lambda: False) -> None:
        """Until nothing is left to happen."""
        while self._events and self._events[0][0] <= until and not stop():
            self.step()

    def step(self) -> None:
        """To the next moment at which something happens."""
        self.now = self._events[0][0]
        while self._events and self._events[0][0] == self.now:
            self._happen(heapq.heappop(self._events))
        self.decide()

    def decide(self) -> Plan:
        """Asks the scheduler, until it has nothing more to do at this moment."""
        for _ in range(REPEATED):
            state = self.state()
            plan = self.scheduler(state, self.policy)
            if self.watch:
                self.watch(state, plan)
            self.first_in_line = plan.first_in_line
            for start in plan.starts:
                self._start(start)
            for stop in plan.stops:
                self._stop(stop.job)
            if not plan.stops:
                return plan
        raise AssertionError(f"the scheduler does not come to rest at {self.now}")

    def branch(self, policy: Policy, scheduler: Scheduler) -> "Simulation":
        """Another future of the same moment, decided otherwise."""
        records = {
            name: replace(record, starts=[*record.starts], stops=[*record.stops])
            for name, record in self.records.items()
        }
        return replace(
            self,
            policy=policy,
            scheduler=scheduler,
            users=dict(self.users),
            waiting=dict(self.waiting),
            running=dict(self.running),
            records=records,
            watch=None,
            _left=dict(self._left),
            _accounts=dict(self._accounts),
            _events=[*self._events],
            _ends=dict(self._ends),
        )

    def state(self) -> State:
        """What the scheduler is told."""
        return State(
            now=self.now,
            nodes=self.nodes,
            running=tuple(self.running.values()),
            waiting=tuple(self.waiting.values()),
            users=self._users(),
            first_in_line=self.first_in_line,
        )

    def used(self, name: str) -> float:
        """Decayed usage of a user, running jobs included."""
        running = [run for run in self.running.values() if run.job.user == name]
        account = self._accounts.get(name, usage.Account())
        return usage.usage_now(account, running, self.now, self.policy.weights, self.policy.half_life)

    def _users(self) -> dict[str, User]:
        names = {*self.users, *self._accounts, *(run.job.user for run in self.running.values())}
        return {name: replace(self.users.get(name, User(name=name)), usage=self.used(name)) for name in sorted(names)}

    def _happen(self, event: tuple[float, int, str, str]) -> None:
        _, number, kind, job = event
        if kind == ARRIVAL:
            self.waiting[job] = self.records[job].work.job
        elif self.running.get(job) and self._ends[job] == number:
            self._leave(job)
            self.records[job].ended = self.now

    def _start(self, start: Start) -> None:
        job = start.job
        del self.waiting[job.id]
        self.running[job.id] = Running(job=job, started=self.now, nodes=start.nodes, borrowed=start.borrowed)
        record = self.records[job.id]
        record.starts.append(self.now)
        record.backfilled = start.backfill
        if not start.backfill:
            user = self.users.get(job.user, User(name=job.user))
            self.users[job.user] = replace(user, last_turn=self.now)
        self._ends[job.id] = self._push(self.now + self._left[job.id], END, job.id)

    def _stop(self, job: Job) -> None:
        run = self._leave(job.id)
        done = max(0.0, self.now - run.started - self.lost_by_stop)
        self._left[job.id] -= done
        self.records[job.id].stops.append(self.now)
        self.waiting[job.id] = job

    def _leave(self, job: str) -> Running:
        run = self.running.pop(job)
        user = run.job.user
        self._accounts[user] = self._accounts.get(user, usage.Account()).charged(
            usage.rate(run.job.request, self.policy.weights), run.started, self.now, self.policy.half_life
        )
        return run

    def _push(self, time: float, kind: str, job: str) -> int:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, kind, job))
        return self._number


def simulated(
    works: Sequence[Work], nodes: tuple[Node, ...], policy: Policy, scheduler: Scheduler, users: dict[str, User]
) -> Simulation:
    """All of the jobs, to the end."""
    simulation = Simulation(nodes=nodes, policy=policy, scheduler=scheduler, users=dict(users))
    simulation.submit(works)
    simulation.run()
    return simulation
