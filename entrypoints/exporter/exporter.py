"""All figures of a host: the sources, and the text for Prometheus that they make together."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import psutil
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest

from contracts.exporter import ExporterSettings
from entrypoints.exporter import demo
from entrypoints.exporter.attribution import Attribution, Work
from entrypoints.exporter.cgroups import Groups
from entrypoints.exporter.collector import Collector
from entrypoints.exporter.containers import Containers, KeptList
from entrypoints.exporter.gpu_helper import Helper, HelperError
from entrypoints.exporter.gpus import Gpus
from entrypoints.exporter.node import NodeError, NodeExporter
from entrypoints.exporter.proc import Processes
from entrypoints.exporter.ray_work import RayError, workers
from entrypoints.exporter.readings import Readings
from entrypoints.exporter.series import gauge, metric

STALE_INTERVALS = 3  # /health fails when a collection is older
WITHOUT_LIBRARY_SECONDS = 60.0  # until NVML is looked for again, where there is none


class GpuSource:
    """Where the GPUs' readings come from, and what they mean."""

    def __init__(self, settings: ExporterSettings, gpus: Gpus, cut_off: Callable[[], None]) -> None:
        self._settings = settings
        self._gpus = gpus
        self._cut_off = cut_off
        self.helper = Helper()
        self._look_again = 0.0  # of the monotonic clock

    def collect(self) -> None:
        """Ask for one collection; raises HelperError where the GPUs do not answer."""
        if time.monotonic() < self._look_again:
            return
        try:
            readings = self._readings()
        except HelperError:
            self._gpus.note_failure()
            raise
        if readings.cut_off and self._gpus.seen:
            self._cut_off()
        if not readings.library:
            self.helper.end()  # which takes memory for nothing
            self._look_again = time.monotonic() + WITHOUT_LIBRARY_SECONDS
        if readings.error and readings.library:
            self.helper.end()  # a new process may find another state
            self._gpus.note_failure()
            raise HelperError(readings.error)
        self._gpus.note(readings)

    def _readings(self) -> Readings:
        if self._settings.demo_gpus:
            return demo.readings(self._settings.demo_gpus)
        return self.helper.collect(self._settings.deadline)


class Exporter:
    """All collectors of a host, each in a thread of its own, and the text that they make."""

    def __init__(self, settings: ExporterSettings, cut_off: Callable[[], None]) -> None:
        self._settings = settings
        processes, listed = Processes(settings.proc), KeptList(settings.containers)
        self._work: Mapping[tuple[str, int], Work] = {}
        nodes = settings.ray.nodes if settings.ray else {}
        attribution = Attribution(processes, listed, nodes, lambda: self._work)
        self._gpus = Gpus(settings.hostname or platform.node(), settings.gpus_expected, attribution.owner)
        self._source = GpuSource(settings, self._gpus, cut_off)
        self._containers = Containers(Groups(settings.sys / "fs/cgroup"), processes, listed)
        self._node = (
            NodeExporter(settings.node_exporter, settings.node_port, proc=settings.proc, sys=settings.sys)
            if settings.node_exporter
            else None
        )
        self._node_text = b""
        self._node_collector = Collector("node", self._ask_node)
        self._one_scrape = threading.Lock()
        self._collectors = [
            Collector("gpu", self._source.collect),
            Collector("containers", self._containers.collect),
            *([Collector("ray", self._ask_ray)] if settings.ray else []),
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._loop, args=(one,), daemon=True) for one in self._collectors]

    def start(self) -> None:
        """Begin to collect."""
        if self._node:
            with suppress(NodeError):  # which the first scrape then says
                self._node.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the children."""
        self._stop.set()
        self._source.helper.end()
        if self._node:
            self._node.end()

    def text(self) -> bytes:
        """The answer to a scrape."""
        with self._one_scrape:
            if self._node:
                self._node_collector.run()
            return generate_latest(_Series(self._metrics())) + self._node_text

    def ready(self) -> bool:
        """Whether every source was asked at least once."""
        return all(one.tried for one in self._collectors if one.name != "ray")

    def problems(self) -> tuple[str, ...]:
        """Why the figures are not to be trusted: what /health says."""
        limit = STALE_INTERVALS * self._settings.interval
        found = [self._stale(one, limit) for one in self._collectors if one.name != "ray"]
        if self._node and self._node_collector.error:
            found.append(f"node: {self._node_collector.error}")
        if missing := max(0, self._gpus.missing):
            found.append(f"{missing} of the expected GPUs {'does' if missing == 1 else 'do'} not answer")
        return tuple(filter(None, found))

    @staticmethod
    def _stale(one: Collector, limit: float) -> str:
        age = one.age()
        if age is not None and age <= limit:
            return ""
        since = "has not been collected yet" if age is None else f"was last collected {age:.0f} s ago"
        return f"{one.name} {since}" + (f": {one.error}" if one.error else "")

    def _loop(self, collector: Collector) -> None:
        while not self._stop.is_set():
            collector.run()
            self._stop.wait(self._settings.interval)

    def _ask_ray(self) -> None:
        assert self._settings.ray is not None  # noqa: S101 (the collector is there only then)
        try:
            self._work = workers(self._settings.ray)
        except RayError:
            self._work = {}
            raise

    def _ask_node(self) -> None:
        self._node_text = b""
        assert self._node is not None  # noqa: S101 (the collector runs only then)
        self._node_text = self._node.text()

    def _metrics(self) -> Iterator[Metric]:
        yield from self._gpus.metrics()
        yield from self._containers.metrics()
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        """About the exporter itself."""
        asked = [*self._collectors, *([self._node_collector] if self._node else [])]
        tried = [one for one in asked if one.tried]
        yield gauge(
            "cslr_collect_success",
            "Whether the last collection went well.",
            [({"collector": one.name}, int(not one.error)) for one in tried],
        )
        yield gauge(
            "cslr_collect_timestamp_seconds",
            "When a collection went well last.",
            [({"collector": one.name}, one.collected) for one in tried if one.collected],
        )
        yield gauge(
            "cslr_collect_duration_seconds",
            "How long the last collection took.",
            [({"collector": one.name}, one.seconds) for one in tried],
        )
        memory = [({"process": name}, size) for name, size in self._sizes()]
        yield gauge("cslr_exporter_resident_memory_bytes", "Resident memory of the exporter's processes.", memory)
        processor = [({"process": "exporter"}, sum(os.times()[:2]))]
        yield metric("cslr_exporter_cpu_seconds_total", "counter", "CPU time of the exporter itself.", processor)

    def _sizes(self) -> Iterator[tuple[str, float]]:
        own = psutil.Process()
        yield "exporter", own.memory_info().rss
        with suppress(psutil.Error):
            for child in own.children():
                with suppress(psutil.Error):
                    yield (
                        ("node_exporter" if self._node and child.pid == self._node.pid else "nvml"),
                        (child.memory_info().rss),
                    )


class _Series:
    """Metrics as the client's function wants them."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """See the client."""
        return self._metrics
