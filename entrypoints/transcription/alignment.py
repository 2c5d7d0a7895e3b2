"""Finds when given text was spoken: aligns its words with those that were heard.

Words that are alike are paired in their order, so that the whole differs as little as possible; what lies between two
pairs gets times between theirs. Used for subtitles whose text is right but whose times are not, and for text that a
person corrected.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from entrypoints.transcription.transcript import Cue, Word

ALIKE = 60.0  # of 100: words this similar are the same one, misheard
LARGEST_BLOCK = 250  # words on each side that are compared one by one
PER_WORD = 0.35  # seconds, where nothing says how long a word took
SHORTEST = 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class Given:
    """A subtitle as it was given."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, kw_only=True)
class _Time:
    start: float
    end: float
    heard: Word | None


def normalised(word: str) -> str:
    """Return a word as it is compared: lower case, letters and digits only."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(c for c in folded if c.isalnum())


def pairs(given: Sequence[str], heard: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pair the positions of words that are the same, or alike, in their order."""
    first = other = 0  # where the words begin that are not paired yet
    for change in (*Levenshtein.opcodes(given, heard), None):
        if change is not None and change.tag != "equal":
            continue
        a = range(first, change.src_start if change else len(given))
        b = range(other, change.dest_start if change else len(heard))
        if a and b and max(len(a), len(b)) <= LARGEST_BLOCK:
            yield from _alike(given, heard, a, b)
        if change is not None:
            same = range(change.src_start, change.src_end), range(change.dest_start, change.dest_end)
            yield from zip(*same, strict=True)
            first, other = change.src_end, change.dest_end


def _alike(given: Sequence[str], heard: Sequence[str], a: range, b: range) -> Iterator[tuple[int, int]]:
    """Warp one block onto another, so that the sum of similarities is largest."""
    score = [[fuzz.ratio(given[i], heard[j]) for j in b] for i in a]
    best = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            both = best[i + 1][j + 1] + (score[i][j] if score[i][j] >= ALIKE else 0.0)
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    i = j = 0
    while i < len(a) and j < len(b):
        if score[i][j] >= ALIKE and best[i][j] == best[i + 1][j + 1] + score[i][j]:
            yield a[i], b[j]
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def times_of(given: Sequence[str], heard: Sequence[Word], begin: float, end: float) -> list[_Time]:
    """Return a time for each word, none before `begin` or after `end`."""
    found = dict(pairs([normalised(word) for word in given], [normalised(word.word) for word in heard]))
    times: list[_Time | None] = [None] * len(given)
    for index, position in found.items():
        word = heard[position]
        times[index] = _Time(start=word.start, end=max(word.end, word.start), heard=word)
    index = 0
    while index < len(times):
        if times[index] is not None:
            index += 1
            continue
        stop = next((i for i in range(index, len(times)) if times[i] is not None), len(times))
        before, after = (times[index - 1] if index else None), (times[stop] if stop < len(times) else None)
        _fill(times, index, stop, before, after, begin, end)
        index = stop
    return [time for time in times if time is not None]


def _fill(
    times: list[_Time | None],
    first: int,
    stop: int,
    before: _Time | None,
    after: _Time | None,
    begin: float,
    end: float,
) -> None:
    """Spread words that were not heard over the time between their neighbours."""
    count = stop - first
    low = before.end if before else begin
    high = max(after.start if after else end, low)
    each = min((high - low) / count, PER_WORD) if before or after else (high - low) / count
    start = low if before or not after else high - each * count
    for i in range(count):
        times[first + i] = _Time(start=round(start + i * each, 3), end=round(start + (i + 1) * each, 3), heard=None)


def words_of(text: str, heard: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Return the words of a corrected segment: those that were heard keep their times."""
    written = text.split()
    return tuple(
        Word(
            start=min(max(time.start, start), end),
            end=min(max(time.end, start), end),
            word=word,
            probability=time.heard.probability if time.heard else None,
        )
        for word, time in zip(written, times_of(written, heard, start, end), strict=True)
    )


def retimed(subtitles: Sequence[Given], heard: Sequence[Word], duration: float) -> tuple[Cue, ...]:
    """Return the subtitles at the times when their words were spoken.

    One of which nothing was heard keeps its distance to the others.
    """
    owners = [number for number, cue in enumerate(subtitles) for _ in cue.text.split()]
    written = [word for cue in subtitles for word in cue.text.split()]
    times = times_of(written, heard, 0.0, duration)
    own: dict[int, list[_Time]] = {}
    for number, time in zip(owners, times, strict=True):
        own.setdefault(number, []).append(time)
    known = {number: (mine[0].start, mine[-1].end) for number, mine in own.items() if any(time.heard for time in mine)}
    offsets = {number: span[0] - subtitles[number].start for number, span in known.items()}
    cues, last = [], 0.0
    for number, cue in enumerate(subtitles):
        mine = own.get(number, [])
        if number in known:
            start, stop = known[number]
        else:
            near = sorted(offsets, key=lambda other: abs(other - number))[:5]
            offset = statistics.median([offsets[other] for other in near]) if near else 0.0
            start, stop = cue.start + offset, cue.end + offset
        start = round(max(start, last), 3)
        stop = round(max(stop, start + SHORTEST), 3)
        last = start
        share = sum(1 for time in mine if time.heard) / len(mine) if mine else 0.0
        cues.append(
            Cue(
                start=start,
                end=stop,
                text=cue.text,
                given_start=cue.start,
                given_end=cue.end,
                matched=round(share, 3),
            )
        )
    return tuple(cues)
