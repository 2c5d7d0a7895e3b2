"""Measures a deployment's duration against Docker Compose with the same containers: ``python -m bench.deploy``.

Each round deploys the whole platform with built images onto nothing (no containers, no network, no data), then runs the
same command again with nothing to do, with each contender in turn; the order is reversed from round to round.
Every container is waited for by every contender. Verification, which Compose has no word for, is timed apart.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from bench.document import WIDE, machine, version_of, write_section
from bench.process import run
from testing.compose import NOT_HERE, compose_command
from testing.harness import merged
from testing.live.deployment import FULL, LiveStack

STACK = "bench"
COMPOSE_FILE = "_build/compose.yaml"
SETTINGS = merged(FULL, {"network": {"name": "cslr-bench", "subnet": "10.218.0.0/24"}})
POLL_SECONDS = 0.2
UP_GOAL, UNCHANGED_GOAL = 1.2, 3.0  # times Compose's time to healthy; seconds


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to deploy the stack."""

    name: str
    version: str
    up: Callable[[], None]  # the same command deploys and finds nothing to do
    down: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender in one round. All times in seconds, each with the start of the program."""

    contender: str
    healthy: float  # until every container is healthy
    up: float  # until the command ends: with the verification, where there is one
    unchanged: float  # of the same command with nothing to do
    changed: int  # containers that it changed nevertheless


def main() -> int:
    """Measures, and reports as a table, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.deploy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
    arguments = parser.parse_args()
    compose = compose_command()
    if compose is None:
        print(f"{NOT_HERE}: install it and run this again", file=sys.stderr)
        return 1
    host = machine()
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as folder:
        stack = LiveStack.make(STACK, SETTINGS, Path(folder))
        try:
            contenders = list(contenders_for(stack, compose))
            number = len(file_of(stack)["services"])
            measurements = list(measure(stack, contenders, arguments.rounds, number))
        finally:
            stack.remove()
    versions = host | {contender.name: contender.version for contender in contenders}
    if arguments.json:
        print(json.dumps({"versions": versions, "measurements": [asdict(m) for m in measurements]}, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table(measurements))
    write_section("deploy", markdown(measurements, versions, arguments.rounds, number))
    return 0


def contenders_for(stack: LiveStack, compose: list[str]) -> Iterator[Contender]:
    """Compose, the embedded engine, and Pulumi if its CLI is on PATH. Builds the images if necessary."""
    os.environ |= {
        "XDG_STATE_HOME": str(stack.state_home),
        "PULUMI_BACKEND_URL": f"file://{stack.folder}",
        "PULUMI_CONFIG_PASSPHRASE": "bench",
    }
    run(stack.folder, sys.executable, "-m", "ws", "up", "--stack", STACK, "--engine", "embedded")
    run(stack.folder, sys.executable, "-m", "ws", "down", "--stack", STACK)
    run(stack.folder, sys.executable, "-m", "ws", "generate", "--stack", STACK)
    file = stack.folder / COMPOSE_FILE
    yield Contender(
        name="docker compose",
        version=version_of(*compose, "version", "--short"),
        up=lambda: run(stack.folder, *compose, "--file", str(file), "up", "--detach", "--wait"),
        down=lambda: run(stack.folder, *compose, "--file", str(file), "down"),
    )
    yield ws_contender(stack, "embedded", version_of("git", "describe", "--always", "--dirty"))
    if shutil.which("pulumi"):
        (stack.folder / ".venv").symlink_to(sys.prefix)
        yield ws_contender(stack, "pulumi", version_of("pulumi", "version"))


def ws_contender(stack: LiveStack, engine: str, version: str) -> Contender:
    """`ws` with one of its engines."""
    ws = (sys.executable, "-m", "ws")
    return Contender(
        name=f"{engine} engine",
        version=version,
        up=lambda: run(stack.folder, *ws, "up", "--stack", STACK, "--engine", engine),
        down=lambda: run(stack.folder, *ws, "down", "--stack", STACK),
    )


def file_of(stack: LiveStack) -> dict[str, Any]:
    """What Compose starts."""
    return dict(yaml.safe_load((stack.folder / COMPOSE_FILE).read_text()))


def measure(stack: LiveStack, contenders: Sequence[Contender], rounds: int, containers: int) -> Iterator[Measurement]:
    """All rounds."""
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            stack.remove()
            with watched(stack, containers) as health:
                seconds = timed(contender.up)
            before = stack.ids()
            unchanged = timed(contender.up)
            after = stack.ids()
            measurement = Measurement(
                contender=contender.name,
                healthy=round(health.seconds, 2),
                up=round(seconds, 2),
                unchanged=round(unchanged, 2),
                changed=sum(after.get(service) != identifier for service, identifier in before.items()),
            )
            print(f"round {number + 1} of {rounds}: {measurement}", file=sys.stderr)
            contender.down()
            yield measurement


def timed(action: Callable[[], None]) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


class Health:
    """Watches from outside when a stack becomes healthy, the same for every contender."""

    def __init__(self) -> None:
        self.seconds = float("nan")
        self.over = threading.Event()


@contextmanager
def watched(stack: LiveStack, containers: int) -> Iterator[Health]:
    """Counts healthy containers from now on; `seconds` is how long it took until all were."""
    health, began = Health(), time.monotonic()
    filters = {"label": stack.identity.label_filters, "health": "healthy"}

    def watch() -> None:
        while not health.over.wait(POLL_SECONDS):
            if len(stack.engine.api.containers(filters=filters)) == containers:
                health.seconds = time.monotonic() - began
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield health
        # Compose may see it first: check once more.
        watcher.join(2.0)
    finally:
        health.over.set()
        watcher.join()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A contender's medians, beside Compose's."""

    contender: str
    healthy: float
    times_compose: float
    up: float
    unchanged: float
    changed: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `COLUMNS`."""
        times = "1" if self.contender == "docker compose" else f"{self.times_compose:.2f}"
        return (
            self.contender, f"{self.healthy:.1f}", times, f"{self.up:.1f}", f"{self.unchanged:.1f}", str(self.changed)
        )  # fmt: skip


COLUMNS = (
    "contender", "up to healthy, s", "times compose", "with verification, s", "up with nothing to do, s", "changes",
)  # fmt: skip


def rows(measurements: Sequence[Measurement]) -> list[Row]:
    """Medians over the rounds."""
    by_name: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_name.setdefault(measurement.contender, []).append(measurement)
    peer = median(m.healthy for m in by_name["docker compose"])
    return [
        Row(
            contender=name,
            healthy=median(m.healthy for m in found),
            times_compose=median(m.healthy for m in found) / peer,
            up=median(m.up for m in found),
            unchanged=median(m.unchanged for m in found),
            changed=max(m.changed for m in found),
        )
        for name, found in by_name.items()
    ]


def table(measurements: Sequence[Measurement]) -> Table:
    """The medians for a terminal."""
    shown = Table(title="Deployment of the whole platform, medians", title_justify="left", box=None, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for row in rows(measurements):
        shown.add_row(*row.cells)
    return shown


def markdown(measurements: Sequence[Measurement], versions: dict[str, str], rounds: int, containers: int) -> str:
    """The section of the document."""
    found = rows(measurements)
    lines = [
        "## Deployment",
        "",
        f"The {containers} services of a stack without GPU, images built, no data yet. The Compose file is made from",
        "the same program (`ws generate`), so images, limits, health checks and order are the same. Medians of",
        f"{rounds} rounds; the order of the contenders is reversed from round to round. Compose verifies nothing.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(row.cells)} |" for row in found),
        "",
        *verdicts(found),
        "",
        "; ".join(f"{name}: {value}" for name, value in versions.items()) + ".",
        f"Command: `python -m bench.deploy --rounds {rounds}`.",
    ]
    return "\n".join(lines)


def verdicts(found: Sequence[Row]) -> list[str]:
    """Whether the goals are reached."""
    engines = {row.contender: row for row in found}
    embedded = engines["embedded engine"]
    reached = {
        f"`up` to healthy at most {UP_GOAL} times Compose's (embedded engine)": embedded.times_compose <= UP_GOAL,
        **{
            f"`up` with nothing to do at most {UNCHANGED_GOAL:.0f} s and without changes ({name})": (
                row.unchanged <= UNCHANGED_GOAL and row.changed == 0
            )
            for name, row in engines.items()
            if name != "docker compose"
        },
    }
    return [f"- {goal}: {'reached' if yes else '**missed**'}" for goal, yes in reached.items()]


if __name__ == "__main__":
    sys.exit(main())
