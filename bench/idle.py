"""What a deployed stack costs while nobody uses it: ``python -m bench.idle dev`` (several stacks: side by side).

CPU time of each container over ten minutes by the kernel's account of its control group, health checks included. In a
Ray node, the part of Ray's own processes is given apart: they are upstream's, and run in every Ray cluster.
"""

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import docker
import psutil
from docker.models.containers import Container
from rich.console import Console
from rich.progress import track

from bench.document import WIDE, machine, write_section

STEP_SECONDS = 5.0
OURS = ("-m entrypoints.", "/entrypoints/ray/", "sleep ")  # in the command line of a process that is not Ray's
RAY = "ray-"  # names of services that run Ray
METHOD = """\
`python -m bench.idle {stacks} --seconds {seconds:.0f}`: percent of one core by the kernel's account of each container,
health checks included, Docker's daemons not, since they serve all containers of the host. In Ray nodes, Ray's own
processes are counted apart."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """CPU time until now, in seconds."""

    container: float
    ray: dict[int, float]  # PID → of Ray's own processes


def used(container: Container) -> Used:
    """What a container has used since its start."""
    stats: Any = container.stats(stream=False, one_shot=True)
    ray = container.labels["cslr.component"].startswith(RAY)
    return Used(
        container=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        ray=rays(container) if ray else {},
    )


def rays(container: Container) -> dict[int, float]:
    """CPU seconds of the processes of Ray itself."""
    found = {}
    for row in container.top(ps_args="-o pid")["Processes"]:
        try:
            process = psutil.Process(int(row[0]))
            line, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        if not any(part in line for part in OURS):
            found[process.pid] = times.user + times.system
    return found


def containers(stack: str) -> list[Container]:
    """The running containers of a stack."""
    found = docker.from_env().containers.list(filters={"label": [f"cslr.stack={stack}", "cslr.component"]})
    return sorted(found, key=lambda container: str(container.labels["cslr.component"]))


def measure(stacks: list[str], seconds: float) -> dict[str, dict[str, float]]:
    """Percent of one core: service → stack → percent."""
    shown = {stack: containers(stack) for stack in stacks}
    for stack, found in shown.items():
        if not found:
            sys.exit(f"bench.idle: stack {stack} has no running container on this host; deploy it: ws up -s {stack}")
    before = {container.id: used(container) for found in shown.values() for container in found}
    began = time.monotonic()
    for _ in track(range(int(seconds / STEP_SECONDS)), "idle", console=Console(stderr=True)):
        time.sleep(STEP_SECONDS)
    passed = time.monotonic() - began
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for stack, found in shown.items():
        for container in found:
            first, last = before[container.id], used(container)
            ray = sum(now - first.ray.get(pid, 0.0) for pid, now in last.ray.items())
            service = str(container.labels["cslr.component"])
            table[service][stack] = 100 * (last.container - first.container - ray) / passed
            if last.ray:
                table[f"{service}: Ray itself"][stack] = 100 * ray / passed
    return dict(table)


def lines(table: dict[str, dict[str, float]], stacks: list[str]) -> list[str]:
    """The table in Markdown, and its sums."""
    sums = {
        "**platform**": {s: sum(row.get(s, 0) for name, row in table.items() if ":" not in name) for s in stacks},
        "**Ray itself**": {s: sum(row.get(s, 0) for name, row in table.items() if ":" in name) for s in stacks},
    }
    return [
        f"| % of a core | {' | '.join(stacks)} |",
        f"|---|{'--:|' * len(stacks)}",
        *(
            f"| {name} | {' | '.join(f'{row[s]:.2f}' if s in row else '' for s in stacks)} |"
            for name, row in (table | sums).items()
        ),
    ]


def main() -> int:
    """Measure, print, and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("stacks", nargs="+", metavar="STACK", help="deployed on this host, with nobody at work")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    options = parser.parse_args()
    rows = lines(measure(options.stacks, options.seconds), options.stacks)
    method = METHOD.format(stacks=" ".join(options.stacks), seconds=options.seconds)
    facts = [f"- {name}: {value}" for name, value in machine().items()]
    text = "\n".join(["## An idle stack", "", method, "", *facts, "", *rows])
    write_section("idle", text)
    Console(width=WIDE).print("\n".join(rows), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
