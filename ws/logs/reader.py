"""Reads Ray's log files where they lie: runs in a container that sees only them (ws/logs/sources.py).

    python -m ws.logs.reader SCRATCH NODES QUERY

NODES: service → name of its node, as JSON. Prints each entry as a line (`Entry.packed`), by time, and one line with
what it read. With `follow` it then prints what is new. Ends when its standard input does. Holds a few entries of each
file in memory, and the last ones of each service. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ws.logs.entry import Entry, Tail
from ws.logs.files import MARGIN, LogFile, count_lines, first_data, last_lines, log_files, whole_lines
from ws.logs.grouping import Grouper
from ws.logs.query import Query

POLL_SECONDS = 0.5
BUFFER = 2**13  # bytes for each file


class Log:
    """One file that is being read."""

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.skipped = 0  # lines that were not looked at
        self.problem = ""
        self._grouper: Grouper = file.grouper()
        self._offset: int | None = None  # behind what was read

    def entries(self, query: Query, *, follows: bool = False) -> Iterator[Entry]:
        """The entries from where the last call ended; `follows`: they are new."""
        try:
            with self.file.path.open("rb", buffering=BUFFER) as file:
                if self._offset is None:
                    begin = first_data(file)
                    self._offset = begin
                    if query.tail is not None and not query.selects_lines:
                        self._offset = last_lines(file, begin, query.tail + MARGIN)
                        self.skipped = count_lines(file, begin, self._offset)
                file.seek(self._offset)
                if follows:
                    self._grouper.arrive(time.time())
                for text, size in whole_lines(file, also_last=not query.follow):
                    self._offset += size
                    yield from self._grouper.feed(text)
                yield from self._grouper.flush()
        except OSError as error:
            self.problem = f"{self.file.path}: {error.strerror}"


class Reader:
    """All files that a query takes."""

    def __init__(self, root: Path, nodes: dict[str, str], query: Query) -> None:
        self._root, self._nodes, self._query = root, nodes, query
        self._logs: dict[tuple[int, int], Log] = {}
        self._aside = 0  # lines of a job's log that nobody asked for

    def history(self) -> Iterator[Entry]:
        """The wanted entries of all files, by time."""
        self._find()
        streams = (log.entries(self._query) for log in self._logs.values())
        return self._wanted(heapq.merge(*streams, key=lambda entry: entry.time))

    def news(self) -> list[Entry]:
        """Wanted entries that came since the last call, also of new files."""
        self._find()
        found = (entry for log in self._logs.values() for entry in log.entries(self._query, follows=True))
        return sorted(self._wanted(found), key=lambda entry: entry.time)

    def summary(self, left_out: int) -> str:
        """What was read, as a line of the output."""
        read: dict[str, dict[str, int]] = {}
        for log in self._logs.values():
            sessions = read.setdefault(log.file.service, {})
            sessions[log.file.session] = sessions.get(log.file.session, 0) + 1
        problems = [log.problem for log in self._logs.values() if log.problem]
        left_out += sum(log.skipped for log in self._logs.values())
        return json.dumps({"read": read, "left_out": left_out, "aside": self._aside, "problems": problems})

    def _find(self) -> None:
        query = self._query
        for file in log_files(self._root, self._nodes):
            if known := self._logs.get(file.inode):
                known.file = file  # it may have been rotated
            elif (
                query.takes(file.service, file.node, file.source)
                and (query.since is None or file.changed >= query.since)
                and not (query.jobs and file.kind.of_one_job and file.job and file.job not in query.jobs)
            ):
                self._logs[file.inode] = Log(file)

    def _wanted(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in filter(self._query.admits, entries):
            if self._query.leaves_out(entry):
                self._aside += entry.lines
            else:
                yield entry


def run(root: Path, nodes: dict[str, str], query: Query) -> None:
    """Prints the entries; see the module."""
    reader, left_out = Reader(root, nodes, query), 0
    if query.tail is None:
        for entry in reader.history():
            print(entry.packed())
    else:
        tail = Tail(query.tail)
        for entry in reader.history():
            tail.add(entry)
        for entry in tail.entries():
            print(entry.packed())
        left_out = tail.left_out
    print(reader.summary(left_out), flush=True)
    while query.follow:
        time.sleep(POLL_SECONDS)
        for entry in reader.news():
            print(entry.packed())
        sys.stdout.flush()


def end_with_input() -> None:
    """Ends this process at the end of its standard input: whoever reads the output is gone then."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str]) -> int:
    """The program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each worker has two files, and all are open at once
    root, nodes, query = arguments
    try:
        run(Path(root), json.loads(nodes), Query.from_json(query))
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    end_with_input()
    sys.exit(main(sys.argv[1:]))
