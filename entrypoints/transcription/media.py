"""The tree of files that callers see: folders of the dataset, and uploads. Nothing outside it can be named."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from entrypoints.transcription.failures import RefusedError, not_found, not_kept
from entrypoints.transcription.files import write_json
from entrypoints.transcription.formats import SUBTITLES

Kind = Literal["folder", "media", "subtitles", "other"]
MEDIA = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska",
    ".mov": "video/quicktime", ".avi": "video/x-msvideo", ".ts": "video/mp2t", ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg", ".ogv": "video/ogg", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4",
    ".aac": "audio/aac", ".flac": "audio/flac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg",
    ".wma": "audio/x-ms-wma",
}  # fmt: skip
TEXT = {".vtt": "text/vtt", ".srt": "application/x-subrip"}
MOST_LISTED = 5000
MOST_MEDIA = 100_000  # in the folders of one job
BLOCK = 2**20
RATE = 8000  # samples a second, of a waveform's picture


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The folders by their names, and where waveforms are kept."""

    roots: dict[str, Path]
    kept: Path

    def find(self, path: str) -> Path:
        """Return the file or folder of a path; raises RefusedError."""
        first, *rest = path.split("/")
        root = self.roots.get(first)
        hidden = any(part.startswith(".") or not part or "\0" in part for part in rest)
        if root is None or hidden or not root.is_dir():
            raise not_found(path)
        try:
            found, top = root.joinpath(*rest).resolve(strict=True), root.resolve()
        except (OSError, RuntimeError):
            raise not_found(path) from None
        if not found.is_relative_to(top):
            raise not_found(path)
        return found

    def file(self, path: str) -> Path:
        """Return the file of a path; raises RefusedError."""
        found = self.find(path)
        if not found.is_file():
            raise not_found(path)
        return found

    def listing(self, path: str) -> dict[str, Any]:
        """List a folder; the top for an empty path."""
        path = path.strip("/")
        if not path:
            entries = [entry_of(name, root) for name, root in sorted(self.roots.items()) if root.is_dir()]
            return {"path": "", "parent": None, "truncated": False, "entries": entries}
        folder = self.find(path)
        if not folder.is_dir():
            raise not_found(path)
        found = []
        with os.scandir(folder) as children:
            for child in children:
                if not child.name.startswith("."):
                    found.append(child.name)
        entries = []
        for name in sorted(found)[:MOST_LISTED]:
            try:
                entries.append(entry_of(f"{path}/{name}", self.find(f"{path}/{name}")))
            except (RefusedError, OSError):
                continue  # a link that leads out, or a file that is gone
        entries.sort(key=lambda entry: (entry["kind"] != "folder", entry["name"].casefold()))
        return {
            "path": path,
            "parent": path.rpartition("/")[0],
            "truncated": len(found) > MOST_LISTED,
            "entries": entries,
        }

    def media_below(self, path: str) -> Iterator[str]:
        """Return the paths of the media of a folder and below it, or of the one file."""
        found = self.find(path.rstrip("/"))
        if found.is_file():
            yield path
            return
        for folder, folders, files in os.walk(found):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in MEDIA:
                    inside = Path(folder).relative_to(found) / name
                    yield f"{path.rstrip('/')}/{inside.as_posix()}"

    def subtitles_beside(self, path: str) -> str | None:
        """Return the subtitles of a medium's name beside it."""
        stem = path.rpartition(".")[0]
        for suffix in SUBTITLES:
            try:
                self.file(stem + suffix)
            except RefusedError:
                continue
            return stem + suffix
        return None

    def save(self, name: str, content: BinaryIO, largest: int) -> dict[str, Any]:
        """Keep an upload; raises RefusedError."""
        name = safe_name(name)
        folder = self.roots["uploads"] / secrets.token_hex(6)
        target, size = folder / name, 0
        try:
            folder.mkdir(parents=True)
            with target.open("wb") as file:
                while block := content.read(BLOCK):
                    size += len(block)
                    if size > largest:
                        break
                    file.write(block)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise not_kept(error) from error
        if size > largest:
            target.unlink()
            folder.rmdir()
            raise too_large(largest)
        return entry_of(f"uploads/{folder.name}/{name}", target)

    def remove(self, path: str) -> None:
        """Remove an upload; raises RefusedError."""
        if not path.startswith("uploads/"):
            raise RefusedError(403, "read_only", "Only uploads can be removed.", param="path")
        found = self.file(path)
        found.unlink()
        if found.parent != self.roots["uploads"].resolve() and not any(found.parent.iterdir()):
            found.parent.rmdir()

    def peaks(self, path: str, points: int) -> dict[str, Any]:
        """Return the waveform of a medium; raises RefusedError."""
        file = self.file(path)
        facts = file.stat()
        key = hashlib.sha256(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\0{points}".encode()).hexdigest()[:32]
        kept = self.kept / f"{key}.json"
        if kept.is_file():
            return dict(json.loads(kept.read_text(encoding="utf-8")))
        found = _peaks(file, points)
        self.kept.mkdir(parents=True, exist_ok=True)
        write_json(kept, found)
        return found


def too_large(largest: int) -> RefusedError:
    """Return the refusal of an upload."""
    return RefusedError(413, "file_too_large", f"The file is larger than {largest // 2**20} MiB.", param="file")


def safe_name(name: str) -> str:
    """Return a name for an upload that is no path and not hidden."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isprintable() and c not in '<>:"|?*' else "_" for c in last).strip().lstrip(".")
    suffix = Path(kept).suffix[:10]
    return (Path(kept).stem[: 100 - len(suffix)] + suffix) or "upload"


def kind_of(path: Path) -> Kind:
    """Return what a file or folder is, by its name."""
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    return "media" if suffix in MEDIA else "subtitles" if suffix in TEXT else "other"


def media_type(path: Path) -> str | None:
    """Return the type of a file that browsers may show; None for all others."""
    return MEDIA.get(path.suffix.lower()) or TEXT.get(path.suffix.lower())


def entry_of(path: str, found: Path) -> dict[str, Any]:
    """Return an entry of a listing."""
    facts, kind = found.stat(), kind_of(found)
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "kind": kind,
        "size": None if kind == "folder" else facts.st_size,
        "modified": moment(facts.st_mtime),
        "media_type": None if kind == "folder" else media_type(found) or mimetypes.guess_type(found.name)[0],
    }


def moment(seconds: float) -> str:
    """Return a time of the epoch as text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _peaks(file: Path, points: int) -> dict[str, Any]:
    # Only the image of this service has these.
    import av
    import numpy as np

    loudest: list[float] = []
    length, step = 0, RATE // 100
    rest = np.zeros(0, dtype=np.float32)
    try:
        with av.open(str(file)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    rest = np.concatenate([rest, np.abs(part.to_ndarray().reshape(-1))])
                whole = len(rest) // step * step
                loudest.extend(rest[:whole].reshape(-1, step).max(axis=1).tolist())
                length, rest = length + whole, rest[whole:]
    except (av.FFmpegError, IndexError, ValueError, OSError):
        raise RefusedError(400, "invalid_media", f"{file.name} has no sound that can be read.", param="path") from None
    if len(rest):
        loudest.append(float(rest.max()))
        length += len(rest)
    parts = np.array_split(np.array(loudest or [0.0]), min(points, len(loudest) or 1))
    spread = [min(1.0, float(part.max())) for part in parts]
    filled = [round(spread[i * len(spread) // points], 4) for i in range(points)]
    return {"duration": round(length / RATE, 3), "points": points, "peaks": filled}
