"""What was heard in a medium: segments, and words with their times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word as it is written, without spaces around it."""

    start: float
    end: float
    word: str
    probability: float | None = None  # None: its time is derived, not heard


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A sentence, or a part of one."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    details: Mapping[str, Any] | None = None  # what OpenAI's verbose JSON says beyond these


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A given subtitle, at its time in the speech."""

    start: float
    end: float
    text: str
    given_start: float
    given_end: float
    matched: float  # share of its words that were heard


@dataclass(frozen=True, kw_only=True)
class Shift:
    """By how many seconds an interpreter's signing follows the speech."""

    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Everything that was heard."""

    language: str
    language_probability: float
    duration: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> Iterator[Word]:
        """All words, in their order."""
        return (word for segment in self.segments for word in segment.words)

    def with_segments(self, segments: tuple[Segment, ...]) -> Transcript:
        """Return the same with other segments."""
        return replace(self, segments=segments)


def to_json(transcript: Transcript) -> dict[str, Any]:
    """Return a transcript as it is kept."""
    return {
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration": transcript.duration,
        "segments": [
            {
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "words": [vars_of(word) for word in segment.words],
                "details": dict(segment.details) if segment.details else None,
            }
            for segment in transcript.segments
        ],
    }


def from_json(found: Mapping[str, Any]) -> Transcript:
    """Return a transcript that was kept."""
    segments = tuple(
        Segment(**{**segment, "words": tuple(Word(**word) for word in segment["words"])})
        for segment in found["segments"]
    )
    return Transcript(**{**found, "segments": segments})


def vars_of(word: Word) -> dict[str, Any]:
    """Return a word as JSON."""
    return {"start": word.start, "end": word.end, "word": word.word, "probability": word.probability}


def shifted(cues: tuple[Cue, ...], shift: Shift) -> tuple[Cue, ...]:
    """Return the cues moved later; none gets shorter than a tenth of a second, none begins before the medium."""
    moved = []
    for cue in cues:
        start = max(0.0, round(cue.start + shift.start, 3))
        moved.append(replace(cue, start=start, end=max(round(cue.end + shift.end, 3), round(start + 0.1, 3))))
    return tuple(moved)
