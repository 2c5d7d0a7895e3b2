"""The HTTP interface beside OpenAI's: who may call, files, jobs and results (docs/transcription-api.md)."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import zipfile
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal, cast
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, File, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.transcription import TranscriptionSettings, Where
from entrypoints.transcription import formats
from entrypoints.transcription.failures import RefusedError, error_body
from entrypoints.transcription.jobs import Jobs, Wanted
from entrypoints.transcription.ledger import ENDED
from entrypoints.transcription.media import Tree, media_type
from entrypoints.transcription.recognizer import Recognizer
from entrypoints.transcription.results import rendered, result_json
from entrypoints.transcription.transcript import Shift

COOKIE = "cslr_transcription"
CHANGES = ("POST", "PUT", "DELETE", "PATCH")
EVENTS_EVERY = 0.5  # seconds
RESULTS = tuple(formats.MEDIA_TYPES)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
}


class ErrorDetails(BaseModel):
    """Why a call was refused."""

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """Every refusal."""

    error: ErrorDetails


class Body(BaseModel):
    """What all requests have in common: no unknown fields."""

    model_config = ConfigDict(extra="forbid")


class Login(Body):
    """The token."""

    token: str = Field(max_length=1000)


class ShiftBody(Body):
    """By how many seconds starts and ends move."""

    start: float = Field(ge=-60, le=60)
    end: float = Field(ge=-60, le=60)


PathText = Annotated[str, Field(min_length=1, max_length=4096)]
JobName = Annotated[str, Field(max_length=64)]


class JobBody(Body):
    """A job over folders."""

    paths: list[PathText] = Field(min_length=1, max_length=1000)
    model: str | None = Field(default=None, max_length=200)
    language: str | None = Field(default=None, pattern="^[a-z]{2,3}$")
    prompt: str | None = Field(default=None, max_length=4000)
    subtitles: dict[str, PathText] = Field(default={}, max_length=1000)
    subtitles_beside: bool = False
    shift: ShiftBody | None = None
    where: Where | None = None  # where the stack has jobs run


class SegmentBody(BaseModel):
    """A corrected segment. What a result says of it beyond this is ignored."""

    start: float = Field(ge=0, le=1_000_000)
    end: float = Field(ge=0, le=1_000_000)
    text: str = Field(max_length=10_000)


class EditBody(Body):
    """Corrections of a file's text."""

    revision: int = Field(ge=0)
    segments: list[SegmentBody] = Field(max_length=100_000)


class State:
    """What the routes work on; the application has one."""

    def __init__(
        self, settings: TranscriptionSettings, token: str, tree: Tree, jobs: Jobs, recognizer: Recognizer
    ) -> None:
        self.settings = settings
        self.token = token
        self.tree = tree
        self.jobs = jobs
        self.recognizer = recognizer
        self.clips = asyncio.Semaphore(1)
        self.waiting = 0

    def knows(self, token: str | None) -> bool:
        """Whether this is the stack's token."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())


def state_of(request: Request) -> State:
    """Return the application's state."""
    return cast("State", request.app.state.service)


Service = Annotated[State, Depends(state_of)]
bearer = HTTPBearer(auto_error=False, description="The stack's secret transcription-token.")
cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="As POST /v1/session sets it.")


def authorized(
    request: Request,
    service: Service,
    header: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    kept: Annotated[str | None, Depends(cookie)],
) -> None:
    """Raise RefusedError unless the caller has the token."""
    if header is not None and service.knows(header.credentials):
        return
    if header is None and service.knows(kept):
        origin = request.headers.get("origin")
        if request.method in CHANGES and origin and urlsplit(origin).netloc != request.headers.get("host"):
            raise RefusedError(403, "origin_refused", f"Pages of {origin} may change nothing here.")
        return
    reason = "The token is wrong." if header or kept else "A token is needed: Authorization: Bearer TOKEN."
    raise RefusedError(401, "invalid_api_key", reason)


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 405, 409, 413, 416, 422, 503, 507)
}
public = APIRouter(responses=REFUSALS)
private = APIRouter(dependencies=[Depends(authorized)], responses=REFUSALS)


@public.get("/health")
def health(service: Service) -> dict[str, Any]:
    """Whether the service works; needs no token."""
    models = service.recognizer.models()
    if not models:
        raise RefusedError(503, "no_model", "There is no model: mount one with transcription.models.")
    return {"state": "up", "model": next(iter(models))}


@public.post("/v1/session", status_code=204)
def log_in(body: Login, service: Service) -> Response:
    """Exchange the token for a cookie."""
    if not service.knows(body.token):
        raise RefusedError(401, "invalid_api_key", "The token is wrong.")
    response = Response(status_code=204)
    response.set_cookie(COOKIE, service.token, httponly=True, samesite="strict", path="/", max_age=30 * 86400)
    return response


@public.delete("/v1/session", status_code=204)
def log_out() -> Response:
    """Remove the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@private.get("/v1/session")
def session(service: Service) -> dict[str, Any]:
    """What a caller with the token can use."""
    return {"authenticated": True, "stack": service.settings.stack, "where": service.jobs.places}


PathQuery = Annotated[str, Query(max_length=4096)]


@private.get("/v1/files")
def files(service: Service, path: PathQuery = "") -> dict[str, Any]:
    """List a folder."""
    return service.tree.listing(path)


@private.api_route("/v1/files/content", methods=["GET", "HEAD"], response_class=FileResponse, operation_id=None)
def content(service: Service, path: PathQuery) -> FileResponse:
    """The bytes of a file; ranges are answered."""
    found = service.tree.file(path)
    shown_as = media_type(found)
    # Whatever else lies in the folders must not run as a page of this server.
    name = None if shown_as else found.name
    return FileResponse(
        found, media_type=shown_as or "application/octet-stream", filename=name, headers={"Cache-Control": "private"}
    )


@private.get("/v1/files/peaks")
def peaks(service: Service, path: PathQuery, points: Annotated[int, Query(ge=100, le=20_000)] = 2000) -> dict[str, Any]:
    """A medium's waveform."""
    return service.tree.peaks(path, points)


@private.post("/v1/uploads", status_code=201)
def upload(service: Service, file: Annotated[UploadFile, File()]) -> dict[str, Any]:
    """Keep a file for jobs."""
    return service.tree.save(file.filename or "", file.file, service.settings.largest_upload)


@private.delete("/v1/uploads", status_code=204)
def remove_upload(service: Service, path: PathQuery) -> Response:
    """Remove an upload."""
    service.tree.remove(path)
    return Response(status_code=204)


@private.post("/v1/jobs", status_code=201)
def create_job(body: JobBody, service: Service) -> dict[str, Any]:
    """Accept a job."""
    shift = Shift(start=body.shift.start, end=body.shift.end) if body.shift else None
    wanted = Wanted(
        paths=tuple(body.paths), model=body.model, language=body.language, prompt=body.prompt,
        subtitles=body.subtitles, subtitles_beside=body.subtitles_beside, shift=shift, where=body.where,
    )  # fmt: skip
    return service.jobs.create(wanted)


@private.get("/v1/jobs")
def list_jobs(service: Service, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
    """The newest jobs."""
    return {"jobs": service.jobs.listed(limit)}


@private.get("/v1/jobs/{name}")
def get_job(service: Service, name: JobName) -> dict[str, Any]:
    """A job and its files."""
    return service.jobs.get(name)


@private.delete("/v1/jobs/{name}", status_code=204)
def delete_job(service: Service, name: JobName) -> Response:
    """Forget a job."""
    service.jobs.delete(name)
    return Response(status_code=204)


@private.post("/v1/jobs/{name}/cancel")
def cancel_job(service: Service, name: JobName) -> dict[str, Any]:
    """Cancel what of a job is not done."""
    return service.jobs.cancel(name)


@private.post("/v1/jobs/{name}/retry")
def retry_job(service: Service, name: JobName) -> dict[str, Any]:
    """Have what failed or was cancelled done again."""
    return service.jobs.retry(name)


@private.get("/v1/jobs/{name}/events", response_class=StreamingResponse)
async def job_events(request: Request, service: Service, name: JobName) -> StreamingResponse:
    """A job at each of its changes, as server-sent events."""
    service.jobs.get(name)

    async def events() -> AsyncIterator[str]:
        told = ""
        while not await request.is_disconnected():
            try:
                job = service.jobs.get(name)
            except RefusedError:
                return
            text = json.dumps(job)
            if text != told:
                told = text
                yield f"event: job\ndata: {text}\n\n"
            if job["state"] in ENDED:
                return
            await asyncio.sleep(EVENTS_EVERY)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@private.get("/v1/jobs/{name}/result.zip")
def results(service: Service, name: JobName) -> Response:
    """All formats of all files that are done."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in results_of(service.jobs, service.jobs.get(name)):
            archive.writestr(path, data)
    headers = {"Content-Disposition": f'attachment; filename="{quote(name)}.zip"'}
    return Response(buffer.getvalue(), media_type="application/zip", headers=headers)


def results_of(jobs: Jobs, job: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Return each format of each file that is done, under the medium's path."""
    for file in job["files"]:
        if file["state"] == "done":
            result = jobs.result(job["id"], file["index"])
            stem = file["path"].rpartition(".")[0] or file["path"]
            for kind in RESULTS:
                yield f"{stem}.{kind}", rendered(result, kind, "speech")
            for track, there in (("subtitles", result.cues), ("shifted", result.moved)):
                if there is not None:
                    yield f"{stem}.{track}.vtt", rendered(result, "vtt", track)


@private.get("/v1/jobs/{name}/files/{index}/result.{kind}")
def result(
    service: Service,
    name: JobName,
    index: int,
    kind: Literal["json", "vtt", "srt", "txt", "eaf"],
    track: Literal["speech", "words", "subtitles", "shifted"] = "speech",
    download: bool = False,
) -> Response:
    """What came of a file, in a format."""
    found = service.jobs.result(name, index)
    headers = {}
    if download:
        stem = found.facts["path"].rpartition("/")[2].rpartition(".")[0]
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(f'{stem}.{kind}')}"
    return Response(rendered(found, kind, track), media_type=formats.MEDIA_TYPES[kind], headers=headers)


@private.put("/v1/jobs/{name}/files/{index}/segments")
def edit(service: Service, name: JobName, index: int, body: EditBody) -> dict[str, Any]:
    """Keep a person's corrections."""
    for number, segment in enumerate(body.segments):
        if segment.end < segment.start:
            reason = f"Segment {number} ends before it starts."
            raise RefusedError(400, "invalid_value", reason, param=f"segments.{number}.end")
    segments = [{**segment.model_dump(), "text": " ".join(segment.text.split())} for segment in body.segments]
    return result_json(service.jobs.edit(name, index, body.revision, segments))


@private.delete("/v1/jobs/{name}/files/{index}/segments")
def undo_edits(service: Service, name: JobName, index: int) -> dict[str, Any]:
    """Go back to what was heard."""
    return result_json(service.jobs.edit(name, index, None, None))


async def refused(_: Request, error: Exception) -> JSONResponse:
    """Answer a call that was refused."""
    assert isinstance(error, RefusedError)  # noqa: S101 - it is registered for these
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body, error.status, headers)


async def misfit(_: Request, error: Exception) -> JSONResponse:
    """Answer a call whose parameters or body do not fit."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    first = error.errors()[0]
    param = ".".join(str(step) for step in first["loc"][1:]) or None
    return JSONResponse(error_body(422, "invalid_request", f"{param or 'The body'}: {first['msg']}.", param), 422)


async def failed(_: Request, error: Exception) -> JSONResponse:
    """Answer a call that no route takes."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    code = {404: "not_found", 405: "method_not_allowed", 416: "range_not_satisfiable"}.get(error.status_code, "failed")
    return JSONResponse(error_body(error.status_code, code, f"{error.detail}."), error.status_code, error.headers)


def add_routes(application: FastAPI) -> None:
    """Give an application the routes, and what answers refusals."""
    application.include_router(public)
    application.include_router(private)
    application.add_exception_handler(RefusedError, refused)
    application.add_exception_handler(RequestValidationError, misfit)
    application.add_exception_handler(HTTPException, failed)
    application.add_middleware(SecurityHeaders)


class SecurityHeaders:
    """Adds the headers that keep browsers from running what is served here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
