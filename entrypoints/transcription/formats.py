"""Writes transcripts as subtitles, text and ELAN files; reads subtitles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import pysubs2
from pympi import Elan

from entrypoints.transcription.alignment import Given
from entrypoints.transcription.failures import RefusedError
from entrypoints.transcription.transcript import Cue, Segment, Transcript, Word

SubtitleFormat = Literal["srt", "vtt"]
SUBTITLES = (".vtt", ".srt")
MEDIA_TYPES = {
    "json": "application/json",
    "vtt": "text/vtt; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "eaf": "application/xml",
}
LARGEST = 20 * 2**20  # bytes of a file with subtitles


def subtitles(cues: Iterable[Segment | Cue | Word], kind: SubtitleFormat) -> str:
    """Return cues as a file of subtitles."""
    file = pysubs2.SSAFile()
    for cue in cues:
        text = cue.word if isinstance(cue, Word) else cue.text
        event = pysubs2.SSAEvent(start=pysubs2.make_time(s=cue.start), end=pysubs2.make_time(s=cue.end))
        event.plaintext = text
        file.append(event)
    return file.to_string(kind)


def read_subtitles(path: Path) -> tuple[Given, ...]:
    """Read subtitles; raises RefusedError."""
    try:
        if path.stat().st_size > LARGEST:
            raise RefusedError(400, "invalid_value", f"{path.name} is too large for subtitles.", param="subtitles")
        file = pysubs2.load(str(path), encoding="utf-8-sig", format_=path.suffix.lstrip(".").lower())
    except (OSError, ValueError, pysubs2.Pysubs2Error) as error:
        reason = f"{path.name} cannot be read as subtitles: {error}"
        raise RefusedError(400, "invalid_value", reason, param="subtitles") from None
    return tuple(
        Given(start=event.start / 1000, end=event.end / 1000, text=" ".join(event.plaintext.split()))
        for event in sorted(file, key=lambda event: event.start)
        if not event.is_comment and event.plaintext.strip()
    )


def elan(
    transcript: Transcript, medium: str, media_type: str, cues: Sequence[Cue] | None, moved: Sequence[Cue] | None
) -> bytes:
    """Return an ELAN file beside its medium: tiers for speech, words, and subtitles where there are some."""
    file = Elan.Eaf(author="cslr transcription")
    file.add_linked_file(f"./{medium}", relpath=f"./{medium}", mimetype=media_type)
    tiers: dict[str, Iterable[Segment | Cue | Word]] = {"SPEECH": transcript.segments, "WORDS": transcript.words}
    if cues is not None:
        tiers["SUBTITLE"] = cues
    if moved is not None:
        tiers["SUBTITLE_SHIFTED"] = moved
    for tier, content in tiers.items():
        file.add_tier(tier)
        last = 0
        for each in content:
            # ELAN's annotations of a tier do not overlap, and none is empty.
            start = max(round(each.start * 1000), last)
            last = max(round(each.end * 1000), start + 1)
            file.add_annotation(tier, start, last, each.word if isinstance(each, Word) else each.text)
    file.remove_tier("default")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transcript.eaf"
        file.to_file(str(path))
        return path.read_bytes()
