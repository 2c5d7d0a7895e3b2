"""How much later the first in line starts because others started past it: each time against a future without any."""

from collections.abc import Callable
from dataclasses import dataclass, field

from scheduling.model import Plan, Policy, State
from testing.queue_simulation import Scheduler, Simulation

EVERY = 4  # of the jobs that come first in line


@dataclass
class Delays:
    """Watches a simulation, and asks what would have been without back-fill."""

    simulation: Simulation
    policy: Policy  # without back-fill
    scheduler: Scheduler
    also: Callable[[State, Plan], None]
    seen: int = 0
    front: str | None = None
    otherwise: list[tuple[str, int, float]] = field(default_factory=list)  # job, starts before, start without

    def watch(self, state: State, plan: Plan) -> None:
        """Called after each decision, before it is carried out."""
        self.also(state, plan)
        if plan.first_in_line == self.front or plan.first_in_line is None:
            return
        self.front = plan.first_in_line
        self.seen += 1
        if self.seen % EVERY == 0:
            self.otherwise.append(self._without(self.front))

    def found(self) -> list[float]:
        """Seconds of delay, once the simulation has ended."""
        return [self.simulation.records[job].starts[earlier] - start for job, earlier, start in self.otherwise]

    def _without(self, front: str) -> tuple[str, int, float]:
        branch = self.simulation.branch(self.policy, self.scheduler)
        record = branch.records[front]
        earlier = len(record.starts)
        branch.decide()
        branch.run(stop=lambda: len(record.starts) > earlier)
        return front, earlier, record.starts[earlier]
