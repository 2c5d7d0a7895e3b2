"""The decoder, with packages in place of PyAV and numpy. The real ones: tests/live/test_transcription_on_ray.py."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoints.transcription.failures import RefusedError
from entrypoints.transcription.sound import sound_of

FILE = Path("talk.ts")


class FFmpegError(Exception):
    """As PyAV's."""


class InvalidDataError(FFmpegError):
    """As PyAV's."""


class Samples(list[float]):
    """As much of an array as the decoder uses."""

    def to_ndarray(self) -> "Samples":
        return self

    def reshape(self, _: int) -> "Samples":
        return self

    def astype(self, _: object) -> "Samples":
        return self

    def __truediv__(self, by: float) -> "Samples":
        return Samples(each / by for each in self)


class Packet:
    """A packet with one frame, or a damaged one."""

    def __init__(self, *samples: float) -> None:
        self.samples = samples

    def decode(self) -> list[Samples]:
        if not self.samples:
            raise InvalidDataError
        return [Samples(self.samples)]


class Resampler:
    """Keeps one frame back, as real ones keep some samples."""

    def __init__(self, **_: object) -> None:
        self.kept: list[Samples] = []

    def resample(self, frame: Samples | None) -> list[Samples]:
        ready, self.kept = self.kept, [] if frame is None else [frame]
        return ready


@pytest.fixture
def av(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """PyAV, whose next file has the packets `packets`, or raises `error`. `asked`: how it was opened."""
    found = SimpleNamespace(
        FFmpegError=FFmpegError, InvalidDataError=InvalidDataError, AudioResampler=Resampler, packets=[], error=None,
        __version__="19.0.2", asked={},
    )  # fmt: skip

    @contextmanager
    def opened(file: str, **asked: Any) -> Iterator[SimpleNamespace]:
        found.asked = asked
        if found.error:
            raise found.error
        yield SimpleNamespace(demux=lambda audio: iter(found.packets))

    found.open = opened
    numpy = SimpleNamespace(
        int16=None, float32=None, zeros=lambda *_, **__: Samples(), concatenate=lambda parts: Samples(chain(*parts))
    )
    monkeypatch.setitem(sys.modules, "av", found)
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    return found


def test_is_all_of_the_medium_as_numbers_up_to_one(av):
    av.packets = [Packet(16384, -16384), Packet(0, 8192)]
    assert sound_of(FILE) == [0.5, -0.5, 0, 0.25]


def test_goes_on_behind_a_damaged_packet(av):
    av.packets = [Packet(16384), Packet(), Packet(8192)]
    assert sound_of(FILE) == [0.5, 0.25]


def test_of_nothing_is_empty(av):
    assert sound_of(FILE) == []


@pytest.mark.parametrize("error", [FFmpegError("no streams"), IndexError("tuple index"), OSError("is a directory")])
def test_of_what_has_none_is_refused(av, error):
    av.error = error
    with pytest.raises(RefusedError, match=r"talk\.ts has no sound that can be read") as refused:
        sound_of(FILE)
    assert (refused.value.status, refused.value.code) == (400, "invalid_media")


@pytest.mark.parametrize(("version", "asked"), [("18.1.0", {"metadata_errors": "ignore"}), ("19.0.2", {})])
def test_titles_in_an_old_encoding_are_ignored_by_each_release(av, version, asked):
    av.__version__ = version
    sound_of(FILE)
    assert av.asked == asked
