"""What came of one file of a job, in every format."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.transcription import formats
from entrypoints.transcription.alignment import words_of
from entrypoints.transcription.failures import RefusedError
from entrypoints.transcription.media import media_type
from entrypoints.transcription.transcript import Cue, Segment, Transcript, vars_of

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything about one file of a job."""

    transcript: Transcript
    cues: tuple[Cue, ...] | None
    moved: tuple[Cue, ...] | None
    facts: Json  # what the job says of the file
    model: Json
    processing: Json


def as_cue(segment: Segment) -> Cue:
    """Return a segment as a subtitle that was heard as it is."""
    return Cue(
        start=segment.start, end=segment.end, text=segment.text, given_start=segment.start, given_end=segment.end,
        matched=1.0,
    )  # fmt: skip


def corrected(segments: Sequence[Json], heard: Sequence[Any]) -> tuple[Segment, ...]:
    """Return corrected segments with times for their words."""
    found = []
    for each in segments:
        near = [word for word in heard if word.end > each["start"] - 0.5 and word.start < each["end"] + 0.5]
        words = words_of(each["text"], near, each["start"], each["end"])
        found.append(Segment(start=each["start"], end=each["end"], text=each["text"], words=words))
    return tuple(found)


def result_json(result: Result) -> Json:
    """Return a result as JSON."""
    transcript, facts = result.transcript, result.facts

    def cues(found: tuple[Cue, ...] | None) -> list[Json] | None:
        return None if found is None else [dict(vars(cue)) for cue in found]

    return {
        "version": 1,
        "revision": facts["revision"],
        "source": {"path": facts["path"], "sha256": facts["sha256"], "duration": transcript.duration},
        "model": result.model,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "text": transcript.text,
        "segments": [
            {
                "id": number, "start": segment.start, "end": segment.end, "text": segment.text,
                "words": [vars_of(word) for word in segment.words],
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "subtitles": cues(result.cues),
        "shifted": cues(result.moved),
        "processing": result.processing,
    }  # fmt: skip


def rendered(result: Result, kind: str, track: str) -> bytes:
    """Return a result in a format; raises RefusedError where there is no such track."""
    if kind == "json":
        return json.dumps(result_json(result), ensure_ascii=False).encode()
    medium = os.path.basename(result.facts["path"])  # noqa: PTH119 - a path of the tree, not of this system
    if kind == "eaf":
        media = media_type(Path(medium)) or "application/octet-stream"
        return formats.elan(result.transcript, medium, media, result.cues, result.moved)
    tracks: dict[str, Any] = {
        "speech": result.transcript.segments,
        "words": list(result.transcript.words),
        "subtitles": result.cues,
        "shifted": result.moved,
    }
    if tracks[track] is None:
        raise RefusedError(404, "not_found", f"The job has no track {track!r} for this file.", param="track")
    if kind == "txt":
        lines = [each.word if track == "words" else each.text for each in tracks[track]]
        return "".join(f"{line}\n" for line in lines).encode()
    return formats.subtitles(tracks[track], "srt" if kind == "srt" else "vtt").encode()
