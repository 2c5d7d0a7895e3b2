"""An entry of a log: a line with the lines that belong to it. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple, dataclass

COLOURS = re.compile(r"\x1b\[[\d;]*m")
CONTAINER = "container"  # the source of what Docker keeps


@dataclass
class Entry:
    """One entry; the order of the fields is that of the reader's output."""

    time: float  # seconds since 1970
    service: str
    node: str  # Ray's name of it; the service where that is not a node
    source: str  # the file, below the folder of logs; `container` for what Docker keeps
    job: str  # Ray's ID, or the submission ID of a driver's log; empty if it is of no job
    task: str  # the task or actor that wrote it, in a worker's log
    level: str  # empty if it is not known
    text: str

    @property
    def plain(self) -> str:
        """The text without colours."""
        return COLOURS.sub("", self.text)

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.text.count("\n") + 1

    def packed(self) -> str:
        """A line of the reader's output."""
        return json.dumps(astuple(self))

    def as_json(self) -> str:
        """A line of `ws logs --json`; control characters are escaped."""
        seconds, fraction = divmod(round(self.time * 1000), 1000)
        when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:03}Z"
        return json.dumps({**vars(self), "time": when, "text": self.plain})


class Tail:
    """The last entries of each service, whole ones, with at least so many lines; counts what is left out."""

    def __init__(self, lines: int) -> None:
        self._most = lines
        self._kept: dict[str, deque[Entry]] = {}
        self._lines: dict[str, int] = {}
        self.left_out = 0

    def add(self, entry: Entry) -> None:
        """Adds the next entry."""
        kept = self._kept.setdefault(entry.service, deque())
        kept.append(entry)
        lines = self._lines.get(entry.service, 0) + entry.lines
        while kept and lines - kept[0].lines >= self._most:
            lines -= kept[0].lines
            self.left_out += kept.popleft().lines
        self._lines[entry.service] = lines

    def entries(self) -> Iterator[Entry]:
        """What was kept, by time."""
        yield from sorted((entry for kept in self._kept.values() for entry in kept), key=lambda entry: entry.time)
