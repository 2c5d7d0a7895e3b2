"""The files of a dataset, and their record: sizes and SHA-256 sums in the format of `sha256sum`.

The record is kept in the state folder and not beside the files, which nobody but their owner need be able to write.
`sha256sum --check` reads it, on any host that has the dataset.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically
from ws.errors import WsError

PARTIAL = ".rsync-partial"  # folder in which rsync keeps what it has of a file until it has all of it
BLOCK = 2**20
AT_ONCE = min(8, os.cpu_count() or 1)  # sums are limited by processors where disks are fast
NAMES = "utf-8", "surrogateescape"  # file names may be any bytes


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a dataset is."""

    files: int
    bytes: int
    complete: bool = True  # whether everything was counted


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a dataset was when it was recorded."""

    source: str
    moment: float
    size: int
    sums: Mapping[str, str]  # path below the folder → digest


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a dataset differs from its record; paths below its folder."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.missing, self.extra, self.changed, self.unreadable))


@dataclass(kw_only=True)
class Sums:
    """What was read of a dataset."""

    of: dict[str, str] = field(default_factory=dict)  # path → digest
    unreadable: list[str] = field(default_factory=list)
    size: int = 0


def files_of(folder: Path) -> Iterator[tuple[str, int]]:
    """The path below the folder and the size of each file, links to files included. Raises `OSError`."""
    for above, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name != PARTIAL)
        for name in sorted(names):
            path = Path(above, name)
            size = path.lstat().st_size if not path.exists() else path.stat().st_size
            yield str(path.relative_to(folder)), size


def _raise(error: OSError) -> None:
    raise error


def size_of(folder: Path, seconds: float) -> Size | None:
    """The size of a folder, or what could be counted of it in some seconds; None where it cannot be read."""
    end, files, size = time.monotonic() + seconds, 0, 0
    try:
        for _, one in files_of(folder):
            files, size = files + 1, size + one
            if time.monotonic() > end:
                return Size(files=files, bytes=size, complete=False)
    except OSError:
        return None
    return Size(files=files, bytes=size)


def sums_of(folder: Path, paths: list[str], read: Callable[[int], None]) -> Sums:
    """Reads all files, several at once; tells `read` of each block."""
    found = Sums()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, (digest, size) in zip(paths, pool.map(lambda path: _sum(folder / path, read), paths), strict=True):
            found.size += size
            if digest is None:
                found.unreadable.append(path)
            else:
                found.of[path] = digest
    return found


def _sum(path: Path, read: Callable[[int], None]) -> tuple[str | None, int]:
    digest, size = hashlib.sha256(), 0
    if not path.is_file():  # a pipe would be waited for
        return None, 0
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
                read(len(block))
    except OSError:
        return None, size
    return digest.hexdigest(), size


def compare(record: Record, found: Sums) -> Difference:
    """How what was read differs from the record."""
    seen = {*found.of, *found.unreadable}
    return Difference(
        missing=tuple(sorted(record.sums.keys() - seen)),
        extra=tuple(sorted(found.of.keys() - record.sums.keys())),
        changed=tuple(sorted(path for path, one in found.of.items() if record.sums.get(path, one) != one)),
        unreadable=tuple(sorted(found.unreadable)),
    )


def record_file(identity: StackIdentity, name: str) -> Path:
    """Where a dataset's record is kept."""
    return stack_folder(identity) / "datasets" / f"{name}.sha256"


def write_record(file: Path, record: Record) -> None:
    """Keeps a record. Raises `OSError`."""
    head = f"# {record.moment:.0f} {record.size} {record.source}\n"
    lines = "".join(f"{_line(path, digest)}\n" for path, digest in sorted(record.sums.items()))
    write_atomically(file, (head + lines).encode(*NAMES), 0o600)


def read_record(file: Path) -> Record | None:
    """The record that is kept; None without one. Raises `WsError` where it is damaged."""
    try:
        head, *lines = file.read_bytes().decode(*NAMES).removesuffix("\n").split("\n")
        _, moment, size, source = head.split(" ", 3)
        return Record(source=source, moment=float(moment), size=int(size), sums=dict(map(_read_line, lines)))
    except FileNotFoundError:
        return None
    except ValueError:
        raise WsError(f"{file} is damaged. Remove it, and record the dataset again with --record.") from None


def _line(path: str, digest: str) -> str:
    """A line as `sha256sum` writes it: a backslash at its start says that the name has escapes."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}"


def _read_line(line: str) -> tuple[str, str]:
    digest, separator, path = line.partition("  ")
    if not separator or len(digest.removeprefix("\\")) != 64:
        raise ValueError(line)
    if digest.startswith("\\"):
        path = path.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
    return path, digest.removeprefix("\\")
