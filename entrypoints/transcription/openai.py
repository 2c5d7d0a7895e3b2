"""OpenAI's part of the HTTP interface: a file in, text out; and the models.

Works on the container's own CPUs, one file after the other; who would wait for more than WAITING others is refused.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from entrypoints.transcription import formats
from entrypoints.transcription.api import REFUSALS, Service, State, authorized
from entrypoints.transcription.failures import CancelledError, RefusedError, not_kept
from entrypoints.transcription.media import BLOCK, safe_name, too_large
from entrypoints.transcription.recognizer import Model, Options, chosen
from entrypoints.transcription.transcript import Segment, Transcript

WAITING = 8  # callers
RETRY_AFTER = 10  # seconds
CREATED = 1663804800  # when OpenAI released Whisper; every entry of the list must have a time

router = APIRouter(dependencies=[Depends(authorized)], responses=REFUSALS)


def _described(model: Model, *, default: bool) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "bundled" if model.bundled else "mounted",
        "bundled": model.bundled,
        "default": default,
        "languages": "multilingual" if model.multilingual else "en",
        "size_bytes": model.size,
        "origin": model.origin,
    }


@router.get("/v1/models")
def models(service: Service) -> dict[str, Any]:
    """The models; the default one first."""
    found = service.recognizer.models().values()
    return {"object": "list", "data": [_described(model, default=not n) for n, model in enumerate(found)]}


@router.get("/v1/models/{name}")
def model(service: Service, name: str) -> dict[str, Any]:
    """One model."""
    known = service.recognizer.models()
    found = chosen(known, name)
    return _described(found, default=found is next(iter(known.values())))


@router.post("/v1/audio/transcriptions", response_model=None)
async def transcribe(
    service: Service,
    file: Annotated[UploadFile, File()],
    model: Annotated[str, Form(max_length=200)],
    language: Annotated[str | None, Form(pattern="^[a-z]{2,3}$")] = None,
    prompt: Annotated[str | None, Form(max_length=4000)] = None,
    response_format: Annotated[Literal["json", "text", "srt", "vtt", "verbose_json"], Form()] = "json",
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0,
    granularities: Annotated[list[Literal["word", "segment"]], Form(alias="timestamp_granularities[]")] = [],  # noqa: B006
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """Transcribe one file."""
    if granularities and response_format != "verbose_json":
        reason = "timestamp_granularities[] needs response_format=verbose_json."
        raise RefusedError(400, "invalid_value", reason, param="timestamp_granularities[]")
    used = chosen(service.recognizer.models(), model)
    options = Options(language=language, prompt=prompt or None, temperature=temperature)
    if service.waiting >= WAITING:
        raise RefusedError(503, "busy", f"{WAITING} files wait already.", retry_after=RETRY_AFTER)
    folder = tempfile.TemporaryDirectory(dir=service.settings.data, prefix=".clip-")
    path = Path(folder.name) / safe_name(file.filename or "")
    try:
        await _save(file, path, service.settings.largest_upload)
    except BaseException:
        folder.cleanup()
        raise
    if stream:
        events = _events(service, folder, path, used, options)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    with folder:
        found = await _turn(service, path, used, options, lambda _: None, lambda: False)
    return _answer(found, response_format, granularities)


async def _save(file: UploadFile, path: Path, largest: int) -> None:
    size = 0
    try:
        with path.open("wb") as target:
            while block := await file.read(BLOCK):
                size += len(block)
                if size > largest:
                    raise too_large(largest)
                await run_in_threadpool(target.write, block)
    except OSError as error:
        raise not_kept(error) from error


async def _turn(
    service: State,
    path: Path,
    model: Model,
    options: Options,
    heard: Callable[[Segment], None],
    cancelled: Callable[[], bool],
) -> Transcript:
    """Transcribe when it is this file's turn."""
    service.waiting += 1
    try:
        async with service.clips:
            return await run_in_threadpool(
                service.recognizer.transcribe, path, model, options, lambda segment, _: heard(segment), cancelled
            )
    finally:
        service.waiting -= 1


async def _events(
    service: State,
    folder: tempfile.TemporaryDirectory[str],
    path: Path,
    model: Model,
    options: Options,
) -> AsyncIterator[str]:
    """The text as it is heard; a caller that goes away ends the work."""
    loop, queue, gone = asyncio.get_running_loop(), asyncio.Queue[Segment | None](), False
    work = asyncio.create_task(
        _turn(service, path, model, options, lambda segment: _put(loop, queue, segment), lambda: gone)
    )
    work.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        space = ""
        while (segment := await queue.get()) is not None:
            yield _event({"type": "transcript.text.delta", "delta": space + segment.text})
            space = " "
        try:
            yield _event({"type": "transcript.text.done", "text": work.result().text})
        except RefusedError as error:
            yield _event({"type": "error", **error.body})
    finally:
        gone = True
        if not work.done():
            await asyncio.wait([work])
        if not work.cancelled() and isinstance(work.exception(), CancelledError):
            work.exception()
        folder.cleanup()


def _put(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Segment | None], segment: Segment) -> None:
    loop.call_soon_threadsafe(queue.put_nowait, segment)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _answer(found: Transcript, response_format: str, granularities: list[Literal["word", "segment"]]) -> Response:
    if response_format == "text":
        return PlainTextResponse(found.text + "\n")
    if response_format in ("srt", "vtt"):
        kind: formats.SubtitleFormat = "srt" if response_format == "srt" else "vtt"
        return PlainTextResponse(formats.subtitles(found.segments, kind), media_type=formats.MEDIA_TYPES[kind])
    if response_format == "json":
        return JSONResponse({"text": found.text})
    verbose: dict[str, Any] = {
        "task": "transcribe",
        "language": found.language,
        "duration": found.duration,
        "text": found.text,
    }
    if not granularities or "segment" in granularities:
        verbose["segments"] = [
            {"id": n, "start": each.start, "end": each.end, "text": each.text, **(each.details or {})}
            for n, each in enumerate(found.segments)
        ]
    if "word" in granularities:
        verbose["words"] = [{"word": w.word, "start": w.start, "end": w.end} for w in found.words]
    return JSONResponse(verbose)
