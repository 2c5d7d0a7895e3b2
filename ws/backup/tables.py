"""What a database's dump holds, table by table: rows and a digest of them, read while the dump passes by.

The digest does not depend on the rows' order, so that two dumps with the same rows have the same one.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

COPY = re.compile(rb"COPY (\S.*?) \((.*)\) FROM stdin;")
END = rb"\."
COMPLETE = b"-- PostgreSQL database dump complete"
BITS = 128
# Columns that say where MLflow keeps artifacts: table → the key, and the place.
PLACES = {"public.runs": ("run_uuid", "artifact_uri"), "public.logged_models": ("model_id", "artifact_location")}


class Table(BaseModel):
    """The rows of a table."""

    rows: int = 0
    digest: str = ""


@dataclass
class DumpReader:
    """Counts what a plain dump of `pg_dump` holds. `complete`: whether its end was among the parts."""

    complete: bool = False
    size: int = 0  # bytes
    places: dict[str, dict[str, str]] = field(default_factory=dict)  # table → key → place
    _rows: dict[str, int] = field(default_factory=dict)
    _sums: dict[str, int] = field(default_factory=dict)
    _table: str | None = None
    _columns: list[int] = field(default_factory=list)
    _rest: bytes = b""

    @property
    def tables(self) -> Mapping[str, Table]:
        """The tables by their names."""
        return {
            name: Table(rows=rows, digest=f"{self._sums[name] % 2**BITS:032x}") for name, rows in self._rows.items()
        }

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Passes a dump on, and reads it."""
        for part in parts:
            self.feed(part)
            yield part

    def feed(self, part: bytes) -> None:
        """Reads a part of a dump."""
        self.size += len(part)
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self._table is None:
            if found := COPY.fullmatch(line):
                self._begin(found[1].decode(), found[2].decode())
            elif line == COMPLETE:
                self.complete = True
        elif line == END:
            self._table = None
        else:
            self._rows[self._table] += 1
            self._sums[self._table] += int.from_bytes(hashlib.blake2b(line, digest_size=BITS // 8).digest(), "big")
            if self._columns:
                values = line.split(b"\t")
                key, place = (values[column].decode(errors="replace") for column in self._columns)
                self.places[self._table][key] = place

    def _begin(self, table: str, columns: str) -> None:
        self._table, self._columns = table, []
        self._rows.setdefault(table, 0)
        self._sums.setdefault(table, 0)
        names = columns.split(", ")
        if table in PLACES and set(PLACES[table]) <= set(names):
            self._columns = [names.index(name) for name in PLACES[table]]
            self.places.setdefault(table, {})


def differences(expected: Mapping[str, Table], found: Mapping[str, Table]) -> list[str]:
    """In which tables two databases differ, in words."""
    said = []
    for name in sorted({*expected, *found}):
        before, after = expected.get(name), found.get(name)
        if before is None or after is None:
            said.append(f"{name} is {'new' if before is None else 'missing'}")
        elif before.rows != after.rows:
            said.append(f"{name} has {after.rows} rows instead of {before.rows}")
        elif before.digest != after.digest:
            said.append(f"{name} has {after.rows} rows, but not the same")
    return said
