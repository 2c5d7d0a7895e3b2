"""The queue's decisions in simulation: `python -m bench.queue [--jobs N] [--seed N] [--load PART] [--write]`.

Compares ways to decide on one made trace (queue_trace.py): how long jobs wait, who gets what, and how much of the
cluster is used. The figures follow from the trace alone, whatever machine computes them.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

from bench import document
from bench.queue_delay import Delays
from bench.queue_policies import by_time, fair_tree, scheduler
from bench.queue_trace import GPUS, LONGEST, MEMBERS, NODES, USERS, contention, trace
from scheduling.amounts import GPU, UNITS
from scheduling.decide import decide
from scheduling.model import DAY, HOUR, Backfill, Plan, Policy, State
from testing.queue_simulation import Record, Scheduler, Simulation, Work

DOCUMENT = Path(__file__).parent.parent / "docs" / "queue.md"
LOST_BY_STOP = 10 * 60.0  # work since the last checkpoint
LIGHT = tuple(member.name for member in MEMBERS[6:])  # the six who send least
PROJECTS = {member.project: [one.name for one in MEMBERS if one.project == member.project] for member in MEMBERS}
SHARES = {member.name: member.shares for member in MEMBERS}
WIDE = 4  # GPUs, from which a job is called wide


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to decide."""

    name: str
    scheduler: Scheduler
    policy: Policy = field(default_factory=Policy)
    default_limit: float | None = LONGEST  # of jobs whose users give none
    plain: Scheduler | None = None  # the same without back-fill, if that is not a matter of policy


WAYS = (
    Way(name="first in, first out", scheduler=scheduler(by_time, backfill=False)),
    Way(
        name="the same with back-fill by limits",
        scheduler=scheduler(by_time, backfill=True),
        plain=scheduler(by_time, backfill=False),
    ),
    Way(
        name="fair tree with back-fill by limits",
        scheduler=scheduler(fair_tree(PROJECTS, SHARES), backfill=True),
        plain=scheduler(fair_tree(PROJECTS, SHARES), backfill=False),
    ),
    Way(name="ours, no back-fill", scheduler=decide, policy=Policy(backfill=Backfill.OFF, borrowing=False)),
    Way(name="ours, harmless", scheduler=decide, policy=Policy(backfill=Backfill.HARMLESS, borrowing=False)),
    Way(name="ours, harmless and loans", scheduler=decide, policy=Policy(backfill=Backfill.HARMLESS)),
    Way(name="ours, by limits", scheduler=decide, policy=Policy(borrowing=False)),
    Way(name="ours, by limits and loans", scheduler=decide),
    Way(name="the same, no default limit", scheduler=decide, default_limit=None),
)


@dataclass
class Meter:
    """GPU hours as they are used, by user."""

    until: float
    at: float = 0.0
    held: dict[str, float] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    decisions: int = 0

    def watch(self, state: State, plan: Plan) -> None:
        """Called after each decision."""
        self._count(state.now)
        self.decisions += 1
        self.held = defaultdict(float)
        stopped = {stop.job.id for stop in plan.stops}
        jobs = [run.job for run in state.running if run.job.id not in stopped] + [start.job for start in plan.starts]
        for job in jobs:
            self.held[job.user] += job.request.each.get(GPU, 0) / UNITS * job.request.count

    def _count(self, now: float) -> None:
        span = max(0.0, min(now, self.until) - self.at)
        for user, gpus in self.held.items():
            self.hours[user] += gpus * span / HOUR
        self.at = min(now, self.until)


def main() -> None:
    """Simulates all ways and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", type=float, default=0.9, help="GPU hours asked for, of those that there are")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/queue.md")
    chosen = parser.parse_args()
    waits, shares = [], []
    works = trace(chosen.jobs, chosen.seed, chosen.load)
    crowd = contention(chosen.jobs // 4, chosen.seed)
    for way in WAYS:
        begun = time.perf_counter()
        waits.append(_waiting_row(way, works))
        shares.append(_shares_row(way, crowd))
        print(f"{way.name}: {time.perf_counter() - begun:.0f} s", flush=True)
    text = _report(waits, shares, chosen)
    print(text)
    if chosen.write:
        document.write_section("queue", text, document=DOCUMENT)


def _waiting_row(way: Way, works: Sequence[Work]) -> list[str]:
    last = max(work.job.submitted for work in works)
    simulation, meter = _simulate(way, works, until=last)
    plain = replace(way.policy, backfill=Backfill.OFF, borrowing=False)
    delays = Delays(simulation=simulation, policy=plain, scheduler=way.plain or way.scheduler, also=meter.watch)
    simulation.watch = delays.watch
    simulation.run()
    records = list(simulation.records.values())
    wide = [record for record in records if _gpus(record) >= WIDE]
    light = [record for record in records if record.work.job.user in LIGHT]
    waited = [record.waited for record in records]
    by_user = [fmean(record.waited for record in records if record.work.job.user == member.name) for member in MEMBERS]
    return [
        way.name,
        _hours(median(waited)),
        _hours(_percentile(waited)),
        _hours(median(record.waited for record in light)),
        _hours(_percentile([record.waited for record in light])),
        _hours(_percentile([record.waited for record in wide])),
        _hours(max(by_user)),
        f"{sum(meter.hours.values()) / (GPUS * last / HOUR):.1%}",
        str(sum(len(record.stops) for record in records)),
        _later(delays.found()),
    ]


def _shares_row(way: Way, works: Sequence[Work]) -> list[str]:
    """Half of the work in, while everybody still has jobs waiting."""
    simulation, meter = _simulate(way, works, until=float("inf"))
    total = sum(work.seconds * _gpus(Record(work=work)) for work in works) / HOUR

    def someone_is_done() -> bool:
        wanting = {job.user for job in simulation.waiting.values()}
        begun = sum(meter.hours.values()) > total / 20
        return begun and (len(wanting) < len(MEMBERS) or sum(meter.hours.values()) > total / 2)

    simulation.run(stop=someone_is_done)
    used = sum(meter.hours.values())
    entitled = sum(SHARES.values())
    parts = {name: meter.hours[name] / used / (SHARES[name] / entitled) for name in SHARES}
    return [
        way.name,
        f"{simulation.now / DAY:.1f} days",
        f"{min(parts.values()):.2f}",
        f"{max(parts.values()):.2f}",
        f"{sum(abs(meter.hours[name] / used - SHARES[name] / entitled) for name in SHARES) / 2:.1%}",
    ]


def _simulate(way: Way, works: Sequence[Work], until: float) -> tuple[Simulation, Meter]:
    meter = Meter(until=until)
    simulation = Simulation(
        nodes=NODES,
        policy=way.policy,
        scheduler=way.scheduler,
        users=dict(USERS),
        lost_by_stop=LOST_BY_STOP,
        watch=meter.watch,
    )
    simulation.submit(_limited(work, way.default_limit) for work in works)
    return simulation, meter


def _later(delays: Sequence[float]) -> str:
    later = [delay for delay in delays if delay > 0]
    if not later:
        return f"0 of {len(delays)}"
    return f"{len(later)} of {len(delays)}, by {_hours(median(later))} to {_hours(max(later))}"


def _limited(work: Work, default: float | None) -> Work:
    return work if work.job.time_limit else replace(work, job=replace(work.job, time_limit=default))


def _report(waits: list[list[str]], shares: list[list[str]], chosen: argparse.Namespace) -> str:
    first = _table(
        ("way", "median", "95 %", "light users, median", "light users, 95 %", f"{WIDE} GPUs and more, 95 %",
         "worst user, mean", "GPUs used", "stops", "first in line later than without back-fill"),
        waits,
    )  # fmt: skip
    second = _table(
        ("way", "measured over", "least of a share", "most of a share", "in wrong hands"),
        shares,
    )
    command = f"python -m bench.queue --jobs {chosen.jobs} --seed {chosen.seed} --load {chosen.load}"
    return f"Waiting times in hours:\n\n{first}\n\nShares under contention:\n\n{second}\n\nCommand: `{command}`."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def _gpus(record: Record) -> float:
    request = record.work.job.request
    return request.each.get(GPU, 0) / UNITS * request.count


def _percentile(values: Sequence[float], part: float = 0.95) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR:.2f}"


if __name__ == "__main__":
    main()
