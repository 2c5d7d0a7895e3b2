"""A fault on an observed cluster: what it did, how long it took to recover, and whether a rule was broken."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from testing.cluster.cluster import Cluster
from testing.cluster.faults import FAULTS, REDIS_FAULTS, Fault, overlapping
from testing.live.deployment import wait_until

Lease = dict[str, str]
LEAD_SECONDS = 60.0
OVERLAPPING = "two at once"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The lease before a fault, before it was undone, and when all worked again; the time until it did so."""

    name: str
    before: Lease
    during: Lease
    after: Lease
    creation: float  # seconds from the fault until an actor was created whose creation began after it
    settled: float  # seconds from the fault's end until everything worked on every host

    @property
    def moved(self) -> bool:
        """Whether another host leads."""
        return self.after["host"] != self.before["host"]

    @property
    def epochs(self) -> int:
        """How many there were meanwhile."""
        return int(self.after["epoch"]) - int(self.before["epoch"])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An observed cluster, and a generator to draw faults with."""

    cluster: Cluster
    draw: random.Random

    def suffer(self, name: str, hold: float = 0.0, *, until: Callable[[Lease], None] | None = None) -> Outcome:
        """`endure`, and fails with every rule that was broken, and the ends of all logs."""
        began = time.monotonic()
        try:
            outcome = self.endure(name, hold, until=until)
        except AssertionError as error:
            error.add_note(self.cluster.history.tail() + self.cluster.logs())
            raise
        self.judge(began)
        return outcome

    def endure(self, name: str, hold: float = 0.0, *, until: Callable[[Lease], None] | None = None) -> Outcome:
        """Breaks something for a time or until a condition holds, and waits for recovery."""
        fault: Fault = {**FAULTS, **REDIS_FAULTS, OVERLAPPING: overlapping}[name]
        cluster, began = self.cluster, time.monotonic()
        cluster.leader()
        before = cluster.view.lease()
        with fault(cluster, self.draw):
            cluster.want_actor()
            time.sleep(hold)
            if until:
                until(before)
            during = cluster.lease_or_none()
        ended = time.monotonic()
        cluster.want_actor()
        settled = cluster.settle(ended)
        outcome = Outcome(
            name=name,
            before=before,
            during=during,
            after=cluster.view.lease(),
            creation=self.first_creation(name, began),
            settled=settled["time"] - ended,
        )
        cluster.history.now(
            "outcome", name=name, creation=outcome.creation, settled=outcome.settled, epochs=outcome.epochs
        )
        return outcome

    def endure_at_random(self) -> Outcome:
        """A fault, held for a time, both drawn."""
        return self.endure(self.draw.choice(sorted(FAULTS)), self.draw.uniform(0, 15))

    def endure_two(self) -> Outcome:
        """Two faults that overlap, and the time for which both last, all drawn."""
        began = time.monotonic()
        outcome = self.endure(OVERLAPPING, self.draw.uniform(0, 15))
        (overlap,) = self.cluster.history.since(began, "overlap")
        return replace(outcome, name=" + ".join(overlap["names"]))

    def another_leads(self, before: Lease) -> None:
        """Waits until the head of another host is ready."""
        holder = before["host"]
        wait_until(
            lambda: self.cluster.view.leader() not in (None, holder), f"another head than {holder}'s", LEAD_SECONDS
        )

    def an_actor_is_created(self, before: Lease) -> None:
        """Waits until an actor is created whose creation began after the last fault."""
        fault = next(event for event in reversed(self.cluster.history.events) if event["kind"] == "fault")
        self.cluster.history.wait_for("creation", since=fault["time"], seconds=LEAD_SECONDS, ok=True)

    def nobody_leads(self, before: Lease) -> None:
        """Waits until the lease has ended."""
        wait_until(lambda: self.cluster.view.lease() == {}, "the end of the lease", LEAD_SECONDS)

    def first_creation(self, name: str, since: float) -> float:
        """Seconds from the last fault of the history, begun at `since` or later, to the first actor created after."""
        fault = self.cluster.history.since(since, "fault")[-1]
        creation = self.cluster.history.wait_for("creation", since=fault["time"], seconds=1, ok=True)
        return float(creation["time"] - fault["time"])

    def judge(self, since: float) -> None:
        """Fails if a rule was broken at `since` or later."""
        broken = [violation for violation in self.cluster.violations() if violation.time >= since]
        assert not broken, "\n".join([*map(str, broken), self.cluster.logs()])
