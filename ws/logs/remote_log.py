"""One of Ray's log files on a node of another host, read through the head's dashboard.

The node's agent gives the last lines of a file, and may go on with what is new. It tells neither times nor offsets.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo

from contracts.ray_nodes import RayNode
from ws.cluster.ray_api import RayApi
from ws.errors import WsError
from ws.logs.containers import split
from ws.logs.entry import Entry
from ws.logs.files import MARGIN
from ws.logs.grouping import Grouper
from ws.logs.kinds import KINDS, Kind, kind_of
from ws.logs.query import Query

MOST_LINES = 10_000  # of one file
RECENT = 20  # lines by which a reader finds its place again
RETRY_SECONDS = 5.0
HISTORY_SECONDS = 2.0  # after which a followed line is taken to be new
PLACE_SECONDS = 10.0  # in which it finds its place again, if the file still has it


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file, as the list of a node's files names it."""

    source: str  # below the session's folder of logs
    kind: Kind
    job: str

    @classmethod
    def of(cls, source: str) -> "RemoteFile | None":
        """The log of this name; None if it is none."""
        known = kind_of(source.rpartition("/")[2])
        return cls(source=source, kind=known[0], job=known[1]) if known else None

    @property
    def rank(self) -> tuple[int, str]:
        """Those that matter most first, where there are too many."""
        return KINDS.index(self.kind), self.source


@dataclass(kw_only=True)
class RemoteLog:
    """What is read of a file."""

    ray: RayApi
    file: RemoteFile
    node: str = ""  # its name, if it is known
    find: Callable[[], RayNode | None]  # the node, which may have restarted or not be there yet
    zone: tzinfo
    undated: float  # the time of a file without times
    cut: bool = False  # whether there may be earlier lines
    aside: int = 0
    problem: str = ""
    grouper: Grouper | None = None

    def read(self, query: Query) -> list[Entry]:
        """The wanted entries until now."""
        lines = MOST_LINES
        if query.tail is not None and not query.selects_lines:
            lines = min(query.tail + MARGIN, MOST_LINES)
        try:
            if (node := self.find()) is None:
                return []
            grouper = self._grouper(node)
            with self.ray.log(node, self.file.source, lines=lines) as blocks:
                texts = list(lines_of(blocks))
        except (WsError, OSError) as error:
            self.problem = str(error)
            return []
        self.cut = lines == MOST_LINES and len(texts) >= lines
        entries = [entry for text in texts for entry in grouper.feed(text)]
        return list(self._wanted([*entries, *grouper.flush()], query))

    def lines(self, query: Query) -> Iterator[tuple[float | None, str]]:
        """The last lines, and new ones for as long as they are asked for; goes on behind a new head."""
        wanted = MOST_LINES if query.tail is None or query.selects_lines else max(min(query.tail, MOST_LINES), 1)
        recent: deque[str] = deque(maxlen=RECENT)
        while True:
            with suppress(WsError, OSError):
                if node := self.find():
                    self.grouper = self.grouper or self._grouper(node)
                    # Behind a lost connection its place must be among them, and what was written meanwhile.
                    lines = max(wanted, MARGIN) if recent else wanted
                    with self.ray.log(node, self.file.source, lines=lines, follow=True) as blocks:
                        begun = time.monotonic()
                        for text in behind(lines_of(blocks), list(recent), lines):
                            recent.append(text)
                            yield (time.time() if time.monotonic() - begun > HISTORY_SECONDS else None), text
            time.sleep(RETRY_SECONDS)

    def _grouper(self, node: RayNode) -> Grouper:
        pattern = Entry(0.0, node.name, node.name, self.file.source, self.file.job, "", "", "")
        return Grouper(pattern, self.file.kind, undated=self.undated, zone=self.zone)

    def _wanted(self, entries: Iterable[Entry], query: Query) -> Iterator[Entry]:
        for entry in filter(query.admits, entries):
            if query.leaves_out(entry):
                self.aside += entry.lines
            else:
                yield entry


def lines_of(blocks: Iterator[bytes]) -> Iterator[str]:
    """The lines of a file, without the zeros at its beginning in place of what the janitor released."""
    return (text.lstrip("\0") for text in split(blocks))


def behind(lines: Iterator[str], place: list[str], most: int) -> Iterator[str]:
    """The lines behind a place, which is several lines; all of them if it does not come within the first ones.

    A file that has begun anew, as in a node's next session, lacks the place: what comes after its last lines is new.
    """
    passed: list[str] = []
    begun = time.monotonic()
    for text in lines if place else ():
        passed.append(text)
        if passed[-len(place) :] == place:
            passed = []
            break
        if len(passed) >= most or time.monotonic() - begun > PLACE_SECONDS:
            break
    yield from passed
    yield from lines
