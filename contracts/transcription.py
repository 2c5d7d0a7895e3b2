"""Settings of the transcription service's program, and what it and its jobs on the Ray cluster tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contracts.datasets import FOLDER, TRANSCRIPTION_FOLDER

Where = Literal["container", "ray"]
RAY_FOLDER = Path("/run/cslr/transcription")  # in the containers of Ray's nodes


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """The Ray cluster that jobs run on, and where its nodes see the service's folders."""

    dashboards: tuple[str, ...]  # host:port; whichever is the head's answers
    cpus: float = 1.0  # of Ray, for each file
    gpus: float = 0.0
    token: Path = Path("/run/secrets/ray-token")
    data: Path = RAY_FOLDER / "data"
    dataset: Path = RAY_FOLDER / "dataset"
    models: Path = RAY_FOLDER / "models"
    datasets: Path = Path(FOLDER)


@dataclass(frozen=True, kw_only=True)
class TranscriptionSettings:
    """Where media, models and results are, and what the program may use."""

    stack: str
    threads: int = 2  # of the CPU, for one file at a time
    device: Literal["cpu", "cuda"] = "cpu"  # that the service itself works on
    default_model: str | None = None  # None: the first mounted one, else the bundled one
    tracking_uri: str | None = None  # MLflow's; None: jobs are recorded here alone
    ray: RaySettings | None = None  # None: jobs run in this container
    largest_upload: int = 2**31  # bytes
    token: Path = Path("/run/secrets/transcription-token")
    data: Path = Path("/data")  # uploads, jobs and results
    dataset: Path = Path("/media/dataset")  # mounted by the stack; may be absent
    datasets: Path = Path(TRANSCRIPTION_FOLDER)  # likewise
    models: Path = Path("/models")  # mounted by the stack; may be absent
    bundled: Path = Path("/opt/models")  # in the image
    examples: Path = Path("/opt/examples")  # spoken sentences, in the image
    port: int = 8090


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A file of a job, as Ray's nodes see it."""

    index: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one Ray job does. All paths are those of Ray's nodes."""

    media: tuple[Medium, ...]
    model: Path  # its folder
    bundled: bool
    language: str | None
    prompt: str | None
    cpus: float
    gpus: float
    results: Path
    reports: Path  # a file for each medium, named by its index


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """How far a file of a Ray job is."""

    state: Literal["running", "done", "failed"]
    progress: float = 0.0
    duration: float | None = None  # seconds of sound
    result: str | None = None  # the key of what was heard
    reused: bool = False
    sha256: str | None = None
    language: str | None = None
    processing: float | None = None  # seconds that the work took
    error: str | None = None
