"""The folders that users submitted, as zip files named by their SHA-256."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from entrypoints.queue.failures import RefusedError

UNFINISHED = ".part"
STALE = 86400.0  # seconds after which an unfinished upload is left over
SOON_USED = 3600.0  # seconds after its upload in which a package waits for its job


class Packages:
    """The packages in a folder. A package is whole and as named, or it is not there."""

    def __init__(self, folder: Path, largest: int, most: int | None = None) -> None:
        """largest, most: bytes of one, and of all together."""
        self.largest = largest
        self._folder, self._most = folder, most
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path | None:
        """The file of a package; None where it is not kept."""
        path = self._folder / f"{sha256}.zip"
        return path if path.is_file() else None

    def has(self, sha256: str) -> bool:
        """Whether a package is kept; one that is asked for counts as new for `remove_unused`."""
        try:
            os.utime(self._folder / f"{sha256}.zip")
        except FileNotFoundError:
            return False
        return True

    async def keep(self, sha256: str, chunks: AsyncIterator[bytes]) -> None:
        """Keep what comes as a package. Raises RefusedError for what is too large, another content, or no zip."""
        try:
            descriptor, name = tempfile.mkstemp(suffix=UNFINISHED, dir=self._folder)
        except OSError as error:
            raise _not_kept(error) from error
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                found, size = hashlib.sha256(), 0
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.largest:
                        raise too_large(self.largest)
                    found.update(chunk)
                    file.write(chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if found.hexdigest() != sha256:
                raise RefusedError(
                    422, "other_content", f"What came has the SHA-256 {found.hexdigest()}, not {sha256}.",
                    remedy="Send the file again, named by its own SHA-256.", param="package",
                )  # fmt: skip
            if not zipfile.is_zipfile(part):
                remedy = "Send a zip of the folder, as `ws submit` does."
                raise RefusedError(422, "no_zip", "The package is not a zip file.", remedy=remedy, param="package")
            if not self.has(sha256) and not self.has_room(size, beside=part):  # sent again, it takes no more
                raise RefusedError(
                    507, "packages_full", f"The folders of jobs take {(self._most or 0) / 2**20:.0f} MiB together.",
                    remedy="Submit again when jobs have ended, or have queue.packages_size raised.", param="package",
                    retry_after=60,
                )  # fmt: skip
            part.rename(self._folder / f"{sha256}.zip")
        except OSError as error:
            raise _not_kept(error) from error
        finally:
            part.unlink(missing_ok=True)

    def has_room(self, size: int, *, beside: Path | None = None) -> bool:
        """Whether one of this size can be kept; beside: an upload that is not counted."""
        if self._most is None:
            return True
        taken = sum(_size(path) for path in self._folder.iterdir() if path != beside)
        return taken + size <= self._most

    def make_room(self, size: int, used: Collection[str]) -> None:
        """Remove packages that no job uses, the one that was longest not asked for first, until there is room.

        One that was just sent is left: its job comes next.
        """
        found = [(path.stat().st_mtime, path) for path in self._folder.glob("*.zip") if path.stem not in used]
        for asked, path in sorted(found):
            if time.time() - asked < SOON_USED or self.has_room(size):
                return
            path.unlink(missing_ok=True)

    def remove_unused(self, used: Collection[str], seconds: float) -> None:
        """Remove packages that no job uses and that were not sent or asked for in this time, and what uploads left."""
        now = time.time()
        for path in self._folder.iterdir():
            if path.suffix not in (".zip", UNFINISHED) or path.stem in used:
                continue
            with suppress(FileNotFoundError):  # an upload that ended meanwhile
                if now - path.stat().st_mtime > (seconds if path.suffix == ".zip" else STALE):
                    path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # an upload that ended meanwhile
        return 0


def too_large(largest: int) -> RefusedError:
    """Return the refusal of a package over the limit."""
    return RefusedError(
        413, "package_too_large", f"The package is larger than {largest / 2**20:.0f} MiB.",
        remedy="Leave out data and results by a .gitignore; keep data in a dataset (`ws data list`).", param="package",
    )  # fmt: skip


def _not_kept(error: OSError) -> RefusedError:
    return RefusedError(
        507, "not_kept", f"The package cannot be kept: {error.strerror or error}.",
        remedy="Free disk space on the host of the queue, then submit again.", param="package",
    )  # fmt: skip
