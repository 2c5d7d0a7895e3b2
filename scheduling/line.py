"""The order in which waiting jobs have their turn.

Rank of the priority, then fair shares between users, then time. Within one user: rank, then time, so that a user's own
large job is not passed over for ever. Two rules bound everybody's waiting:

- The first in line stays first until it starts, unless a job of higher rank comes.
- A user who has had no turn for as long as `patience` has the next one, before all ranks. It is one turn: another comes
  only after as long again, so sending many jobs early gains nothing.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scheduling import usage
from scheduling.amounts import Amounts
from scheduling.limits import Held
from scheduling.model import HOUR, Job, Policy, State, User

Key = tuple[float, bool, float, float, str]
OVERDUE = float("-inf")  # before every rank


@dataclass
class Line:
    """Gives the waiting jobs in turn. `holds` is told of each start, since that changes whose turn is next."""

    state: State
    policy: Policy
    held: Mapping[str, Held]
    _own: dict[str, Iterator[Job]] = field(default_factory=dict)
    _charge: dict[str, float] = field(default_factory=dict)  # an hour of what the user holds

    def __iter__(self) -> Iterator[Job]:
        by_user: dict[str, list[Job]] = defaultdict(list)
        for job in self.state.waiting:
            by_user[job.user].append(job)
        heap: list[tuple[Key, Job]] = []
        for name, jobs in by_user.items():
            self._own[name] = iter(sorted(jobs, key=self._own_order))
            held: Amounts = self.held[name].amounts if name in self.held else {}
            self._charge[name] = usage.weighed(held, self.policy.weights)
            self._push(heap, name, first=True)
        while heap:
            _, job = heapq.heappop(heap)
            yield job
            self._push(heap, job.user, first=False)

    def holds(self, job: Job) -> None:
        """It started."""
        self._charge[job.user] += usage.rate(job.request, self.policy.weights)

    def rank(self, job: Job) -> int:
        """Of its priority; one that is not known, as of a class removed from the config, is the lowest."""
        known = self.policy.priorities.get(job.priority)
        return known.rank if known else min((each.rank for each in self.policy.priorities.values()), default=0)

    def _own_order(self, job: Job) -> tuple[int, bool, float, str]:
        return (-self.rank(job), not self._stays(job), job.submitted, job.id)

    def _stays(self, job: Job) -> bool:
        return job.id == self.state.first_in_line

    def _push(self, heap: list[tuple[Key, Job]], name: str, *, first: bool) -> None:
        job = next(self._own[name], None)
        if job is not None:
            heapq.heappush(heap, (self._key(job, first), job))

    def _key(self, job: Job, first: bool) -> Key:
        user = self.state.users.get(job.user, User(name=job.user))
        since = job.submitted if user.last_turn is None else max(job.submitted, user.last_turn)
        if first and self.state.now - since >= self.policy.patience:
            return (OVERDUE, not self._stays(job), since, job.submitted, job.id)
        return (-float(self.rank(job)), not self._stays(job), self._score(user), job.submitted, job.id)

    def _score(self, user: User) -> float:
        """Usage for each share. What is held now counts ahead: else one user would get all that is free at once."""
        return (user.usage + self._charge[user.name] * self.policy.ahead / HOUR) / user.shares
