"""A series of faults while work goes on: how long each took to be recovered from, and what was lost by them all."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from testing.chaos.faults import Fault
from testing.chaos.stack import Rig
from testing.chaos.workload import FAILURES, Work
from testing.live.deployment import wait_until

RECOVERY_SECONDS = 240.0
JOIN_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A fault, and when the work went on."""

    name: str
    recovery: float  # seconds from its end until everything was healthy and each kind of work was acknowledged again
    slowest: str  # what was waited for last


@dataclass(kw_only=True)
class Trial:
    """Faults drawn from a table, each once before any comes again."""

    rig: Rig
    faults: Mapping[str, Fault]
    draw: random.Random
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # faults that were not recovered from
    _deck: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """All kinds of work, until the end."""
        over = threading.Event()
        threads = [threading.Thread(target=work.run, args=(over,), daemon=True) for work in self.rig.works]
        for thread in threads:
            thread.start()
        try:
            self._recovered(time.monotonic())
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(JOIN_SECONDS)
            for work in self.rig.works:
                with contextlib.suppress(*FAILURES):  # what did not recover is in `failures`
                    work.rest()

    def endure_next(self) -> Outcome | None:
        """The next fault, until it was recovered from; None where it was not in time, which is a failure."""
        if not self._deck:
            self._deck = self.draw.sample(sorted(self.faults), len(self.faults))
        name = self._deck.pop()
        try:
            with self.faults[name](self.rig, self.draw):
                pass
            ended = time.monotonic()
            slowest = self._recovered(ended)
        except FAILURES as error:
            self.failures.append(f"{name}: {error}"[:600])
            return None
        outcome = Outcome(name=name, recovery=time.monotonic() - ended, slowest=slowest)
        self.outcomes.append(outcome)
        return outcome

    def losses(self) -> list[str]:
        """What was acknowledged and is not there."""
        return [loss for work in self.rig.works for loss in losses_of(work)]

    def acknowledged(self) -> dict[str, int]:
        """How much, of each kind."""
        return {work.name: work.pieces for work in self.rig.works}

    def _recovered(self, since: float) -> str:
        """Waits until each kind of work, begun after that, was acknowledged, and all is healthy. What came last."""
        waiting = ""

        def is_well() -> bool:
            nonlocal waiting
            if missing := self._missing(since):
                waiting = missing
            return not missing

        try:
            wait_until(is_well, "recovery", RECOVERY_SECONDS)
        except AssertionError as error:
            failures = "; ".join(f"{work.name}: {work.failure}" for work in self.rig.works if work.began < since)
            raise AssertionError(f"{error}: {waiting}. {failures}") from error
        return waiting

    def _missing(self, since: float) -> str:
        idle = [work.name for work in self.rig.works if not is_acknowledged(work, since)]
        if idle:
            return f"work on {', '.join(idle)}"
        try:
            unhealthy = self.rig.stack.unhealthy()
        except FAILURES as error:
            return str(error)
        return f"health of {', '.join(sorted(unhealthy))}" if unhealthy else ""


def is_acknowledged(work: Work, since: float) -> bool:
    """Whether a piece of it that was begun after that was acknowledged."""
    return work.began >= since


def losses_of(work: Work) -> list[str]:
    """Its losses; what cannot be read is one."""
    try:
        return work.losses()
    except FAILURES as error:
        return [f"{work.name}: cannot be read: {error}"[:600]]
