"""How long a cluster goes without a head, and whether faults break a rule: ``python -m bench.failover``.

The three hosts are those of tests/cluster: namespaces of this machine, each with a Docker Engine of its own. Times are
measured by a client on a worker, detection included. With ``--random`` faults are drawn from a seed instead, and
judged by the rules of tests/cluster/checker.py.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.document import machine, write_section
from tests.cluster.checker import Violation
from tests.cluster.cluster import CANDIDATES, REDIS_HOST, Cluster
from tests.cluster.faults import told
from tests.cluster.history import Event
from tests.cluster.trial import Outcome, Trial

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
KUBERNETES = "20.8 s average, 18-28 s (Kubernetes, hot standby)"
METHOD = f"""\
Three hosts on one machine: network namespaces on one bridge, each with its own Docker Engine and its own `ws up`;
heads on {" or ".join(CANDIDATES)}, Redis on {REDIS_HOST}. The client is a driver in the worker of {REDIS_HOST}; it
creates an actor with a limit of 3 s, and the next at once when that passes. All hosts share the machine's cores."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is measured in seconds, what others have, and what it should be."""

    name: str
    peer: str
    median_goal: float | None
    worst_goal: float | None = None


PROCESS = Figure(name="head process killed → new actor accepted, same host", peer=KUBERNETES, median_goal=8)
HOST = Figure(name="head's host lost → new actor accepted", peer=KUBERNETES, median_goal=13, worst_goal=16)
MOVE = Figure(name="planned move of the head → new actor accepted", peer="-", median_goal=8)
CALLS = Figure(name="longest gap of actor calls during a move", peer="2 s", median_goal=2)
TASKS = Figure(name="longest gap of tasks during a move", peer="2 s", median_goal=2)
JOIN = Figure(name="joining of a prepared host: from `ws up` to its first task", peer="-", median_goal=20)

Measured = dict[Figure, list[float]]


def main() -> int:
    """Measures, and writes the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each figure (default: %(default)s)")
    parser.add_argument("--random", type=int, metavar="FAULTS", help="so many random faults instead of the figures")
    parser.add_argument("--seed", default=f"{time.time_ns() % 2**32}", help="what random faults are drawn from")
    arguments = parser.parse_args()
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    command = f"`python -m bench.failover {' '.join(sys.argv[1:])}`".replace(" `", "`")
    ending = ["", METHOD, "", f"{host}. Command: {command}."]
    with Cluster.make(Path(tempfile.gettempdir(), "cslr-cluster")) as cluster:
        cluster.up_all()
        began = time.monotonic()
        with cluster.observed():
            trial = Trial(cluster=cluster, draw=random.Random(arguments.seed))  # noqa: S311 (no secret)
            if arguments.random:
                outcomes = list(suffered(trial, arguments.random))
            else:
                measured, failed = measure(trial, arguments.rounds)
        violations = cluster.violations()
    if arguments.random:
        head = f"{arguments.random} faults, seed {arguments.seed}, {time.monotonic() - began:.0f} s."
        write("faults", [*faults_table(outcomes, violations, head), *ending])
    else:
        write("failover", [*figures_table(measured, failed, violations), *ending])
    return 1 if violations else 0


def write(section: str, lines: Sequence[str]) -> None:
    """Shows a section, and puts it into the document."""
    print("\n".join(lines))
    write_section(section, "\n".join(lines), by="failover", document=DOCUMENT)


def suffered(trial: Trial, rounds: int) -> Iterator[Outcome]:
    """Random faults, each said when it is over."""
    for number in range(1, rounds + 1):
        outcome = trial.suffer_at_random()
        print(f"{number}: {outcome.name}: actor after {outcome.creation:.1f} s, settled after {outcome.settled:.1f} s")
        yield outcome


# --- the figures ---


def measure(trial: Trial, rounds: int) -> tuple[Measured, int]:
    """All figures, and how many tasks and calls failed while the head moved as planned."""
    measured: Measured = defaultdict(list)
    failed = 0

    def note(figure: Figure, seconds: float) -> None:
        measured[figure].append(seconds)
        print(f"{figure.name}: {seconds:.1f} s", flush=True)

    for _ in range(rounds):
        note(PROCESS, trial.suffer("head_process_killed").creation)
    for _ in range(rounds):
        note(HOST, trial.suffer("leader_lost", until=trial.another_leads).creation)
    for _ in range(rounds):
        began = time.monotonic()
        note(MOVE, trial.suffer("head_moved").creation)
        events = trial.cluster.history.since(began)
        note(CALLS, longest_gap(events, "increment", "counter"))
        note(TASKS, longest_gap(events, "task", "host"))
        failed += sum(event["kind"] in ("increment", "task", "long") and not event["ok"] for event in events)
    for _ in range(rounds):
        note(JOIN, joined(trial.cluster))
    return measured, failed


def longest_gap(events: Sequence[Event], kind: str, key: str) -> float:
    """The longest time on any host between the ends of two successes."""
    ends: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["kind"] == kind and event["ok"]:
            ends[event[key]].append(event["time"])
    return max(later - earlier for times in ends.values() for earlier, later in pairwise(times))


def joined(cluster: Cluster) -> float:
    """A host that does not lead is taken down and deployed again."""
    host = next(name for name in cluster.others(REDIS_HOST) if name != cluster.leader())
    with told(cluster, "host taken down", hosts=[host], lost=[host]):
        cluster.stacks[host].down()
        began = time.monotonic()
        cluster.up(host)
    tasks = (event for event in cluster.history.since(0.0, "task") if event["host"] == host and event["ok"])
    first = next(event["time"] for event in tasks if event["time"] > began)
    cluster.settle(time.monotonic())
    return float(first - began)


def figures_table(measured: Measured, failed: int, violations: Sequence[Violation]) -> list[str]:
    """The section of figures."""
    lines = [
        "## Figures",
        "",
        "| figure | best elsewhere | goal, s | rounds | median, s | worst, s |  |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for figure, seconds in measured.items():
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
    return [*lines, "", f"Tasks and calls that failed during planned moves: {failed}. Violations: {len(violations)}."]


def reached(figure: Figure, seconds: Sequence[float]) -> bool:
    """Whether the goals are."""
    goals: list[tuple[float | None, Callable[[Sequence[float]], float]]] = [
        (figure.median_goal, median),
        (figure.worst_goal, max),
    ]
    return all(goal is None or of(seconds) <= goal for goal, of in goals)


# --- random faults ---


def faults_table(outcomes: Sequence[Outcome], violations: Sequence[Violation], head: str) -> list[str]:
    """The section of random faults."""
    by_name: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_name[outcome.name].append(outcome)
    lines = [
        "## Random faults",
        "",
        head + f" Violations of any rule: **{len(violations)}**.",
        "",
        "| fault | times | fault → new actor: median, s | worst, s | healed → all works: median, s | worst, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in sorted(by_name.items()):
        creations, settled = [o.creation for o in found], [o.settled for o in found]
        times = (median(creations), max(creations), median(settled), max(settled))
        lines.append(f"| {name.replace('_', ' ')} | {len(found)} | {' | '.join(f'{t:.1f}' for t in times)} |")
    return [
        *lines,
        *("" for _ in violations[:1]),
        *(f"- {violation.rule}: {violation.text}" for violation in violations),
    ]


if __name__ == "__main__":
    sys.exit(main())
