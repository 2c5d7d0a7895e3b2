"""Transcribes one medium, in the service's container or in a task on Ray. What was heard is kept.

A result belongs to the medium's content, the model and the options, and is written as a whole: whoever comes later,
after a restart as well, uses it. Of those who come at the same time one works, and the others wait for its result.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.transcription.files import alone_in, sha256_of, write_json
from entrypoints.transcription.recognizer import Heard, Model, Options, Recognizer
from entrypoints.transcription.transcript import Segment, to_json

TRANSCRIPT = "transcript.json"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A result, and what a job says of it."""

    key: str  # the folder's name
    reused: bool
    sha256: str
    duration: float
    language: str
    seconds: float  # that the work took, whenever it was done


def key_of(digest: str, model: Model, options: Options) -> str:
    """Return the name of a result."""
    facts = [digest, model.identity, options.language, options.prompt, options.temperature]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]


def read_result(results: Path, key: str) -> dict[str, Any]:
    """Return a result that was kept; raises OSError."""
    return dict(json.loads((results / key / TRANSCRIPT).read_text(encoding="utf-8")))


def progress_at(segment: Segment, duration: float) -> float:
    """Return which share of a medium is heard after a segment; the whole is not, before its result is kept."""
    return round(min(segment.end / duration, 0.99), 3) if duration else 0.0


def hear(
    medium: Path,
    model: Model,
    options: Options,
    *,
    results: Path,
    recognizer: Recognizer,
    where: str,
    heard: Heard,
    cancelled: Callable[[], bool],
) -> Kept:
    """Transcribe a medium, or find what was heard in it before.

    Raises RefusedError, CancelledError, and OSError where the result cannot be kept.
    """
    digest = sha256_of(medium)
    key = key_of(digest, model, options)
    folder = results / key
    reused = (folder / TRANSCRIPT).is_file()
    if not reused:
        with alone_in(folder, cancelled):
            reused = (folder / TRANSCRIPT).is_file()
            if not reused:
                for left in folder.glob(f".{TRANSCRIPT}.*"):
                    left.unlink()  # of a process that was killed while it wrote
                _transcribe(medium, model, options, folder / TRANSCRIPT, recognizer, where, heard, cancelled)
    content = read_result(results, key)
    return Kept(
        key=key,
        reused=reused,
        sha256=digest,
        duration=content["transcript"]["duration"],
        language=content["transcript"]["language"],
        seconds=content["processing"]["seconds"],
    )


def _transcribe(
    medium: Path,
    model: Model,
    options: Options,
    kept: Path,
    recognizer: Recognizer,
    where: str,
    heard: Heard,
    cancelled: Callable[[], bool],
) -> None:
    began = time.monotonic()
    transcript = recognizer.transcribe(medium, model, options, heard, cancelled)
    seconds = round(time.monotonic() - began, 2)
    factor = round(seconds / transcript.duration, 4) if transcript.duration else None
    content = {
        "transcript": to_json(transcript),
        "model": {"id": model.name, "bundled": model.bundled},
        "processing": {"seconds": seconds, "real_time_factor": factor, "where": where},
    }
    write_json(kept, content)
