"""Containers as series under cAdvisor's names and labels: `id` of the group, `name`, `image`; also `service`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric

from contracts.document import DocumentError, load
from contracts.exporter import ContainerList, ListedContainer
from entrypoints.exporter.cgroups import Figures, Groups
from entrypoints.exporter.proc import Processes
from entrypoints.exporter.series import metric

PERIOD = 100_000  # microseconds, in which Docker states quotas


class KeptList:
    """The list that the keeper writes, read anew when it has changed."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp = (0, 0)
        self._containers: Mapping[str, ListedContainer] = {}

    def __call__(self) -> Mapping[str, ListedContainer]:
        """ID → container. Where the list cannot be read, what it last said."""
        if self._file is None:
            return {}
        try:
            found = self._file.stat()
            if (found.st_mtime_ns, found.st_ino) != self._stamp:
                listed = load(ContainerList, self._file.read_text(encoding="utf-8"))
                self._containers = {one.identifier: one for one in listed.containers}
                self._stamp = (found.st_mtime_ns, found.st_ino)
        except (OSError, DocumentError):
            pass
        return self._containers

    @property
    def there(self) -> bool:
        """Whether there is to be a list: then only those in it are shown."""
        return self._file is not None


@dataclass(frozen=True)
class Series:
    """One metric of cAdvisor, and how it follows from figures; None: not known."""

    name: str
    kind: str
    help: str
    value: Callable[[Figures], float | None]


SERIES = (
    Series(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
        lambda figures: figures.cpu_seconds,
    ),
    Series(
        "container_cpu_user_seconds_total",
        "counter",
        "Cumulative user cpu time consumed in seconds.",
        lambda figures: figures.user_seconds,
    ),
    Series(
        "container_cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed in seconds.",
        lambda figures: figures.system_seconds,
    ),
    Series(
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        lambda figures: figures.throttled_seconds,
    ),
    Series(
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed.",
        lambda figures: figures.memory,
    ),
    Series(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set in bytes.",
        lambda figures: figures.working_set,
    ),
    Series("container_memory_rss", "gauge", "Size of RSS in bytes.", lambda figures: figures.rss),
    Series("container_memory_cache", "gauge", "Number of bytes of page cache memory.", lambda figures: figures.cache),
    Series(
        "container_spec_memory_limit_bytes",
        "gauge",
        "Memory limit for the container; 0 is none.",
        lambda figures: figures.memory_limit or 0,
    ),
    Series(
        "container_spec_cpu_period",
        "gauge",
        "CPU period of the container, in microseconds.",
        lambda figures: None if figures.cpu_quota is None else PERIOD,
    ),
    Series(
        "container_spec_cpu_quota",
        "gauge",
        "CPU quota of the container, in microseconds.",
        lambda figures: None if figures.cpu_quota is None else round(figures.cpu_quota * PERIOD),
    ),
    Series("container_processes", "gauge", "Number of tasks inside the container.", lambda figures: figures.pids),
    Series(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        lambda figures: figures.started,
    ),
)
NETWORK = (
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", 0),
    ("container_network_receive_packets_total", "Cumulative count of packets received", 1),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", 2),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", 3),
)


@dataclass(frozen=True)
class Seen:
    """A container at the last collection."""

    labels: Mapping[str, str]
    figures: Figures
    network: Mapping[str, tuple[int, int, int, int]]


class Containers:
    """The containers of the stack, or all where no list says which are its own."""

    def __init__(self, groups: Groups, processes: Processes, listed: KeptList) -> None:
        self._groups = groups
        self._processes = processes
        self._listed = listed
        self._seen: tuple[Seen, ...] = ()
        self._time = 0.0

    def collect(self) -> None:
        """Read all figures."""
        listed = self._listed()
        self._seen = tuple(
            self._look(figures, listed.get(identifier))
            for identifier, figures in self._groups.containers()
            if identifier in listed or not self._listed.there
        )
        self._time = time.time()

    def metrics(self) -> Iterator[Metric]:
        """All series."""
        seen = self._seen
        if not seen:
            return
        for one in SERIES:
            rows = [(each.labels, value) for each in seen if (value := one.value(each.figures)) is not None]
            if rows:
                yield metric(one.name, one.kind, one.help, rows)
        for name, text, column in NETWORK:
            sent = [
                ({**each.labels, "interface": interface}, float(figures[column]))
                for each in seen
                for interface, figures in each.network.items()
            ]
            if sent:
                yield metric(name, "counter", f"{text}.", sent)
        last = [(each.labels, self._time) for each in seen]
        yield metric("container_last_seen", "gauge", "Last time a container was seen by the exporter.", last)

    def _look(self, figures: Figures, listed: ListedContainer | None) -> Seen:
        labels = {"id": figures.path}
        if listed:
            labels |= {"name": listed.name, "image": listed.image, "service": listed.service}
        own_network = listed is not None and not listed.host_network and figures.first_pid is not None
        network = self._processes.network(figures.first_pid) if own_network and figures.first_pid else {}
        return Seen(labels, figures, network)
