"""Ray's log files in a scratch folder, and their lines. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ws.logs.entry import Entry
from ws.logs.grouping import Grouper
from ws.logs.kinds import Kind, kind_of

BLOCK = 2**16  # bytes to read at once from the end of a file
MOST_BYTES = 2**16  # of a line; the rest is cut off
NO_LOGS = {"events", "export_events"}  # folders of Ray's with records for programs
MARGIN = 200  # lines before the wanted ones, so that a traceback is seen from its beginning


@dataclass(frozen=True)
class LogFile:
    """One file of a session."""

    path: Path
    service: str
    node: str
    session: str
    source: str  # below the session's folder of logs
    kind: Kind
    job: str
    changed: float
    inode: tuple[int, int]

    @classmethod
    def at(cls, path: Path, logs: Path, service: str, node: str) -> LogFile | None:
        """The log at a path; None if it is none, or gone."""
        if (known := kind_of(path.name)) is None:
            return None
        try:
            found = path.stat()
        except OSError:
            return None
        source = path.relative_to(logs).as_posix()
        inode = (found.st_dev, found.st_ino)
        return cls(path, service, node, logs.parent.name, source, known[0], known[1], found.st_mtime, inode)

    def grouper(self) -> Grouper:
        """Makes its lines into entries."""
        pattern = Entry(0.0, self.service, self.node, self.source, self.job, "", "", "")
        return Grouper(pattern, self.kind, undated=self.changed)


def log_files(root: Path, nodes: dict[str, str]) -> Iterator[LogFile]:
    """All logs of all sessions; `nodes`: service → name of its node, if that is another."""
    for logs in sorted(root.glob("*/ray/session_*/logs")):
        if logs.parent.is_symlink():
            continue
        service = logs.parts[-4]
        for folder, below, names in os.walk(logs):
            below[:] = sorted(set(below) - NO_LOGS)
            for name in sorted(names):
                if found := LogFile.at(Path(folder, name), logs, service, nodes.get(service, service)):
                    yield found


def first_data(file: BinaryIO) -> int:
    """The offset of the first byte that the janitor has not released (entrypoints/ray/scratch.py)."""
    try:
        return os.lseek(file.fileno(), 0, os.SEEK_DATA)
    except OSError:  # an empty file; a file system that cannot tell
        return 0


def last_lines(file: BinaryIO, begin: int, lines: int) -> int:
    """The offset of the last lines, from `begin` on."""
    end = offset = file.seek(0, os.SEEK_END)
    missing = lines
    while offset > begin:
        size = min(BLOCK, offset - begin)
        offset -= size
        file.seek(offset)
        block = file.read(size)
        place = len(block)
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            if offset + place + 1 == end:
                continue  # the end of the last line
            missing -= 1
            if missing == 0:
                return offset + place + 1
    return begin


def count_lines(file: BinaryIO, begin: int, end: int) -> int:
    """The number of lines that end between two offsets."""
    file.seek(begin)
    count = 0
    while begin < end and (block := file.read(min(2**20, end - begin))):
        count += block.count(b"\n")
        begin += len(block)
    return count


def whole_lines(file: BinaryIO, *, also_last: bool) -> Iterator[tuple[str, int]]:
    """Text and bytes of each line; the last one only if it has ended, unless `also_last`."""
    while line := file.readline(MOST_BYTES):
        size, complete = len(line), line[-1:] == b"\n"
        while not complete and (part := file.readline(MOST_BYTES)):
            size += len(part)
            complete = part[-1:] == b"\n"
        if complete or also_last:
            yield line.rstrip(b"\r\n").decode(errors="replace"), size
