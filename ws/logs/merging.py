"""One stream of entries from several: by time up to now, and as they come."""

import heapq
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import docker
import requests

from ws.logs.containers import ContainerLog
from ws.logs.entry import Entry
from ws.logs.grouping import Grouper
from ws.logs.query import Query
from ws.logs.ray_files import Summary

QUIET_SECONDS = 0.2  # without a line, after which what came is shown
MOST_AT_ONCE = 10_000


def by_time(streams: Iterable[Iterator[Entry]]) -> Iterator[Entry]:
    """The entries of streams that are each sorted; holds one of each."""
    return heapq.merge(*streams, key=lambda entry: entry.time)


class Live:
    """Streams that go on, each read by a thread of its own."""

    def __init__(self, logs: Sequence[ContainerLog], files: Iterator[Entry | Summary] | None, query: Query) -> None:
        self._query = query
        self._groupers = [log.grouper for log in logs]
        self._came: queue.Queue[tuple[Grouper, float, str] | Entry | Summary | None] = queue.Queue(MOST_AT_ONCE)
        readers: list[Iterator[Any]] = [self._lines(log) for log in logs]
        readers += [self._with_end(files)] if files is not None else []
        self._open = len(readers)
        self._history = files is not None  # whether the files' is still to come
        for reader in readers:
            threading.Thread(target=self._read, args=(reader,), daemon=True).start()

    def batches(self) -> Iterator[list[Entry | Summary]]:
        """What has come, by time, with a summary at the end if one came; the first batch has what was there before."""
        while self._open:
            entries: list[Entry] = []
            summaries: list[Summary] = []
            waits = None if not self._history else 60.0  # for the files' reader to start
            while len(entries) < MOST_AT_ONCE and self._open:
                try:
                    came = self._came.get(timeout=waits)
                except queue.Empty:
                    break
                if isinstance(came, Summary):
                    summaries.append(came)
                    self._history = False
                elif isinstance(came, Entry):
                    entries.append(came)
                elif came is None:
                    self._open -= 1
                else:
                    grouper, stamp, text = came
                    entries += grouper.feed(text, stamp)
                waits = waits if self._history else QUIET_SECONDS
            for grouper in self._groupers:
                entries += grouper.flush()
            yield [*sorted(filter(self._query.admits, entries), key=lambda entry: entry.time), *summaries]

    def _lines(self, log: ContainerLog) -> Iterator[tuple[Grouper, float, str]]:
        for stamp, text in log.lines(self._query):
            yield log.grouper, stamp, text

    @staticmethod
    def _with_end(files: Iterator[Entry | Summary]) -> Iterator[Entry | Summary]:
        """The same, with a summary also where the reader was lost."""
        try:
            yield from files
        finally:
            yield Summary()

    def _read(self, reader: Iterator[Any]) -> None:
        # A removed container ends its stream, one way or another.
        with suppress(docker.errors.DockerException, requests.RequestException, OSError):
            for came in reader:
                self._came.put(came)
        self._came.put(None)
