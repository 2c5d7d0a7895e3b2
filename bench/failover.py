"""Measures how long faults leave a cluster without a head, and checks its rules: ``python -m bench.failover``.

The three hosts are those of tests/cluster: namespaces of this machine, each with a Docker Engine of its own. Times are
measured by a client on a worker, detection included. With ``--random`` faults are drawn from a seed instead, and
judged by the rules of testing/cluster/checker.py; with ``--overlapping`` two at a time.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.document import machine, write_section
from testing.cluster.checker import Violation
from testing.cluster.cluster import CANDIDATES, RECOVERY_SECONDS, REDIS_HOST, Cluster
from testing.cluster.faults import told
from testing.cluster.history import Event
from testing.cluster.trial import Outcome, Trial

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
KUBERNETES = "20.8 s average, 18-28 s (Kubernetes, hot standby)"
REST_SECONDS = 17.0  # before each fault: real heads fail less often, and a standby has become ready
METHOD = f"""\
Three hosts on one machine: network namespaces on one bridge, each with its own Docker Engine and its own `ws up`;
heads on {" or ".join(CANDIDATES)}, Redis on {REDIS_HOST}. The client is a driver in the worker of {REDIS_HOST}; it
tries to create an actor, again each 4 s, until one of these tries succeeds. All hosts share the machine's cores."""

SINGLE = "one fault each, held for up to 15 s."
PAIRS = "a second fault within 5 s of the first, both held for up to 15 s, and ended in either order."


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is measured in seconds, what others have, and what it should be."""

    name: str
    peer: str
    median_goal: float | None
    worst_goal: float | None = None


PROCESS = Figure(name="head process killed → new actor accepted, same host", peer=KUBERNETES, median_goal=8)
HOST = Figure(name="head's host lost → new actor accepted", peer=KUBERNETES, median_goal=13, worst_goal=16)
MOVE = Figure(
    name="planned move of the head: from `ws head move` to a new actor by the new head", peer="-", median_goal=8
)
CALLS = Figure(name="longest actor call on a worker during such a move", peer="gaps of 2 s", median_goal=2)
TASKS = Figure(name="longest no-op task during such a move", peer="gaps of 2 s", median_goal=2)
JOIN = Figure(name="joining of a prepared host: from `ws up` to its first task", peer="-", median_goal=20)


def main() -> int:
    """Measures, and writes the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="of each figure")
    parser.add_argument("--random", type=int, default=0, metavar="FAULTS", help="random faults, after the figures")
    parser.add_argument("--overlapping", type=int, default=0, metavar="PAIRS", help="random faults, two at a time")
    parser.add_argument("--seed", default=f"{time.time_ns() % 2**32}", help="seed of what is random")
    parser.add_argument("--minutes", type=float, default=600.0, help="no round begins later")
    arguments = parser.parse_args()
    began = time.monotonic()
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    ending = ["", METHOD, "", f"{host}. Command: `python -m bench.failover {' '.join(sys.argv[1:])}`."]
    with Cluster.make(Path(tempfile.gettempdir(), "cslr-cluster")) as cluster:
        cluster.up_all()
        with cluster.observed():
            trial = Trial(cluster=cluster, draw=random.Random(arguments.seed))  # noqa: S311 (no secret)
            figures = Figures(trial)
            deadline = began + 60 * arguments.minutes
            if arguments.rounds:
                figures.measure(arguments.rounds, deadline)
                write("failover", [*figures.lines(), *ending])
            faults = Faults(arguments.seed)
            faults.suffer(arguments.random, trial.endure_at_random, deadline)
            pairs_began = time.monotonic()
            pairs = Faults(arguments.seed)
            pairs.suffer(arguments.overlapping, trial.endure_two, deadline)
        violations = cluster.violations()
    for violation in violations:
        print(violation)
    if arguments.random:
        of_single = [violation for violation in violations if violation.time < pairs_began]
        write("faults", ["## Random faults", "", *faults.lines(of_single, SINGLE), *ending])
    if arguments.overlapping:
        of_pairs = [violation for violation in violations if violation.time >= pairs_began]
        write("overlapping", ["## Two faults at once", "", *pairs.lines(of_pairs, PAIRS), *ending])
    return 1 if violations or figures.failures or faults.failures or pairs.failures else 0


def write(section: str, lines: Sequence[str]) -> None:
    """Shows a section, and puts it into the document."""
    print("\n".join(lines), flush=True)
    write_section(section, "\n".join(lines), by="failover", document=DOCUMENT)


# --- the figures ---


class Figures:
    """All figures, and what failed while the head moved as planned."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._measured: dict[Figure, list[float]] = defaultdict(list)
        self._lost = 0  # tasks and calls
        self.failures: list[str] = []  # rounds that came to no end

    def measure(self, rounds: int, deadline: float) -> None:
        """That many rounds of each, while time is left; joins only every third time.

        A round that comes to no end is a failure, and no figure.
        """
        for number in range(rounds):
            if time.monotonic() > deadline:
                break
            for measure in (self._process, self._host, self._move, *([] if number % 3 else [self._join])):
                time.sleep(REST_SECONDS)
                try:
                    measure()
                except AssertionError as error:
                    self.failures.append(f"{measure.__name__.strip('_')}: {error}"[:300])
                    print(self.failures[-1], flush=True)

    def _note(self, figure: Figure, seconds: float) -> None:
        self._measured[figure].append(seconds)
        print(f"{figure.name}: {seconds:.1f} s", flush=True)

    def _process(self) -> None:
        self._note(PROCESS, self._trial.endure("head_process_killed").creation)

    def _host(self) -> None:
        self._note(HOST, self._trial.endure("leader_lost", until=self._trial.an_actor_is_created).creation)

    def _move(self) -> None:
        began = time.monotonic()
        before = self._trial.endure("head_moved").before
        events = self._trial.cluster.history.since(began)
        # From here on the former head has no say any more, so that what is wanted now is made by the new one.
        elected = next(e["time"] for e in events if e["kind"] == "sample" and epoch_of(e) > int(before["epoch"]))
        created = (e["time"] for e in events if e["kind"] == "creation" and e["ok"] and e["start"] >= elected)
        self._note(MOVE, next(created) - began)
        self._note(CALLS, longest_wait(events, "increment", "counter"))
        self._note(TASKS, longest_wait(events, "task", "host"))
        self._lost += sum(event["kind"] in ("increment", "task", "long") and not event["ok"] for event in events)

    def _join(self) -> None:
        self._note(JOIN, joined(self._trial.cluster))

    def lines(self) -> list[str]:
        """The section of figures."""
        lines = [
            "## Figures",
            "",
            "| figure | best elsewhere | goal, s | rounds | median, s | worst, s |  |",
            "|---|---|---|---:|---:|---:|---|",
        ]
        for figure, seconds in self._measured.items():
            worst = f", worst {figure.worst_goal:g}" if figure.worst_goal else ""
            cells = (
                figure.name,
                figure.peer,
                f"median {figure.median_goal:g}{worst}",
                str(len(seconds)),
                f"{median(seconds):.1f}",
                f"{max(seconds):.1f}",
                "reached" if reached(figure, seconds) else "**missed**",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", f"Tasks and calls that failed during planned moves: {self._lost}."]
        if self.failures:
            lines += [f"Rounds that did not end within {RECOVERY_SECONDS:.0f} s: {len(self.failures)}."]
        return lines


def epoch_of(sample: Event) -> int:
    """The epoch of the lease; 0 while no host holds it or Redis does not answer."""
    return int((sample.get("lease") or {}).get("epoch", 0))


def longest_wait(events: Sequence[Event], kind: str, key: str) -> float:
    """The longest time on any host from the first try of something to its success."""
    begun: dict[str, float] = {}
    waits = [0.0]
    for event in events:
        if event["kind"] == kind:
            start = begun.setdefault(event[key], event["start"])
            if event["ok"]:
                waits.append(event["time"] - start)
                del begun[event[key]]
    return max(waits)


def joined(cluster: Cluster) -> float:
    """A host that does not lead is taken down and deployed again. Seconds from `ws up` to its first task."""
    host = next(name for name in cluster.others(REDIS_HOST) if name != cluster.leader())
    with told(cluster, "host taken down", hosts=[host], lost=[host]):
        cluster.stacks[host].down()
        began = time.monotonic()
        cluster.up(host)
    tasks = (event for event in cluster.history.since(0.0, "task") if event["host"] == host and event["ok"])
    first = next(event["time"] for event in tasks if event["time"] > began)
    cluster.settle(time.monotonic())
    return float(first - began)


def reached(figure: Figure, seconds: Sequence[float]) -> bool:
    """Whether the goals are."""
    goals: list[tuple[float | None, Callable[[Sequence[float]], float]]] = [
        (figure.median_goal, median),
        (figure.worst_goal, max),
    ]
    return all(goal is None or of(seconds) <= goal for goal, of in goals)


# --- random faults ---


class Faults:
    """Random faults, and how the cluster recovered from each."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._outcomes: list[Outcome] = []
        self._seconds = 0.0
        self.failures: list[str] = []  # rounds that came to no end

    def suffer(self, rounds: int, endure: Callable[[], Outcome], deadline: float) -> None:
        """That many, while time is left."""
        began = time.monotonic()
        for number in range(1, rounds + 1):
            if time.monotonic() > deadline:
                break
            try:
                outcome = endure()
            except AssertionError as error:
                self.failures.append(f"round {number}: {error}"[:300])
                print(self.failures[-1], flush=True)
                continue
            self._outcomes.append(outcome)
            times = f"actor after {outcome.creation:.1f} s, settled after {outcome.settled:.1f} s"
            print(f"{number}: {outcome.name}: {times}, {outcome.epochs} epochs", flush=True)
        self._seconds = time.monotonic() - began

    def lines(self, violations: Sequence[Violation], how: str) -> list[str]:
        """The figures, and `how` they came about. Two faults at once count for each of them."""
        by_name: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self._outcomes:
            for name in outcome.name.split(" + "):
                by_name[name].append(outcome)
        rounds = len(self._outcomes) + len(self.failures)
        lines = [
            f"{rounds} rounds in {self._seconds / 60:.0f} min, drawn from seed {self._seed}: {how}",
            f"Violations of any rule: **{len(violations)}**. Not recovered within {RECOVERY_SECONDS:.0f} s:",
            f"{len(self.failures)}. Where a head outlives its fault for some time (agent frozen, partition) the first",
            "new actor may be its own.",
            "",
            "| fault | times | fault → new actor: median, s | worst, s | healed → all works: median, s | worst, s |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, found in sorted(by_name.items()):
            creations, settled = [o.creation for o in found], [o.settled for o in found]
            times = (median(creations), max(creations), median(settled), max(settled))
            lines.append(f"| {name.replace('_', ' ')} | {len(found)} | {' | '.join(f'{t:.1f}' for t in times)} |")
        broken = [f"- {violation.rule}: {violation.text}" for violation in violations]
        return [*lines, *([""] if broken else []), *broken]


if __name__ == "__main__":
    sys.exit(main())
