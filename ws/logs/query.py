"""Which entries are wanted. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from ws.logs.entry import Entry
from ws.logs.kinds import LEVELS, OWN, is_aside


@dataclass(frozen=True)
class Query:
    """The filters of `ws logs`; an empty one admits everything."""

    services: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()  # patterns, as the next two
    sources: tuple[str, ...] = ()
    task: str = ""
    jobs: tuple[str, ...] = ()  # both IDs of one job, as far as they are known
    level: str = ""  # the lowest
    grep: str = ""  # a regular expression
    since: float | None = None
    until: float | None = None
    tail: int | None = None  # lines of each service; None: all
    follow: bool = False
    everything: bool = False  # of a job also what is no output of its programs
    read_at: tuple[str, ...] = (OWN,)  # addresses of nodes whose workers' files are read, besides drivers' logs

    @classmethod
    def from_json(cls, text: str) -> Query:
        """From the reader's argument."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        return cls(**values)

    def to_json(self) -> str:
        """As the reader's argument."""
        return json.dumps(asdict(self))

    @property
    def selects_lines(self) -> bool:
        """Whether lines must be looked at to know which are wanted."""
        return bool(self.task or self.jobs or self.level or self.grep or self.since or self.until)

    @property
    def filters(self) -> bool:
        """Whether it may take nothing although there are logs."""
        return bool(self.selects_lines or self.nodes or self.sources)

    def takes(self, service: str, node: str, source: str) -> bool:
        """Whether a log may have wanted entries."""
        return self.takes_source(source) and self.takes_node(service, node)

    def takes_source(self, source: str) -> bool:
        """Whether a file of that name may, on any node."""
        return not self.sources or any(fnmatchcase(source, pattern) for pattern in self.sources)

    def takes_node(self, service: str, node: str) -> bool:
        """Whether some log of a node may."""
        return (not self.services or service in self.services) and (
            not self.nodes or any(fnmatchcase(node, pattern) for pattern in self.nodes)
        )

    def admits(self, entry: Entry) -> bool:
        """Whether an entry of such a log is wanted."""
        return (
            (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
            and (not self.level or LEVELS.get(entry.level, 0) >= LEVELS[self.level])
            and (not self.task or fnmatchcase(entry.task, self.task))
            and (not self.jobs or entry.job in self.jobs or bool(self._names_job.search(entry.text)))
            and (not self.grep or bool(self._wanted.search(entry.plain)))
        )

    def leaves_out(self, entry: Entry) -> bool:
        """Whether an entry of one of Ray's files that is admitted is shown only where somebody asks for it."""
        asked = self.everything or self.sources or self.level
        return bool(self.jobs) and not asked and is_aside(entry.source, entry.level, entry.plain, self.read_at)

    @cached_property
    def _names_job(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, self.jobs))})(?![\w-])")

    @cached_property
    def _wanted(self) -> re.Pattern[str]:
        return re.compile(self.grep, re.MULTILINE)
