"""Measures builds of the image family, cold and after each kind of change, and its size: ``python -m bench.images``.

Builds run as people run them, ``ws matrix`` on a copy of the project, on the Engine that DOCKER_HOST names. Cold means:
no image of the family, no base image, no build cache, no package cache. So the whole build cache of that Engine goes,
and the command refuses to begin without ``--prune``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.document import WIDE, machine, version_of, write_section
from bench.family import Family, Sizes
from bench.images_report import markdown, table
from bench.naive import Naive, NaiveRun
from bench.scenarios import OTHER_RAY, RAY, SCENARIOS, Measurement, Scenario
from images.base.recipe import base_tag
from images.variants import DEFAULT_VARIANT


def main() -> int:
    """Measures, and reports as a table, or as JSON."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m bench.images", description=__doc__)
    parser.add_argument("--prune", action="store_true", help="yes, remove the Engine's whole build cache")
    parser.add_argument("--only", choices=names, action="append", help="this scenario (may be given again)")
    parser.add_argument("--naive", choices=("no", "cold", "all"), default="all", help="how much of the peer to measure")
    parser.add_argument("--json", action="store_true", help="JSON on stdout instead of tables")
    arguments = parser.parse_args()
    if not arguments.prune:
        print("cold builds need an empty build cache: run it again with --prune, which empties it", file=sys.stderr)
        return 2
    host = machine() | {"commit": version_of("git", "describe", "--always", "--dirty")}
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as folder:
        family = Family(Path(folder))
        measurements, sizes = measure(family, [s for s in SCENARIOS if s.name in (arguments.only or names)])
        peer = list(measure_naive(family, Path(folder), arguments.naive))
    if arguments.json:
        print(
            json.dumps(
                {
                    "host": host,
                    "runs": [row(m) for m in measurements],
                    "sizes": asdict(sizes),
                    "naive": [asdict(run) for run in peer],
                },
                indent=2,
            )
        )
    else:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table(measurements, peer))
    write_section("images", markdown(measurements, sizes, peer, host, sys.argv[1:]))
    return 0


def measure(family: Family, scenarios: Sequence[Scenario]) -> tuple[list[Measurement], Sizes]:
    """All scenarios, in their order: each begins with what the one before it left. Sizes are the first one's."""
    found: list[Measurement] = []
    sizes = family.sizes()
    for scenario in scenarios:
        print(f"{scenario.name}: {scenario.means}", file=sys.stderr, flush=True)
        scenario.prepare(family)
        found.append(Measurement(scenario=scenario, run=family.build(*scenario.select)))
        print(f"  {found[-1].run}", file=sys.stderr, flush=True)
        sizes = sizes if sizes.images else family.sizes()
    return found, sizes


def measure_naive(family: Family, folder: Path, extent: str) -> Iterator[NaiveRun]:
    """The peer on the family's own base: cold, and after the same kinds of change."""
    if extent == "no":
        return
    base = base_tag("forky", "bootstrap")
    if not family.api.find(f"/images/{base}/json"):
        family.call("-m", "images.base.bootstrap", "--suite", "forky", "--source", "bootstrap", "--tag", base)
    naive = Naive(family.api, folder / "naive", base, DEFAULT_VARIANT)
    changes = (
        ("cold", None),
        ("code", ("train.py", "one", "two")),
        ("dependency", ("requirements.txt", RAY, OTHER_RAY)),
        ("config", ("Dockerfile", "COPY . /app", "ENV BENCH=1\nCOPY . /app")),
    )
    try:
        for scenario, change in changes[: 1 if extent == "cold" else None]:
            print(f"naive, {scenario}", file=sys.stderr, flush=True)
            if change:
                naive.change(*change)
            yield naive.build(scenario)
    finally:
        naive.remove()


def row(measurement: Measurement) -> dict[str, object]:
    """For programs."""
    return {"scenario": measurement.scenario.name, "goal": measurement.scenario.goal} | asdict(measurement.run)


if __name__ == "__main__":
    sys.exit(main())
