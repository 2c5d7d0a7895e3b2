"""The charts of the page: a fixed table of what Prometheus is asked, and its answers for the browser."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from contracts.health import WatchedService
from entrypoints.health.asker import Asker
from entrypoints.health.page.prometheus import Stretch, stretch

MOST_SERIES = 8  # in one chart, the highest; as many colours as can be told apart
DIGITS = 4  # significant ones of a figure


@dataclass(frozen=True, kw_only=True)
class Range:
    """A stretch of time up to now: its points and their distance in seconds."""

    title: str
    step: int
    points: int = 121
    kept: float  # seconds for which an answer is kept

    @property
    def window(self) -> str:
        """Over which figures are averaged, so that no spike between two points is lost."""
        return f"{max(self.step, 120)}s"


RANGES = {
    "hour": Range(title="Hour", step=30, kept=10),
    "day": Range(title="Day", step=720, kept=60),
    "week": Range(title="Week", step=5040, kept=300),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """Lines of a chart: an expression of PromQL with $window, and the name of each line with {labels}."""

    query: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart; unit is one of page/assets/charts.js. of_exporter: without that service there are no figures."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    of_exporter: bool = False


CHARTS = {
    "gpu": Chart(
        title="GPU use",
        unit="percent",
        of_exporter=True,
        lines=(
            Line(query="avg by (host, gpu) (avg_over_time(DCGM_FI_DEV_GPU_UTIL[$window]))", legend="{host} GPU {gpu}"),
        ),
    ),
    "gpu-memory": Chart(
        title="GPU memory",
        unit="bytes",
        of_exporter=True,
        lines=(
            Line(
                query='2^20 * max by (host, gpu) (avg_over_time(DCGM_FI_DEV_FB_USED{GPU_I_ID=""}[$window]))',
                legend="{host} GPU {gpu}",
            ),
        ),
    ),
    "tasks": Chart(
        title="Ray tasks",
        unit="count",
        lines=(
            Line(query='sum(avg_over_time(ray_tasks{State=~"RUNNING.*"}[$window]))', legend="running"),
            Line(query='sum(avg_over_time(ray_tasks{State=~"PENDING.*|SUBMITTED.*"}[$window]))', legend="waiting"),
        ),
    ),
    "nodes": Chart(
        title="CPU of Ray nodes",
        unit="percent",
        lines=(Line(query="avg by (node) (avg_over_time(ray_node_cpu_utilization[$window]))", legend="{node}"),),
    ),
    "hosts": Chart(
        title="Hosts",
        unit="percent",
        of_exporter=True,
        lines=(
            Line(
                query='100 * (1 - avg by (host) (rate(node_cpu_seconds_total{mode="idle"}[$window])))',
                legend="{host} CPU",
            ),
            Line(
                query="100 * (1 - avg by (host) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes))",
                legend="{host} memory",
            ),
        ),
    ),
    "cpu": Chart(
        title="CPU of services",
        unit="cores",
        of_exporter=True,
        lines=(
            Line(
                query='sum by (service) (rate(container_cpu_usage_seconds_total{service!=""}[$window]))',
                legend="{service}",
            ),
        ),
    ),
    "memory": Chart(
        title="Memory of services",
        unit="bytes",
        of_exporter=True,
        lines=(
            Line(
                query='sum by (service) (avg_over_time(container_memory_working_set_bytes{service!=""}[$window]))',
                legend="{service}",
            ),
        ),
    ),
    "disk": Chart(
        title="Free disk",
        unit="bytes",
        lines=(
            Line(query="min by (host, disk) (min_over_time(cslr_disk_free_bytes[$window]))", legend="{host} {disk}"),
        ),
    ),
    "answers": Chart(
        title="Time to answer",
        unit="seconds",
        lines=(
            Line(query="max by (service) (avg_over_time(cslr_service_probe_seconds[$window]))", legend="{service}"),
        ),
    ),
}


def charts_with(exporter: WatchedService | None) -> dict[str, Chart]:
    """The charts that may have figures."""
    return {key: chart for key, chart in CHARTS.items() if exporter or not chart.of_exporter}


async def ask_charts(
    charts: Mapping[str, Chart], wanted: Range, prometheus: WatchedService, asker: Asker
) -> dict[str, Any]:
    """The charts over a range, for the browser; raises FailureError."""
    end = (
        int(time.time()) // wanted.step * wanted.step
    )  # whole steps: points stay where they are from question to question
    start = end - wanted.step * (wanted.points - 1)
    answers = await asyncio.gather(*(_lines(chart, wanted, start, prometheus, asker) for chart in charts.values()))
    return {
        "start": start,
        "step": wanted.step,
        "points": wanted.points,
        "charts": {key: _highest(found) for key, found in zip(charts, answers, strict=True)},
    }


async def _lines(
    chart: Chart, wanted: Range, start: int, prometheus: WatchedService, asker: Asker
) -> list[tuple[str, Stretch]]:
    questions = [Template(line.query).substitute(window=wanted.window) for line in chart.lines]
    answers = await asyncio.gather(
        *(stretch(prometheus, question, start, wanted.step, wanted.points, asker) for question in questions)
    )
    return [
        (_name(line.legend, one), one)
        for line, found in zip(chart.lines, answers, strict=True)
        for one in found
        if any(value is not None for value in one.values)
    ]


def _name(legend: str, series: Stretch) -> str:
    return legend.format_map(_Labels(series.labels)).strip()


class _Labels(dict[str, str]):
    """Labels of a series; one that it lacks is empty."""

    def __missing__(self, _: str) -> str:
        return ""


def _highest(lines: Iterable[tuple[str, Stretch]]) -> dict[str, Any]:
    """The lines that reach highest, by name, and how many are left out."""
    found = sorted(lines, key=lambda line: -max(value for value in line[1].values if value is not None))
    shown = sorted(found[:MOST_SERIES], key=lambda line: line[0])
    return {
        "series": [{"name": name, "values": [_short(value) for value in one.values]} for name, one in shown],
        "left_out": len(found) - len(shown),
    }


def _short(value: float | None) -> float | None:
    if value is None:
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short
