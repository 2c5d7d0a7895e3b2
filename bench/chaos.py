"""Faults of one host while work goes on, one after the other: ``python -m bench.chaos --rounds 60``.

Deploys a stack of its own, with data on small file systems; every kind of work notes outside of it what was
acknowledged. Says how long each fault took to be recovered from, and what was lost. Needs root. Ctrl-C ends it early,
with the report of what there was.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from bench.document import machine, write_section
from testing.chaos.faults import CLOCK_FAULTS, DISK_FAULTS, FAULTS
from testing.chaos.stack import rigged
from testing.chaos.trial import RECOVERY_SECONDS, Trial

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
LOOK_EVERY = 10  # faults: then all that was acknowledged is compared, so that a loss is found near its cause
METHOD = """\
One stack on one host: Ray, MLflow with Postgres and Redis, the queue, Marimo. Four users work without a pause: a driver
with a detached actor, tasks that are tried again and keys of the GCS's store; runs of MLflow with a metric and an
artifact at each step; small jobs of the queue; a notebook that is saved again and again. Each notes outside of the
stack what a service acknowledged. *Recovery* is the time from the end of a fault until every container is healthy and
a piece of each user's work, begun after the fault, was acknowledged; *none* is that time without any fault. A killed
container: SIGKILL of its main process from outside. Cut off: the host's end of its network cable is down. Full: for
10 s. The clock jumps: the host's is wrong for 15 s, then right again."""


def main() -> int:
    """Tries, and writes the section of the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="faults, each kind once before any again (%(default)d)")
    parser.add_argument("--seed", default=f"{time.time_ns() % 2**32}", help="seed of their order")
    parser.add_argument("--only", default="", help="of the faults, those with this in their names, such as killed")
    parser.add_argument(
        "--clock", action="store_true", help="also set the clock of this host wrong by an hour, for 15 s at a time"
    )
    parser.add_argument("--minutes", type=float, default=600.0, help="no fault begins later")
    arguments = parser.parse_args()
    table = {**FAULTS, **DISK_FAULTS, **(CLOCK_FAULTS if arguments.clock else {})}
    faults = {name: fault for name, fault in table.items() if arguments.only in name}
    if not faults:
        parser.error(f"--only {arguments.only}: no fault has this in its name; there are {', '.join(table)}")
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    with tempfile.TemporaryDirectory(prefix="cslr-chaos-") as folder, rigged(Path(folder), arguments.seed) as rig:
        draw = random.Random(arguments.seed)  # noqa: S311 (no secret)
        trial = Trial(rig=rig, faults=faults, draw=draw)
        losses: set[str] = set()
        deadline, began = time.monotonic() + 60 * arguments.minutes, time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            for first in range(0, arguments.rounds, LOOK_EVERY):
                if time.monotonic() > deadline:
                    break
                suffer(trial, min(LOOK_EVERY, arguments.rounds - first), deadline)
                found = set(trial.losses()) - losses
                print("\n".join([f"lost by now: {len(losses) + len(found)}", *sorted(found)]), flush=True)
                losses |= found
        minutes = (time.monotonic() - began) / 60
    command = " ".join(["python -m bench.chaos", *sys.argv[1:]])
    ending = ["", METHOD, "", f"{host}. Command: `{command}`."]
    title = "Faults on one host" + (f": {arguments.only}" if arguments.only else "")
    lines = [f"## {title}", "", *report(trial, sorted(losses), arguments.seed, minutes), *ending]
    print("\n".join(lines), flush=True)
    section = f"chaos-{arguments.only}" if arguments.only else "chaos"
    write_section(section, "\n".join(lines), by="chaos", document=DOCUMENT)
    return 1 if losses or trial.failures else 0


def suffer(trial: Trial, rounds: int, deadline: float) -> None:
    """That many faults while there is work, as long as there is time."""
    with trial.at_work():
        for _ in range(rounds):
            if time.monotonic() > deadline:
                break
            print(time.strftime("%H:%M:%S"), trial.endure_next() or trial.failures[-1], flush=True)


def report(trial: Trial, losses: Sequence[str], seed: str, minutes: float) -> list[str]:
    """The section, without its title."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for outcome in trial.outcomes:
        by_name[outcome.name].append(outcome.recovery)
    acknowledged = trial.acknowledged()
    kinds = ", ".join(f"{count:,} of {name}" for name, count in acknowledged.items())
    total = len(trial.outcomes) + len(trial.failures)
    recoveries = [outcome.recovery for outcome in trial.outcomes]
    return [
        f"{total} faults in {minutes:.0f} min, drawn from seed {seed}. Acknowledged: {sum(acknowledged.values()):,}",
        f"({kinds}). Lost of these: **{len(losses)}**. Not recovered within {RECOVERY_SECONDS:.0f} s:",
        f"**{len(trial.failures)}**.",
        "",
        "| fault | times | recovery: median, s | 95 %, s | worst, s |",
        "|---|---:|---:|---:|---:|",
        *(row(name, seconds) for name, seconds in sorted(by_name.items())),
        *([row("all", recoveries)] if recoveries else []),
        "",
        *(f"- lost: {loss}" for loss in losses),
        *(f"- not recovered: {' '.join(failure.split())}" for failure in trial.failures),
    ]


def row(name: str, seconds: Sequence[float]) -> str:
    """A line of the table. Few values have no 95 %."""
    percentile = f"{quantiles(seconds, n=20, method='inclusive')[-1]:.1f}" if len(seconds) >= 20 else "-"
    return f"| {name} | {len(seconds)} | {median(seconds):.1f} | {percentile} | {max(seconds):.1f} |"


if __name__ == "__main__":
    sys.exit(main())
