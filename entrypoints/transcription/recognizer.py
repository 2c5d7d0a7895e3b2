"""Speech recognition: the models that there are, and Whisper by faster-whisper, on CPUs or on a GPU.

Never downloads anything: models are in the image, or mounted.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from entrypoints.transcription.failures import CancelledError, RefusedError
from entrypoints.transcription.sound import RATE, sound_of
from entrypoints.transcription.transcript import Segment, Transcript, Word

OPENAI_NAME = "whisper-1"  # what OpenAI's clients ask for; means the default model
NEEDED = ("model.bin", "config.json")  # files of a model in CTranslate2's form
CUDA_LIBRARIES = ("cublas/lib/libcublasLt.so.12", "cublas/lib/libcublas.so.12", "cudnn/lib/libcudnn.so.9")
COMPUTE = {"cpu": "int8", "cuda": "float16"}  # device → kind of numbers
Heard = Callable[[Segment, float], None]  # a segment, and the duration of the medium


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of this host."""

    name: str
    folder: Path
    bundled: bool
    origin: str

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @property
    def multilingual(self) -> bool:
        """Whether it knows more than English."""
        return not self.name.endswith(".en")

    @property
    def identity(self) -> str:
        """What a result depends on: its name, and when and how large its weights are."""
        facts = (self.folder / "model.bin").stat()
        return f"{self.name}:{facts.st_size}" + ("" if self.bundled else f":{int(facts.st_mtime)}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What decides what is heard, beside the medium and the model."""

    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0


class Recognizer(Protocol):
    """What turns sound into text."""

    def models(self) -> Mapping[str, Model]:
        """Return the models by name, the default one first."""

    def transcribe(
        self, file: Path, model: Model, options: Options, heard: Heard, cancelled: Callable[[], bool]
    ) -> Transcript:
        """Return what is said in a medium; raises RefusedError, or CancelledError once it is cancelled."""


def models_in(mounted: Path, bundled: Path, default: str | None) -> dict[str, Model]:
    """Find the models: mounted ones win over bundled ones of their name; the default one comes first."""
    found: dict[str, Model] = {}
    for folder, is_bundled in ((mounted, False), (bundled, True)):
        for model in sorted(folder.iterdir()) if folder.is_dir() else ():
            if model.name not in found and all((model / file).is_file() for file in NEEDED):
                found[model.name] = Model(
                    name=model.name, folder=model, bundled=is_bundled, origin=_origin(model, is_bundled)
                )
    first = default if default in found else next(iter(found), None)
    return {name: found[name] for name in sorted(found, key=lambda name: name != first)}


def _origin(folder: Path, bundled: bool) -> str:
    if bundled:
        try:
            return str(json.loads((folder / "origin.json").read_text(encoding="utf-8"))["origin"])
        except (OSError, ValueError, KeyError):
            return "part of the image"
    return "mounted by the stack"


def chosen(models: Mapping[str, Model], name: str | None) -> Model:
    """Return the model that a caller means; raises RefusedError."""
    if not models:
        raise RefusedError(404, "model_not_found", "There is no model: mount one with transcription.models.")
    if name is None or (name == OPENAI_NAME and name not in models):
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(models)
        raise RefusedError(404, "model_not_found", f"There is no model {name!r}; there are {known}.", param="model")
    return models[name]


class Whisper:
    """Recognizes on CPUs, or on a GPU. One model is loaded at a time; calls from several threads share it."""

    def __init__(
        self,
        mounted: Path,
        bundled: Path,
        default: str | None,
        threads: int,
        *,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self._places = (mounted, bundled, default)
        self._threads = threads
        self._device = device
        self._lock = threading.Lock()
        self._loaded: tuple[str, Any] | None = None

    def models(self) -> Mapping[str, Model]:
        """See Recognizer."""
        return models_in(*self._places)

    def load(self, model: Model) -> Any:  # noqa: ANN401 - a type of a package that only the image has
        """Return the model, loaded; raises RefusedError."""
        from faster_whisper import WhisperModel

        with self._lock:
            if self._loaded is None or self._loaded[0] != model.identity:
                self._loaded = None  # the memory of two may not be there
                if self._device == "cuda":
                    _find_cuda()
                try:
                    loaded = WhisperModel(
                        str(model.folder), device=self._device, compute_type=COMPUTE[self._device],
                        cpu_threads=self._threads, local_files_only=True,
                    )  # fmt: skip
                except (RuntimeError, ValueError, OSError) as error:
                    reason = f"The model {model.name} cannot be loaded: {error}"
                    raise RefusedError(400, "invalid_model", reason, param="model") from None
                self._loaded = (model.identity, loaded)
            return self._loaded[1]

    def transcribe(
        self, file: Path, model: Model, options: Options, heard: Heard, cancelled: Callable[[], bool]
    ) -> Transcript:
        """See Recognizer."""
        loaded = self.load(model)
        if options.language and options.language not in loaded.supported_languages:
            reason = f"The model {model.name} does not know the language {options.language!r}; use a code such as de."
            raise RefusedError(400, "invalid_value", reason, param="language")
        sound = sound_of(file)
        duration = round(len(sound) / RATE, 3)
        if not len(sound):
            return Transcript(language=options.language or "", language_probability=0.0, duration=0.0, segments=())
        found, about = loaded.transcribe(
            sound, language=options.language, initial_prompt=options.prompt, word_timestamps=True, vad_filter=True,
            temperature=options.temperature or [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        )  # fmt: skip
        segments = []
        for each in found:
            if cancelled():
                raise CancelledError
            segments.append(_segment(each))
            heard(segments[-1], duration)
        return Transcript(
            language=about.language,
            language_probability=round(float(about.language_probability), 4),
            duration=duration,
            segments=tuple(segments),
        )


def _find_cuda() -> None:
    """Load cuBLAS and cuDNN from the image's packages: CTranslate2 asks for them by name, and no loader looks there."""
    for nvidia in getattr(importlib.util.find_spec("nvidia"), "submodule_search_locations", None) or ():
        for library in CUDA_LIBRARIES:
            if (path := Path(nvidia, library)).is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _segment(each: Any) -> Segment:  # noqa: ANN401 - a type of a package that only the image has
    words = tuple(
        Word(
            start=_time(word.start), end=_time(word.end), word=word.word.strip(),
            probability=round(float(word.probability), 3),
        )
        for word in each.words or ()
    )  # fmt: skip
    return Segment(
        start=_time(each.start),
        end=_time(each.end),
        text=each.text.strip(),
        words=words,
        details={
            "seek": int(each.seek),
            "tokens": [int(token) for token in each.tokens],
            "temperature": round(float(each.temperature or 0.0), 2),
            "avg_logprob": round(float(each.avg_logprob), 4),
            "compression_ratio": round(float(each.compression_ratio), 4),
            "no_speech_prob": round(float(each.no_speech_prob), 4),
        },
    )


def _time(seconds: Any) -> float:  # noqa: ANN401 - numpy's
    return round(float(seconds), 3)
