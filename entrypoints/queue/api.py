"""The HTTP interface of the queue: who may call, packages, jobs, the queue and its usage (docs/submitting-jobs.md)."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.queue import API, LARGEST_HEADER, USER_HEADER, JobView, Log, QueueView, State, UsageRow
from entrypoints.queue.bodies import SHA256, USERS, Error, Health, JobBody
from entrypoints.queue.failures import RefusedError
from entrypoints.queue.packages import Packages, too_large
from entrypoints.queue.queue import Queue

LARGEST_BODY = 2**20  # bytes of a request but for packages
HEALTH_SECONDS = 0.8
MOST_JOBS = 1000  # in one answer
_USER = re.compile(USERS)
HIDDEN = "…"  # in place of the values of a job's environment, which may be secrets


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the routes work on; the application has one."""

    stack: str
    token: str
    queue: Queue
    packages: Packages


def service_of(request: Request) -> Service:
    """Return the application's service."""
    return cast("Service", request.app.state.service)


OfService = Annotated[Service, Depends(service_of)]
bearer = HTTPBearer(auto_error=False, description="The stack's secret ray-token.")


def authorized(service: OfService, header: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Raise RefusedError unless the caller has the token."""
    if header is not None and secrets.compare_digest(header.credentials.encode(), service.token.encode()):
        return
    message = "The token is wrong." if header else "A token is needed: Authorization: Bearer TOKEN."
    remedy = "It is the stack's secret ray-token (`ws client` writes it for other computers)."
    raise RefusedError(401, "wrong_token", message, remedy=remedy)


def named(request: Request) -> str:
    """Return who asks; raise RefusedError where nobody is named."""
    user = request.headers.get(USER_HEADER, "")
    if not _USER.fullmatch(user):
        raise RefusedError(
            400, "no_user", f"The header {USER_HEADER} must name who asks, not {user[:70]!r}.",
            remedy="Give a name of up to 64 letters, digits and . _ @ -, such as `ws submit --user NAME`.",
            param=USER_HEADER,
        )  # fmt: skip
    return user


User = Annotated[str, Depends(named)]
NO_NUL = r"^[^\x00]*$"  # which Postgres refuses in a text
JobId = Annotated[str, Path(max_length=40, pattern=NO_NUL)]
Sha256 = Annotated[str, Path(pattern=SHA256)]
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 405, 409, 410, 411, 413, 422, 429, 503, 507)
}
public = APIRouter(responses=REFUSALS)
private = APIRouter(prefix=API, dependencies=[Depends(authorized)], responses=REFUSALS)


@public.get("/ping")
async def ping() -> dict[str, Any]:
    """Whether the process works; needs no token."""
    return {"state": "up"}


@public.get("/health", responses={503: {"model": Health}})
async def health(service: OfService, response: Response) -> Health:
    """Whether the queue can be asked; needs no token."""
    try:
        await asyncio.wait_for(service.queue.jobs(limit=1), HEALTH_SECONDS)
    except RefusedError as error:
        problem = str(error)
    except TimeoutError:
        problem = "The queue does not answer in time."
    else:
        return Health(problem=None)
    response.status_code = 503
    return Health(problem=problem)


@private.head("/packages/{sha256}.zip", status_code=204)
async def has_package(sha256: Sha256, service: OfService) -> Response:
    """Whether a package is kept already (204) or not (404), and how large one may be."""
    status = 204 if service.packages.has(sha256) else 404
    return Response(status_code=status, headers={LARGEST_HEADER: str(service.packages.largest)})


@private.put("/packages/{sha256}.zip", status_code=204)
async def put_package(sha256: Sha256, request: Request, service: OfService) -> Response:
    """Keep a folder, zipped, for the jobs that will name it."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > service.packages.largest:
        raise too_large(service.packages.largest)
    size = int(length) if length.isdecimal() else service.packages.largest
    if not service.packages.has_room(size):
        service.packages.make_room(size, await service.queue.packages())
    await service.packages.keep(sha256, request.stream())
    return Response(status_code=204)


@private.post("/jobs", status_code=201, responses={200: {"model": JobView, "description": "It was known already."}})
async def submit(body: JobBody, user: User, service: OfService, response: Response) -> JobView:
    """Have a job wait for its turn. Sent twice with the same id, it is one job."""
    wanted = body.submission
    if wanted.package and not service.packages.has(wanted.package):
        raise RefusedError(
            409, "no_package", f"The package {wanted.package} was not uploaded.",
            remedy=f"Send it first: PUT {API}/packages/{wanted.package}.zip", param="package",
        )  # fmt: skip
    job, new = await service.queue.submit(user, wanted if wanted.id else replace(wanted, id=secrets.token_hex(4)))
    response.status_code = 201 if new else 200
    return shown(job)


@private.get("/jobs")
async def jobs(
    service: OfService,
    user: Annotated[str | None, Query(max_length=64, pattern=NO_NUL)] = None,
    project: Annotated[str | None, Query(max_length=100, pattern=NO_NUL)] = None,
    state: Annotated[list[State] | None, Query(max_length=5)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = 100,
) -> list[JobView]:
    """The jobs submitted last, newest first."""
    found = await service.queue.jobs(user=user, project=project, states=tuple(state or ()), limit=limit)
    return [shown(job) for job in found]


@private.get("/jobs/{name}")
async def job(name: JobId, service: OfService) -> JobView:
    """A job with its attempts."""
    return shown(await service.queue.job(name))


@private.get("/jobs/{name}/logs")
async def logs(
    name: JobId,
    service: OfService,
    attempt: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    start: Annotated[int, Query(ge=-(2**53), le=2**53)] = 0,
) -> Log:
    """A part of what an attempt printed, from a position on; a negative one counts from the end."""
    return await service.queue.log(name, attempt=attempt, start=start)


@private.post("/jobs/{name}/cancel")
async def cancel(name: JobId, user: User, service: OfService) -> JobView:
    """Have a job end. One that has ended stays as it is."""
    await _own(name, user, service)
    return shown(await service.queue.cancel(name))


@private.post("/jobs/{name}/retry")
async def retry(name: JobId, user: User, service: OfService) -> JobView:
    """Have a job that ended wait again."""
    await _own(name, user, service)
    return shown(await service.queue.retry(name))


@private.get("/queue")
async def queue(service: OfService) -> QueueView:
    """What runs and waits, nodes and users."""
    view = await service.queue.view()
    return replace(view, running=tuple(map(shown, view.running)), waiting=tuple(map(shown, view.waiting)))


Moment = Annotated[float | None, Query(ge=0, le=2**40)]


@private.get("/usage")
async def usage(
    service: OfService, by: Literal["user", "project"] = "user", since: Moment = None, until: Moment = None
) -> list[UsageRow]:
    """What users or projects used between two moments (Unix time); the last 30 days where none are given."""
    end = time.time() if until is None else until
    begin = end - 30 * 86400 if since is None else since
    if begin >= end:
        remedy = "Give an earlier `since`, or a later `until`."
        raise RefusedError(400, "no_span", "The span ends before it begins.", remedy=remedy, param="since")
    return list(await service.queue.usage(by, begin, end))


def shown(job: JobView) -> JobView:
    """A job as others may see it."""
    hidden = dict.fromkeys(job.submission.environment, HIDDEN)
    return replace(job, submission=replace(job.submission, environment=hidden))


async def _own(name: str, user: str, service: Service) -> None:
    """Guards against mistakes: users of one token could name themselves as they like."""
    owner = (await service.queue.job(name)).user
    if owner != user:
        remedy = f"If that is meant, say so: --user {owner}"
        raise RefusedError(403, "not_yours", f"Job {name} is {owner}'s, and {user} asks.", remedy=remedy)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """Answer a request that was refused."""
    assert isinstance(error, RefusedError)  # noqa: S101 - it is registered for these
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body, error.status, headers)


async def misfit(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose parameters or body do not fit."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    first = error.errors()[0]
    param = ".".join(str(step) for step in first["loc"][1:]) or None
    said = first["msg"].removeprefix("Value error, ")
    remedy = "Correct it and send it again, as JSON within the bounds that /openapi.json gives."
    return await refused(
        request, RefusedError(422, "invalid", f"{param or 'The job'}: {said}.", remedy=remedy, param=param)
    )


CODES = {404: "no_route", 405: "no_method"}


async def failed(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that no route takes."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    code, remedy = CODES.get(error.status_code, "failed"), "See what there is in /openapi.json."
    answer = await refused(request, RefusedError(error.status_code, code, f"{error.detail}.", remedy=remedy))
    answer.headers.update(error.headers or {})
    return answer


async def gone(_: Request, error: Exception) -> Response:
    """The caller went away in the middle of an upload: nobody reads an answer."""
    assert isinstance(error, ClientDisconnect)  # noqa: S101 - it is registered for these
    return Response(status_code=400)


def add_routes(application: FastAPI) -> None:
    """Give an application the routes, and what answers refusals."""
    application.include_router(public)
    application.include_router(private)
    application.add_exception_handler(RefusedError, refused)
    application.add_exception_handler(RequestValidationError, misfit)
    application.add_exception_handler(HTTPException, failed)
    application.add_exception_handler(ClientDisconnect, gone)
    application.add_middleware(BoundedBodies)


class BoundedBodies:
    """Refuses requests whose body would not fit in memory; packages are streamed, and bounded where they are kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        error = _unbounded(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await (await refused(Request(scope), error))(scope, receive, send)


def _unbounded(scope: Scope) -> RefusedError | None:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    # With both, the length that is told is not the one that counts.
    length = b"" if b"transfer-encoding" in headers else headers.get(b"content-length", b"0")
    if not length.isdigit():
        remedy = "Send the header Content-Length."
        return RefusedError(411, "no_length", "The length of the request is not known.", remedy=remedy)
    if int(length) > LARGEST_BODY:
        remedy = "Put long texts into files of the folder that the job takes with it."
        return RefusedError(413, "too_large", f"A request has {LARGEST_BODY} bytes at most.", remedy=remedy)
    return None
