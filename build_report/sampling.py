"""Samples the host during a build: CPU, memory, and the disk with Docker's data.

Host-wide, since a build's processes are the daemon's: what else runs at the time is in it.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from build_report.records import Sample, Usage, used
from build_report.runs import current_run
from build_report.store import Store, StoreError
from docker_api.api import DockerApi, bytes_free, data_root

SECONDS = 0.5  # between two samples
SHORT = 0.1  # of the first sample
RUN_SECONDS = 2.0  # between two stored samples


def docker_root(api: DockerApi) -> Path | None:
    """The folder where Docker keeps its data; None where the daemon is on another host."""
    folder = data_root(api.call("GET", "/info"))
    return folder if bytes_free(folder) is not None else None


class Sampler:
    """Samples the host during a `with` block; afterwards `usage` has the summary."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        seconds: float = SECONDS,
        each: Callable[[Sample], None] = lambda _: None,
    ) -> None:
        """`folder`: of Docker's data, see `docker_root`. `each` gets every sample."""
        self._folder = folder
        self._seconds = seconds
        self._each = each
        self._samples: list[Sample] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="build-report-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def usage(self) -> Usage | None:
        """The summary so far."""
        return used(tuple(self._samples))

    def _run(self) -> None:
        self._look(psutil.cpu_percent(interval=SHORT))
        while not self._end.wait(self._seconds):
            self._look(psutil.cpu_percent())
        # So soon after the last sample, the CPU share would mean nothing.
        self._look(self._samples[-1].cpu)

    def _look(self, cpu: float) -> None:
        memory = psutil.virtual_memory()
        sample = Sample(
            time=time.time(),
            cpu=cpu,
            memory=memory.total - memory.available,
            disk=bytes_free(self._folder),
        )
        self._samples.append(sample)
        self._each(sample)


def sampled_run(folder: Path | None) -> Sampler:
    """A sampler that writes to the store, for builds of this run by another program."""
    store, run = Store(), current_run()

    def keep(sample: Sample) -> None:
        # A sample that cannot be stored is only missing in the report.
        with contextlib.suppress(StoreError):
            store.add_sample(run, sample)

    return Sampler(folder, seconds=RUN_SECONDS, each=keep)
