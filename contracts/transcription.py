"""Settings of the transcription service's program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TranscriptionSettings:
    """Where media, models and results are, and what the program may use."""

    stack: str
    threads: int = 2  # of the CPU, for one file at a time
    default_model: str | None = None  # None: the first mounted one, else the bundled one
    tracking_uri: str | None = None  # MLflow's; None: jobs are recorded here alone
    largest_upload: int = 2**31  # bytes
    token: Path = Path("/run/secrets/transcription-token")
    data: Path = Path("/data")  # uploads, jobs and results
    dataset: Path = Path("/media/dataset")  # mounted by the stack; may be absent
    models: Path = Path("/models")  # mounted by the stack; may be absent
    bundled: Path = Path("/opt/models")  # in the image
    examples: Path = Path("/opt/examples")  # spoken sentences, in the image
    port: int = 8090
