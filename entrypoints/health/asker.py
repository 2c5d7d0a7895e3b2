"""HTTP client for probes: sends the platform's tokens, with one deadline for everything."""

import asyncio
import time
from collections.abc import Awaitable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp

from contracts import mlflow_login
from contracts.health import Kind, WatchedService
from contracts.status import Reason
from entrypoints.health.failure import FailureError, failure_of
from entrypoints.health.secrets import Secrets

LARGEST_ANSWER = 4 * 2**20  # bytes; Ray keeps up to 1,000 dead nodes of about 600 bytes

Result = TypeVar("Result")


@dataclass(frozen=True)
class Asker:
    """The common tools of probes: HTTP session, secrets, the deadline in seconds and as a loop time."""

    http: aiohttp.ClientSession
    secrets: Secrets
    deadline: float
    due: float

    async def get(
        self,
        service: WatchedService,
        path: str,
        token: str | None = None,
        accepted: Collection[int] = (200,),
        question: Mapping[str, Any] | None = None,
        largest: int = LARGEST_ANSWER,
    ) -> str:
        """Return the body of an answer with an accepted status; raises FailureError for any other.

        With a question, which becomes JSON, asks by POST. Follows no redirect: the token stays here.
        """
        headers: dict[str, str] = {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif service.kind is Kind.MLFLOW and (password := self.secrets.get(mlflow_login.SERVICE_SECRET)):
            headers["Authorization"] = mlflow_login.basic(mlflow_login.SERVICE, password)
        address = f"http://{service.host}:{service.port}{service.prefix}{path}"
        method = "GET" if question is None else "POST"
        async with self.http.request(
            method, address, json=question, headers=headers, allow_redirects=False
        ) as response:
            if response.status in {401, 403} and headers:
                given = "token" if token else "password"
                refused = f"{service.host}:{service.port} refuses this platform's {given} (HTTP {response.status})"
                raise FailureError(Reason.ACCESS_DENIED, refused)
            if response.status not in accepted:
                answer = f"{service.host}:{service.port}{path.partition('?')[0]} answers HTTP {response.status}"
                raise FailureError(Reason.WRONG_ANSWER, answer)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > largest:
                    size = f"{service.host}:{service.port} answers with more than {largest} bytes"
                    raise FailureError(Reason.WRONG_ANSWER, size)
        return body.decode("utf-8", "replace")

    async def in_time(self, question: Coroutine[Any, Any, Result]) -> Result:
        """Return the answer; raises FailureError at the deadline. Does not wait for the cancellation to finish: psycopg
        first asks the server to cancel the query, and the server may hang.
        """
        task = asyncio.ensure_future(question)
        await asyncio.wait({task}, timeout=max(0.0, self.due - asyncio.get_running_loop().time()))
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise FailureError(Reason.TIMEOUT, f"no answer within {self.deadline:g} s")
        return task.result()


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """What a probe found and how long it took in ms, or why it failed."""

    found: Result | None
    latency_ms: float | None
    failure: FailureError | None


async def timed(question: Awaitable[Result], service: WatchedService) -> Answer[Result]:
    """Return the answer to a question; never raises, whatever the service does."""
    clock = time.perf_counter()
    try:
        found = await question
    except Exception as error:  # noqa: BLE001 - a library's surprise is one service's error, not the program's end
        return Answer(None, None, failure_of(error, service))
    return Answer(found, round((time.perf_counter() - clock) * 1000, 1), None)
