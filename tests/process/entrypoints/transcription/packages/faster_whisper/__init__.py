"""In place of faster-whisper: hears what a file's own text says, and notes each file, its device and its GPUs.

A word `crash` ends the process; `wait-for:NAME` waits until the folder of the models has a file of that name.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace


class WhisperModel:
    """As faster-whisper's."""

    supported_languages = ("en", "de")

    def __init__(self, folder: str, *, device: str, **_: object) -> None:
        self.folder, self.device = Path(folder), device

    def transcribe(self, sound: list[str], **_: object) -> tuple[Iterator[SimpleNamespace], SimpleNamespace]:
        """As faster-whisper's."""
        words = sound[::16000]
        with (self.folder.parent / "heard.log").open("a") as log:
            log.write(f"{words[0]} {self.device} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\n")
        return self._segments(words), SimpleNamespace(language="en", language_probability=1.0)

    def _segments(self, words: list[str]) -> Iterator[SimpleNamespace]:
        for at, word in enumerate(words):
            if word == "crash":
                os._exit(1)
            if word.startswith("wait-for:"):
                while not (self.folder.parent / word.partition(":")[2]).exists():
                    time.sleep(0.05)
            heard = SimpleNamespace(start=at, end=at + 1, word=word, probability=1.0)
            yield SimpleNamespace(
                start=at, end=at + 1, text=word, words=[heard], seek=0, tokens=[], temperature=0.0, avg_logprob=0.0,
                compression_ratio=1.0, no_speech_prob=0.0,
            )  # fmt: skip
