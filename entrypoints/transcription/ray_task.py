"""Transcribes one file in a task on the Ray cluster, and reports how far it is in a file that the service reads.

Needs faster-whisper in the image of the Ray nodes; nothing is downloaded.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

from contracts.document import encode
from contracts.transcription import FileReport, Medium, Work
from entrypoints.transcription.failures import RefusedError
from entrypoints.transcription.files import write_json
from entrypoints.transcription.hearing import hear, progress_at
from entrypoints.transcription.recognizer import Model, Options, Whisper
from entrypoints.transcription.transcript import Segment

REPORT_EVERY = 1.0  # seconds


def transcribe_file(work: Work, medium: Medium) -> None:
    """Transcribe a file, and report it as done or failed. Raises OSError where it cannot even report."""
    report(work, medium, FileReport(state="running"))
    try:
        report(work, medium, _heard(work, medium))
    except RefusedError as error:
        report(work, medium, FileReport(state="failed", error=str(error)))
    except Exception as error:  # noqa: BLE001 - one file must not end the work on the others
        report(work, medium, FileReport(state="failed", error=f"{type(error).__name__}: {error}"))


def report(work: Work, medium: Medium, said: FileReport) -> None:
    """Say how far a file is; raises OSError."""
    write_json(work.reports / f"{medium.index}.json", encode(said))


def _heard(work: Work, medium: Medium) -> FileReport:
    model = Model(name=work.model.name, folder=work.model, bundled=work.bundled, origin="")
    told = time.monotonic()

    def heard(segment: Segment, duration: float) -> None:
        nonlocal told
        if time.monotonic() - told >= REPORT_EVERY:
            told = time.monotonic()
            said = FileReport(state="running", progress=progress_at(segment, duration), duration=duration)
            report(work, medium, said)

    kept = hear(
        medium.path,
        model,
        Options(language=work.language, prompt=work.prompt),
        results=work.results,
        recognizer=_recognizer(work.model.parent, max(1, int(work.cpus)), bool(work.gpus)),
        where="ray",
        heard=heard,
        cancelled=lambda: False,  # to stop the Ray job ends its tasks
    )
    return FileReport(
        state="done", progress=1.0, duration=kept.duration, result=kept.key, reused=kept.reused, sha256=kept.sha256,
        language=kept.language, processing=kept.seconds,
    )  # fmt: skip


@functools.cache
def _recognizer(models: Path, threads: int, gpu: bool) -> Whisper:
    """The recognizer of this process, which Ray gives one file after the other."""
    return Whisper(models, models, None, threads, device="cuda" if gpu else "cpu")
