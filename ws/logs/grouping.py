"""Groups the lines of one log into entries, and gives each a time. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import tzinfo

from ws.logs.entry import COLOURS, Entry
from ws.logs.kinds import LEVELS, Kind, level_of, time_of

MOST_LINES = 1000  # of one entry
MOST_CHARACTERS = 2**18
MOST_UNDATED = 100  # entries that wait for the first time in their log
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\s*$")
CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct cause")
# What Ray writes into a worker's log when that takes up another job, task or actor.
MARK = re.compile(r":(?P<what>job_id|task_name|actor_name):(?P<value>.*)")


class Grouper:
    """The state between two lines of one log."""

    def __init__(self, pattern: Entry, kind: Kind, *, undated: float, zone: tzinfo | None = None) -> None:
        """`pattern` has the fields that all entries share; `undated` is the time if no line has one; `zone` is that of
        times in lines, if it is not this process's.
        """
        self._pattern = pattern
        self._zone = zone
        self._kind = kind
        self._undated = undated
        self._arrival: float | None = None
        self._lines: list[str] = []
        self._size = 0
        self._begins_with_time = False
        self._time: float | None = None
        self._begun: float | None = None  # the time of the entry at hand
        self._stack, self._after_stack = False, False  # whether it is in a traceback, or in what may follow one
        self._has_traceback = False
        self._waiting: list[Entry] = []

    def feed(self, text: str, stamp: float | None = None) -> Iterator[Entry]:
        """Takes the next line, with the time that was kept beside it, if any; yields the entries that it ends."""
        if text[:1] == ":" and (mark := MARK.fullmatch(text)):
            yield from self.flush()
            of_job = mark["what"] == "job_id"
            self._pattern = (
                replace(self._pattern, job=mark["value"]) if of_job else replace(self._pattern, task=mark["value"])
            )
            return
        plain = COLOURS.sub("", text) if "\x1b" in text else text
        own = time_of(plain, self._zone)
        if not self._continues(plain, timed=own is not None):
            yield from self._end()
            self._begins_with_time = own is not None
            found = own if stamp is None else stamp
            found = self._arrival if found is None else found
            if found is not None:
                self._time = max(found, self._time or 0.0)
                yield from self._dated()
            self._begun = self._time
            self._after_stack = False
            self._stack = self._has_traceback = begins_traceback(plain)
        self._lines.append(text)
        self._size += len(text)

    def flush(self) -> Iterator[Entry]:
        """Ends the entry at hand."""
        yield from self._end()
        if self._waiting:
            self._time = self._undated
            yield from self._dated()

    def arrive(self, moment: float) -> None:
        """Lines to come were written at this moment, unless they say when."""
        self._arrival = moment

    def _continues(self, plain: str, *, timed: bool) -> bool:
        if not self._lines or timed or len(self._lines) >= MOST_LINES or self._size >= MOST_CHARACTERS:
            return False
        indented = not plain or plain[0] in " \t"
        if self._stack:
            # The first line that is not indented names the exception.
            self._stack, self._after_stack = indented, not indented
            return True
        if begins_traceback(plain):
            self._stack = self._kind.joined or self._after_stack or self._logged()
            self._has_traceback = self._has_traceback or self._stack
            return self._stack
        if self._after_stack:
            return indented or bool(CHAINED.match(plain)) or self._kind.joined
        return self._kind.joined or (indented and bool(plain))

    def _logged(self) -> bool:
        """Whether the entry at hand is from a logger and not printed: then a traceback belongs to it."""
        return self._begins_with_time or LEVELS.get(level_of(self._lines[0]), 0) >= LEVELS["warning"]

    def _end(self) -> Iterator[Entry]:
        if not self._lines:
            return
        first = self._lines[0]
        level = level_of(COLOURS.sub("", first) if "\x1b" in first else first)
        if level in ("", "debug", "info") and self._has_traceback:
            level = "error"
        shared, text = self._pattern, "\n".join(self._lines)
        entry = Entry(
            self._begun or 0.0, shared.service, shared.node, shared.source, shared.job, shared.task, level, text
        )
        self._lines, self._size = [], 0
        if self._begun is not None:
            yield entry
            return
        self._waiting.append(entry)
        if len(self._waiting) >= MOST_UNDATED:
            self._time = self._undated
            yield from self._dated()

    def _dated(self) -> Iterator[Entry]:
        """Gives entries from before the first time in the log that time."""
        for entry in self._waiting:
            yield replace(entry, time=self._time or 0.0)
        self._waiting = []


def begins_traceback(line: str) -> bool:
    """Whether a line announces a traceback of Python."""
    return "Traceback" in line and bool(TRACEBACK.search(line))
