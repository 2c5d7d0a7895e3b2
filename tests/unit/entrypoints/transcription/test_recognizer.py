"""Which models there are, and the wrapper around Whisper, with a package in place of the image's.

The real one, with the bundled model, runs in tests/live/test_transcription.py, inside the image.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from entrypoints.transcription import recognizer
from entrypoints.transcription.failures import CancelledError, RefusedError
from entrypoints.transcription.recognizer import Options, Whisper, chosen, models_in

RATE = 16000  # samples a second, of what Whisper hears
FILE = Path("talk.wav")


def model(folder: Path, *, origin: str | None = None, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    if origin:
        (folder / "origin.json").write_text(json.dumps({"origin": origin}))
    return folder


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    return tmp_path / "mounted"


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    model(tmp_path / "bundled" / "whisper-base", origin="an index")
    return tmp_path / "bundled"


class TestModels:
    def test_bundled_one_says_where_it_comes_from(self, mounted, bundled):
        (found,) = models_in(mounted, bundled, None).values()
        assert (found.name, found.bundled, found.origin) == ("whisper-base", True, "an index")

    def test_mounted_one_comes_first_and_wins_over_a_bundled_one_of_its_name(self, mounted, bundled):
        model(mounted / "large-v3")
        model(mounted / "whisper-base", weights=b"larger weights")
        found = models_in(mounted, bundled, None)
        assert list(found) == ["large-v3", "whisper-base"]
        assert [one.bundled for one in found.values()] == [False, False]

    def test_default_of_the_stack_comes_first(self, mounted, bundled):
        model(mounted / "large-v3")
        assert list(models_in(mounted, bundled, "whisper-base")) == ["whisper-base", "large-v3"]
        assert list(models_in(mounted, bundled, "missing")) == ["large-v3", "whisper-base"]

    def test_folder_without_weights_is_none(self, mounted, bundled):
        (mounted / "half").mkdir(parents=True)
        (mounted / "half" / "config.json").write_text("{}")
        (mounted / "notes.txt").write_text("not a folder")
        assert list(models_in(mounted, bundled, None)) == ["whisper-base"]

    def test_damaged_origin_does_not_hide_a_model(self, mounted, bundled):
        (bundled / "whisper-base" / "origin.json").write_text("{")
        assert models_in(mounted, bundled, None)["whisper-base"].origin == "part of the image"

    def test_results_of_other_weights_under_one_name_are_not_taken_for_its_own(self, mounted, bundled):
        model(mounted / "own")
        before = models_in(mounted, bundled, None)["own"].identity
        (mounted / "own" / "model.bin").write_bytes(b"other weights")
        assert models_in(mounted, bundled, None)["own"].identity != before

    def test_english_alone_is_in_the_name(self, mounted, bundled):
        model(mounted / "tiny.en")
        found = models_in(mounted, bundled, None)
        assert (found["tiny.en"].multilingual, found["whisper-base"].multilingual) == (False, True)


class TestChosen:
    def test_openais_name_means_the_default_one(self, mounted, bundled):
        found = models_in(mounted, bundled, None)
        assert chosen(found, "whisper-1").name == chosen(found, None).name == "whisper-base"

    def test_unknown_one_is_refused_with_those_that_there_are(self, mounted, bundled):
        with pytest.raises(RefusedError, match="There is no model 'large'; there are whisper-base"):
            chosen(models_in(mounted, bundled, None), "large")

    def test_without_any_the_key_is_named(self):
        with pytest.raises(RefusedError, match=r"transcription\.models"):
            chosen({}, None)


class FakeModel:
    """As much of faster-whisper's as the wrapper uses; it hears one word a second."""

    loaded: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    supported_languages = ("en", "de")

    def __init__(self, folder: str, **options: Any) -> None:
        if (Path(folder) / "model.bin").read_bytes() == b"damaged":
            raise RuntimeError("unexpected end of file")
        self.loaded.append((folder, options))
        self.asked: dict[str, Any] = {}

    def transcribe(self, sound: Any, **asked: Any) -> Any:
        self.asked = asked
        segments = (
            SimpleNamespace(
                start=at, end=at + 0.99949, text=f" word {at} ", seek=0, tokens=(1, 2), temperature=None,
                avg_logprob=-0.25, compression_ratio=1.0, no_speech_prob=0.0,
                words=[SimpleNamespace(start=at, end=at + 0.5, word=f" word{at}", probability=0.98765)],
            )
            for at in range(len(sound) // RATE)
        )  # fmt: skip
        return segments, SimpleNamespace(language=asked["language"] or "de", language_probability=0.987654)


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """File name → seconds of sound."""
    found: dict[str, int] = {FILE.name: 3}

    def sound_of(file: Path) -> list[float]:
        return [0.0] * (found[file.name] * RATE)

    package: Any = SimpleNamespace(WhisperModel=FakeModel)
    monkeypatch.setattr(FakeModel, "loaded", [])
    monkeypatch.setattr(recognizer, "sound_of", sound_of)
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    return found


@pytest.fixture
def whisper(sounds, mounted, bundled) -> Whisper:
    return Whisper(mounted, bundled, None, threads=2)


def heard(whisper: Whisper, options: Options | None = None, name: str | None = None, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"heard": lambda *_: None, "cancelled": lambda: False, **changes}
    found = chosen(whisper.models(), name)
    return whisper.transcribe(Path(FILE), found, options or Options(), **arguments)


class TestWhisper:
    def test_gives_words_with_times_and_what_openai_says_of_a_segment(self, whisper):
        found = heard(whisper)
        assert (found.language, found.language_probability, found.duration) == ("de", 0.9877, 3.0)
        assert [segment.text for segment in found.segments] == ["word 0", "word 1", "word 2"]
        (word,) = found.segments[1].words
        assert (word.start, word.end, word.word, word.probability) == (1.0, 1.5, "word1", 0.988)
        assert found.segments[1].end == 1.999
        assert found.segments[1].details["temperature"] == 0.0

    def test_tells_of_each_segment_with_the_duration_of_the_medium(self, whisper):
        told: list[Any] = []
        heard(whisper, heard=lambda segment, duration: told.append((segment.text, duration)))
        assert told == [("word 0", 3.0), ("word 1", 3.0), ("word 2", 3.0)]

    def test_ends_within_a_segment_once_it_is_cancelled(self, whisper):
        told: list[str] = []
        with pytest.raises(CancelledError):
            heard(whisper, heard=lambda segment, _: told.append(segment.text), cancelled=lambda: len(told) == 2)
        assert told == ["word 0", "word 1"]

    def test_loads_a_model_once_on_the_cpus_and_downloads_nothing(self, whisper, bundled):
        heard(whisper)
        heard(whisper)
        ((folder, options),) = FakeModel.loaded
        assert folder == str(bundled / "whisper-base")
        assert options == {"device": "cpu", "compute_type": "int8", "cpu_threads": 2, "local_files_only": True}

    def test_on_a_gpu_finds_the_libraries_of_the_images_packages(self, sounds, mounted, bundled, tmp_path, monkeypatch):
        found = ("cublas/lib/libcublasLt.so.12", "cublas/lib/libcublas.so.12", "cudnn/lib/libcudnn.so.9")
        packages = tmp_path / "site-packages"
        for library in found:
            (packages / "nvidia" / library).parent.mkdir(parents=True, exist_ok=True)
            (packages / "nvidia" / library).touch()
        monkeypatch.syspath_prepend(packages)
        loaded: list[str] = []
        monkeypatch.setattr("ctypes.CDLL", lambda path, mode: loaded.append(path))
        heard(Whisper(mounted, bundled, None, 1, device="cuda"))
        assert loaded == [str(packages / "nvidia" / library) for library in found]
        options = FakeModel.loaded[-1][1]
        assert (options["device"], options["compute_type"]) == ("cuda", "float16")

    def test_has_one_model_in_memory_and_takes_new_weights(self, whisper, mounted):
        model(mounted / "own")
        for name in ("own", "whisper-base", "own"):
            heard(whisper, name=name)
        (mounted / "own" / "model.bin").write_bytes(b"other weights")
        heard(whisper, name="own")
        assert [Path(folder).name for folder, _ in FakeModel.loaded] == ["own", "whisper-base", "own", "own"]

    def test_passes_the_options_on(self, whisper):
        heard(whisper, Options(language="en", prompt="Wetter", temperature=0.3))
        asked = whisper.load(chosen(whisper.models(), None)).asked
        assert (asked["language"], asked["initial_prompt"], asked["temperature"]) == ("en", "Wetter", 0.3)
        assert (asked["word_timestamps"], asked["vad_filter"]) == (True, True)

    def test_without_a_temperature_whisper_may_try_several(self, whisper):
        heard(whisper)
        assert whisper.load(chosen(whisper.models(), None)).asked["temperature"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]

    def test_refuses_a_language_that_the_model_does_not_know(self, whisper):
        with pytest.raises(RefusedError, match="does not know the language 'tlh'"):
            heard(whisper, Options(language="tlh"))

    def test_refuses_a_model_that_cannot_be_loaded_and_goes_on_with_others(self, whisper, mounted):
        model(mounted / "broken", weights=b"damaged")
        with pytest.raises(RefusedError, match="broken cannot be loaded: unexpected end of file"):
            heard(whisper, name="broken")
        assert heard(whisper, name="whisper-base").text == "word 0 word 1 word 2"

    def test_hears_nothing_in_a_sound_without_length(self, whisper, sounds):
        sounds[FILE.name] = 0
        found = heard(whisper)
        assert (found.segments, found.duration, found.text) == ((), 0.0, "")
