"""One stream of entries from several: by time up to now, and as they come."""

import heapq
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import docker
import requests

from ws.logs.entry import Entry
from ws.logs.grouping import Grouper
from ws.logs.query import Query
from ws.logs.ray_files import Summary

START_SECONDS = 60.0  # for the files' reader
FIRST_SECONDS = 3.0  # for the first lines of other hosts
LATEST_SECONDS = 1.0  # after which a line is shown, even if more come
QUIET_SECONDS = 0.2  # without a line, after which what came is shown
MOST_AT_ONCE = 10_000


def by_time(streams: Iterable[Iterator[Entry]]) -> Iterator[Entry]:
    """The entries of streams that are each sorted; holds one of each."""
    return heapq.merge(*streams, key=lambda entry: entry.time)


class Log(Protocol):
    """A log that can be followed."""

    @property
    def grouper(self) -> Grouper | None:
        """What makes its lines into entries; there when a line is."""

    def lines(self, query: Query) -> Iterator[tuple[float | None, str]]:
        """Time, if it is known beside the line, and text of each line until now, and of new ones."""


class Live:
    """Streams that go on, each read by a thread of its own."""

    def __init__(
        self, logs: Sequence[Log], files: Iterator[Entry | Summary] | None, query: Query, *, remote: bool = False
    ) -> None:
        """`remote`: some of the logs are of other hosts."""
        self._query = query
        self._groupers: dict[int, Grouper] = {}
        self._first = FIRST_SECONDS if remote else 0.0
        self._came: queue.Queue[tuple[Grouper, float | None, str] | Entry | Summary | None] = queue.Queue(MOST_AT_ONCE)
        readers: list[Iterator[Any]] = [self._lines(log) for log in logs]
        readers += [self._with_end(files)] if files is not None else []
        self._open = len(readers)
        self._history = files is not None  # whether the files' is still to come
        for reader in readers:
            threading.Thread(target=self._read, args=(reader,), daemon=True).start()

    def batches(self) -> Iterator[list[Entry | Summary]]:
        """What has come, by time, with a summary at the end if one came; the first batch has what was there before."""
        first = self._first
        while self._open:
            entries: list[Entry] = []
            summaries: list[Summary] = []
            waits = START_SECONDS if self._history else first or None
            shown_by: float | None = None
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
                    self._groupers[id(grouper)] = grouper
                    entries += grouper.feed(text, stamp)
                if not self._history:
                    shown_by = shown_by or time.monotonic() + (first or LATEST_SECONDS)
                    waits = min(max(shown_by - time.monotonic(), 0.0), first or QUIET_SECONDS)
            for grouper in self._groupers.values():
                entries += grouper.flush()
            yield [*sorted(filter(self._wants, entries), key=lambda entry: entry.time), *summaries]
            first = 0.0

    def _wants(self, entry: Entry) -> bool:
        return self._query.admits(entry) and not self._query.leaves_out(entry)

    def _lines(self, log: Log) -> Iterator[tuple[Grouper, float | None, str]]:
        for stamp, text in log.lines(self._query):
            if log.grouper:
                yield log.grouper, stamp, text

    @staticmethod
    def _with_end(files: Iterator[Entry | Summary]) -> Iterator[Entry | Summary]:
        """The same, with a summary also where the reader was lost."""
        try:
            yield from files
        finally:
            yield Summary()

    def _read(self, reader: Iterator[Any]) -> None:
        try:
            # A removed container ends its stream, one way or another.
            with suppress(docker.errors.DockerException, requests.RequestException, OSError):
                for came in reader:
                    self._came.put(came)
        finally:
            self._came.put(None)  # after a defect too: else the end is waited for in vain
