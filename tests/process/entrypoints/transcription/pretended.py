"""The transcription service with a recognizer that hears what a file's own text says."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from contracts.transcription import RaySettings, TranscriptionSettings
from entrypoints.transcription.failures import CancelledError, RefusedError
from entrypoints.transcription.recognizer import Model
from entrypoints.transcription.server import make_application
from entrypoints.transcription.transcript import Segment, Transcript, Word
from testing.servers import free_port

TOKEN = "a-token-of-a-stack"


def until(
    api: httpx.Client, name: str, reached: Callable[[dict[str, Any]], object], *, seconds: float = 20
) -> dict[str, Any]:
    """Waits until a job is as wanted, and returns it. Fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not reached(job := api.get(f"/v1/jobs/{name}").json()):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return dict(job)


class Pretended:
    """Hears one segment for each line of the file, one word a second. `gate` holds it between two segments."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[str] = set()
        (folder / "tiny").mkdir(parents=True)
        (folder / "tiny/model.bin").write_bytes(b"weights")
        self.model = Model(name="tiny", folder=folder / "tiny", bundled=True, origin="a test")

    def models(self):
        return {"tiny": self.model}

    def transcribe(self, file, model, options, heard, cancelled):
        self.heard.append(file.name)
        if file.name in self.broken or file.suffix == ".broken":
            raise RefusedError(400, "invalid_media", f"{file.name} has no sound that can be read.", param="file")
        lines = file.read_text(encoding="utf-8").splitlines()
        total, at, segments = float(sum(len(line.split()) for line in lines)), 0.0, []
        for line in lines:
            assert self.gate.wait(20)
            if cancelled():
                raise CancelledError
            words = []
            for word in line.split():
                words.append(Word(start=at, end=at + 1, word=word, probability=0.9))
                at += 1
            segments.append(Segment(start=words[0].start, end=at, text=line, words=tuple(words)))
            heard(segments[-1], total)
        language = options.language or "de"
        return Transcript(language=language, language_probability=1.0, duration=total, segments=tuple(segments))


class Service:
    """A running server, and the folders that it uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recognizer = Pretended(folder / "models")
        self.dataset = folder / "dataset"
        self.dataset.mkdir()
        self.token = TOKEN
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self, ray: RaySettings | None = None) -> None:
        settings = TranscriptionSettings(
            stack="test", data=self.folder / "data", dataset=self.dataset, examples=self.folder / "none",
            largest_upload=10_000, port=self.port, bundled=self.folder / "models", ray=ray,
        )  # fmt: skip
        self.application = make_application(settings, TOKEN, self.recognizer)
        config = uvicorn.Config(self.application, host="127.0.0.1", port=self.port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def medium(self, path: str, text: str) -> str:
        file = self.dataset / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return f"dataset/{path}"
