"""The transcription service: speech of audio and video as text, subtitles and ELAN tiers.

Settings: contracts/transcription.py, as JSON in CSLR_SETTINGS. A mistake there ends the program with exit status 2 and
a sentence. Needs what the image transcription-backend holds.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from contracts.document import DocumentError, load_settings
from contracts.transcription import TranscriptionSettings
from entrypoints.bounded_http import BoundedProtocol
from entrypoints.log import logger
from entrypoints.transcription.api import State, add_routes, results_of
from entrypoints.transcription.following import OnRay
from entrypoints.transcription.jobs import Jobs
from entrypoints.transcription.media import Tree
from entrypoints.transcription.openai import router
from entrypoints.transcription.ray_jobs import Attempts, Cluster
from entrypoints.transcription.recognizer import Recognizer, Whisper
from entrypoints.transcription.tracking import MOST_ARTIFACTS, Tracking

say = logger("transcription")


def make_application(settings: TranscriptionSettings, token: str, recognizer: Recognizer) -> FastAPI:
    """Return the server's application; its jobs run from its start to its end."""
    uploads = settings.data / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    for left in settings.data.glob(".clip-*/*"):
        left.unlink(missing_ok=True)
        left.parent.rmdir()
    tree = Tree(
        roots={
            "dataset": settings.dataset,
            "datasets": settings.datasets,
            "examples": settings.examples,
            "uploads": uploads,
        },
        kept=settings.data / "peaks",
    )

    def record(job: dict[str, Any]) -> str | None:
        if settings.tracking_uri is None:
            return None
        files = job["files"][:MOST_ARTIFACTS]
        return Tracking(settings.tracking_uri).record(job, results_of(jobs, {**job, "files": files}))

    ray = OnRay(
        cluster=Cluster(settings.ray), attempts=Attempts(settings.ray, settings.data, tree, settings.bundled)
    ) if settings.ray else None  # fmt: skip
    jobs = Jobs(settings.data, tree, recognizer, say, record, ray)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        yield
        jobs.stop()

    application = FastAPI(
        title="CSLR transcription", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Speech of audio and video as text, subtitles and ELAN tiers.",
    )  # fmt: skip
    application.state.service = State(settings, token, tree, jobs, recognizer)
    add_routes(application)
    application.include_router(router)
    return application


def _load_default(whisper: Whisper) -> None:
    """Load the default model before the first caller waits for it."""
    models = whisper.models()
    if models:
        first = next(iter(models.values()))
        whisper.load(first)
        say(f"{first.name} is loaded")


def main() -> int:
    """Run the service; returns 2 for settings that cannot be used."""
    try:
        settings = load_settings(TranscriptionSettings, os.environ)
        token = settings.token.read_text(encoding="utf-8").strip()
    except (DocumentError, OSError, ValueError) as error:
        print(f"transcription: {error}", file=sys.stderr)
        return 2
    whisper = Whisper(
        settings.models, settings.bundled, settings.default_model, settings.threads, device=settings.device
    )
    application = make_application(settings, token, whisper)
    load: Callable[[], None] = lambda: _load_default(whisper)  # noqa: E731
    threading.Thread(target=load, name="model", daemon=True).start()
    say(f"stack {settings.stack}, port {settings.port}, models: {', '.join(whisper.models()) or 'none'}")
    # All interfaces of its container: which address of the host it appears on is Docker's publication.
    uvicorn.run(
        application, host="0.0.0.0", port=settings.port, log_level="warning", access_log=False,  # noqa: S104
        timeout_graceful_shutdown=5, http=BoundedProtocol,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
