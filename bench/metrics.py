"""What the metrics of a deployed stack cost: ``python -m bench.metrics dev``.

Asks the stack's Prometheus about its own targets, so the figures are of the time that it has run.
"""

import argparse
import sys
from typing import Any, cast

import docker
import requests
from docker.models.containers import Container
from rich.console import Console

from bench.document import WIDE, machine, write_section

TIMEOUT_SECONDS = 30.0
SERVICES = ("prometheus", "alertmanager", "redis-exporter", "postgres-exporter")
TARGETS = {  # column: what Prometheus is asked, per job
    "scrape, ms (median)": "1000 * quantile by (job) (0.5, quantile_over_time(0.5, scrape_duration_seconds[{window}]))",
    "scrape, ms (slowest)": "1000 * max by (job) (max_over_time(scrape_duration_seconds[{window}]))",
    "samples": "sum by (job) (scrape_samples_scraped)",
}
TOTALS = {  # row: what Prometheus is asked
    "time series": "prometheus_tsdb_head_series",
    "samples per second": "rate(prometheus_tsdb_head_samples_appended_total{{type='float'}}[{window}])",
    "rules, ms (last evaluation of the slowest group)": ("1000 * max(prometheus_rule_group_last_duration_seconds)"),
}
METHOD = """\
`python -m bench.metrics {stack}`: as Prometheus itself says, over the last {window}. Memory is what the kernel counts
for each container, page cache left out."""


def containers(stack: str) -> dict[str, Container]:
    """Service → running container, of those that serve metrics."""
    found = docker.from_env().containers.list(filters={"label": [f"cslr.stack={stack}", "cslr.component"]})
    by_service = {str(one.labels["cslr.component"]): one for one in found}
    if "prometheus" not in by_service:
        sys.exit(f"bench.metrics: stack {stack} has no Prometheus: ws set metrics.enabled true -s {stack}, then ws up")
    return {service: by_service[service] for service in SERVICES if service in by_service}


def asked(address: str, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers to one query now."""
    answer = requests.get(f"{address}/api/v1/query", params={"query": query}, timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def address_of(prometheus: Container) -> str:
    """Where Prometheus is published on this host."""
    ((published, *_),) = (ports for ports in prometheus.ports.values() if ports)
    return f"http://{published['HostIp']}:{published['HostPort']}"


def memory(container: Container) -> float:
    """MB in use, without page cache."""
    stats = cast("dict[str, Any]", container.stats(stream=False))["memory_stats"]
    return float(stats["usage"] - stats["stats"].get("inactive_file", 0)) / 1e6


def targets(address: str, window: str) -> list[str]:
    """A row for each job of Prometheus, in Markdown."""
    table: dict[str, dict[str, float]] = {}
    for column, query in TARGETS.items():
        for series in asked(address, query.format(window=window)):
            table.setdefault(series["metric"]["job"], {})[column] = float(series["value"][1])
    head = ["| target | " + " | ".join(TARGETS) + " |", "|---|" + "--:|" * len(TARGETS)]
    return head + [
        f"| {job} | " + " | ".join(f"{row[column]:.0f}" if column in row else "" for column in TARGETS) + " |"
        for job, row in sorted(table.items())
    ]


def totals(address: str, window: str, found: dict[str, Container]) -> list[str]:
    """Series, samples and rules of Prometheus, and the memory of each service, in Markdown."""
    rows = {}
    for name, query in TOTALS.items():
        (series,) = asked(address, query.format(window=window))
        rows[name] = f"{float(series['value'][1]):.1f}".removesuffix(".0")
    rows |= {f"memory of {service}, MB": f"{memory(container):.1f}" for service, container in found.items()}
    return ["| in all | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows.items())]


def main() -> int:
    """Ask, print, and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("stack", metavar="STACK", help="deployed on this host, with metrics.enabled")
    parser.add_argument("--window", default="10m", help="as Prometheus writes durations (10m)")
    options = parser.parse_args()
    found = containers(options.stack)
    address = address_of(found["prometheus"])
    rows = [*targets(address, options.window), "", *totals(address, options.window, found)]
    facts = [f"- {name}: {value}" for name, value in machine().items()]
    method = METHOD.format(stack=options.stack, window=options.window)
    write_section("metrics", "\n".join(["## Metrics", "", method, "", *facts, "", *rows]))
    Console(width=WIDE).print("\n".join(rows), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
