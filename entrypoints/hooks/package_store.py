"""The package store: keeps large values of Ray's key-value store on a host's scratch disk instead of in Redis.

What users upload (a folder for ``working_dir``, modules, the pickled code of a large function) is written here as a
file that is named by the sha256 of its content; Redis keeps a pointer of about 200 bytes under the key that Ray chose.
So Ray's own reference counting continues: when it deletes the key, nothing points to the file any more, and
`Store.collect` removes it. All containers of a host share one store. A host fetches missing files from another host
(package_hooks.py).

    /scratch/packages/<sha256>/content      the value
    /scratch/packages/<sha256>/<hash>.ref   a key that pointed to it, as JSON
    /scratch/packages/incoming/             files that are being written
    /scratch/use/<service>.json             written by the node: use of its scratch folder, and whether it is full

Standard library only, Python 3.10 or newer: it is imported into every process of Ray.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# A pointer begins with this, and no pickle, zip, wheel or tar does.
MAGIC = b'{"cslr-stored": 1, '
FOLDER, INCOMING, LOCK = "packages", "incoming", ".lock"
# A file without a key is kept this long after its last use: its key is written a moment after it.
GRACE_SECONDS = 120.0
# A file whose writer stopped; the slowest upload measured took 40 s.
INCOMPLETE_SECONDS = 3600.0
# Older measurements of the node are ignored.
MEASURED_SECONDS = 600.0
DEFAULT_LIMIT = 8 * 2**30
SHARE_OF_SCRATCH = 0.25  # of the scratch folder's limit
BLOCK = 2**20


class StoreError(OSError):
    """A value cannot be stored or retrieved; the message is a sentence for the user."""

    def __str__(self) -> str:
        """Return the sentence, without the number of the error."""
        return str(self.strerror or (self.args[-1] if self.args else ""))


class StoreFullError(StoreError):
    """There is no room: retrying is useless until space is freed."""


@dataclass(frozen=True)
class Pointer:
    """The entry in Redis in place of a value; node: the node that stored it."""

    sha256: str
    size: int
    node: str = ""
    time: float = 0.0

    def encode(self) -> bytes:
        """Return the bytes to write to Redis."""
        fields = {"sha256": self.sha256, "size": self.size, "node": self.node, "time": round(self.time, 3)}
        return MAGIC + json.dumps(fields)[1:].encode()

    @classmethod
    def decode(cls, value: bytes | None) -> Pointer | None:
        """Return the pointer; None if the value is not one, such as a package from before the store existed."""
        if not value or not value.startswith(MAGIC):
            return None
        try:
            fields = json.loads(value)
            sha256, size = str(fields["sha256"]), int(fields["size"])
            if not is_name(sha256):
                return None
            return cls(sha256, size, str(fields.get("node", "")), float(fields.get("time", 0)))
        except (ValueError, LookupError, TypeError):
            return None


@dataclass(frozen=True)
class Key:
    """A key of Ray's store, with its namespace."""

    key: bytes
    namespace: bytes = b""

    @property
    def text(self) -> str:
        """The key for people: a URI, or the kind of value."""
        if self.key.startswith(b"gcs://"):
            return self.key.decode(errors="replace")
        return f"the key {self.key[:80]!r}" + (f" of namespace {self.namespace!r}" if self.namespace else "")


def is_name(name: str) -> bool:
    """Whether this can be the name of an entry: names from the network must not lead out of the folder."""
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def size_text(size: float) -> str:
    """Format a size for people."""
    for unit, bytes_of_it in (("GB", 2**30), ("MB", 2**20)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.1f} {unit}"
    return f"{size / 2**10:.0f} KB"


class Store:
    """The store of this host. Each change is one rename, so that a process may end anywhere."""

    def __init__(self, scratch: Path, *, service: str = "", node: str = "", limit: int = DEFAULT_LIMIT) -> None:
        self.folder = scratch / FOLDER
        self._scratch = scratch
        self._service = service
        self._node = node
        self.limit = limit  # bytes

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Store | None:
        """Return the store of this container; None without a scratch disk."""
        scratch = Path(environment.get("CSLR_SCRATCH") or "/scratch")
        node = environment.get("RAY_NODE_NAME", "")
        service = environment.get("RAY_NODE_SERVICE", "") or node
        bound = environment.get("RAY_NODE_SCRATCH_LIMIT", "")
        limit = int(int(bound) * SHARE_OF_SCRATCH) if bound.isdigit() else DEFAULT_LIMIT
        store = cls(scratch, service=service, node=node or service, limit=limit)
        try:
            (store.folder / INCOMING).mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return store if os.access(store.folder / INCOMING, os.W_OK) else None

    # --- room ---------------------------------------------------------------------------------------------------

    def measured(self) -> dict[str, object]:
        """Return the node's measurement of its scratch folder; empty if unknown or old."""
        try:
            use = json.loads((self._scratch / "use" / f"{self._service}.json").read_text(encoding="utf-8"))
            return use if time.time() - float(use.get("time", 0)) < MEASURED_SECONDS else {}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def refusal(self) -> str | None:
        """Return why nothing more may be written here; None: it may."""
        use = self.measured()
        if use.get("full"):
            return str(use.get("message") or f"{self._service}: scratch full")
        return None

    def used(self) -> int:
        """Return how many bytes the store holds."""
        return sum(_size(folder) for folder in self.folder.iterdir() if is_name(folder.name))

    def full(self, size: int) -> StoreFullError:
        """Return the error for a value that does not fit."""
        where = f"{self._service}: " if self._service else ""
        return StoreFullError(
            errno.ENOSPC,
            f"{where}package store full: {size_text(self.used())} of {size_text(self.limit)} are of jobs that run, "
            f"and {size_text(size)} more do not fit. Wait for a job to end, or upload less: `excludes` in the "
            "runtime_env, or data in a volume instead of the working_dir",
        )

    # --- values -------------------------------------------------------------------------------------------------

    def path(self, sha256: str) -> Path:
        """Return the path of an entry's content, which need not exist."""
        if not is_name(sha256):
            raise StoreError(errno.EINVAL, f"not the name of a package: {sha256!r}")
        return self.folder / sha256 / "content"

    def has(self, pointer: Pointer) -> bool:
        """Whether the store has the whole value."""
        try:
            return self.path(pointer.sha256).stat().st_size == pointer.size
        except OSError:
            return False

    def put(self, value: bytes, key: Key, make_room: Callable[[int], None] | None = None) -> Pointer:
        """Keep a value on disk; return what to write to Redis instead. Calls make_room(size) if the store is full.

        Raises StoreFullError with a sentence for the user.
        """
        if reason := self.refusal():
            raise StoreFullError(errno.ENOSPC, reason)
        pointer = Pointer(hashlib.sha256(value).hexdigest(), len(value), self._node, time.time())
        if self._keep(pointer, key):
            return pointer
        if make_room and self.used() + len(value) > self.limit:
            make_room(len(value))
        if self.used() + len(value) > self.limit:
            raise self.full(len(value))
        with self.writing() as file:
            file.write(value)
            file.commit(pointer, key)
        return pointer

    def writing(self) -> Incoming:
        """Return a new file of this store, which is removed unless it is committed."""
        return Incoming(self)

    def read(self, pointer: Pointer, key: Key) -> bytes | None:
        """Return the value; None if it is missing or corrupt (then it is removed)."""
        path = self.path(pointer.sha256)
        try:
            value = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(value).hexdigest() != pointer.sha256:
            self._remove(pointer.sha256)
            return None
        with contextlib.suppress(OSError):  # a full disk must not stop a reader
            self._keep(pointer, key)
        return value

    def touch(self, pointer: Pointer) -> None:
        """Record that an entry is in use, so that it is not collected yet."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / pointer.sha256)

    def _keep(self, pointer: Pointer, key: Key, file: Path | None = None) -> bool:
        """Record that a key points to an entry, whose content the file becomes; False: there is no content."""
        folder = self.folder / pointer.sha256
        name = hashlib.sha1(key.namespace + b"\0" + key.key, usedforsecurity=False).hexdigest() + ".ref"
        with self._lock(fcntl.LOCK_SH):
            if file:
                folder.mkdir(exist_ok=True)
                file.replace(folder / "content")
            elif not self.has(pointer):
                return False
            if not (folder / name).exists():
                new = self.folder / INCOMING / f"{uuid.uuid4().hex}.ref"
                new.write_text(json.dumps({"key": key.key.hex(), "namespace": key.namespace.hex()}), encoding="utf-8")
                new.replace(folder / name)
            os.utime(folder)
        return True

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Removing entries and adding to them exclude each other."""
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    # --- clean-up -----------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return all entries, the least recently used first."""
        found = []
        for folder in self.folder.iterdir():
            if is_name(folder.name):
                with contextlib.suppress(OSError):
                    found.append(Entry(folder.name, _size(folder), folder.stat().st_mtime, _keys(folder)))
        return sorted(found, key=lambda entry: entry.used)

    def collect(self, pointed: Callable[[Iterable[Key]], Mapping[Key, str]], *, now: float | None = None) -> int:
        """Remove entries that no key points to and unfinished files; return the bytes freed.

        pointed(keys) returns the sha256 of each key that holds a pointer.
        """
        now = time.time() if now is None else now
        entries = [entry for entry in self.entries() if now - entry.used > GRACE_SECONDS]
        live = pointed([key for entry in entries for key in entry.keys])
        freed = 0
        for entry in entries:
            if not any(live.get(key) == entry.sha256 for key in entry.keys):
                freed += self._remove_unused(entry)
        for file in (self.folder / INCOMING).iterdir():
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > INCOMPLETE_SECONDS:
                    freed += file.stat().st_size
                    _delete(file)
        return freed

    def _remove_unused(self, entry: Entry) -> int:
        """Remove an entry unless it was used in the meantime."""
        with self._lock(fcntl.LOCK_EX):
            try:
                if (self.folder / entry.sha256).stat().st_mtime != entry.used:
                    return 0
                doomed = self._set_aside(entry.sha256)
            except OSError:
                return 0
        _delete(doomed)
        return entry.size

    def discard(self, sha256: str) -> None:
        """Remove an entry whose keys are gone, without waiting for the next collection."""
        self._remove(sha256)

    def _remove(self, sha256: str) -> None:
        with contextlib.suppress(OSError):
            with self._lock(fcntl.LOCK_EX):
                doomed = self._set_aside(sha256)
            _delete(doomed)

    def _set_aside(self, sha256: str) -> Path:
        doomed = self.folder / INCOMING / f"{uuid.uuid4().hex}.removed"
        (self.folder / sha256).rename(doomed)
        return doomed


@dataclass(frozen=True)
class Entry:
    """A stored value; used: the time of its last use."""

    sha256: str
    size: int
    used: float
    keys: tuple[Key, ...]


class Incoming:
    """A file that is being written. It becomes an entry whole, or not at all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.folder / INCOMING / uuid.uuid4().hex
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Incoming:
        self._file = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, block: bytes) -> None:
        """Append data. Raises StoreFullError."""
        try:
            self._file.write(block)
        except OSError as error:
            raise self._explain(error) from None
        self._hash.update(block)
        self.size += len(block)

    def commit(self, pointer: Pointer, key: Key) -> None:
        """Make it the pointer's value, on disk before this returns. Raises StoreError if the content differs."""
        if (self._hash.hexdigest(), self.size) != (pointer.sha256, pointer.size):
            raise StoreError(errno.EIO, f"{key.text} is not what it was: {self.size} of {pointer.size} bytes came")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._store._keep(pointer, key, self._path)
        except OSError as error:
            raise self._explain(error) from None

    def _explain(self, error: OSError) -> OSError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return error
        where, disk = self._store._service or "this host", shutil.disk_usage(self._store.folder)
        return StoreFullError(
            errno.ENOSPC, f"{where}: scratch full: {size_text(disk.total - disk.free)} of {size_text(disk.total)}"
        )


def _size(folder: Path) -> int:
    """Return the size of an entry's content; 0 if it has none or is being removed."""
    try:
        return (folder / "content").stat().st_size
    except OSError:
        return 0


def _keys(folder: Path) -> tuple[Key, ...]:
    found = []
    for file in sorted(folder.glob("*.ref")):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            fields = json.loads(file.read_text(encoding="utf-8"))
            found.append(Key(bytes.fromhex(fields["key"]), bytes.fromhex(fields["namespace"])))
    return tuple(found)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
