"""Client of the queue's service (contracts/queue.py)."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlencode

from contracts.document import DocumentError, decode, encode
from contracts.queue import API, LARGEST_HEADER, USER_HEADER, JobView, Log, QueueView, Submission, UsageRow
from ws.errors import WsError

SECONDS = 20.0  # for an answer
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between attempts to reach the service
NOT_FOUND, GONE, UNAVAILABLE = 404, 410, 503
T = TypeVar("T")


class UnreachableError(WsError):
    """The service, or its database, does not answer: it may later."""


class RefusalError(WsError):
    """The service refused a request."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class QueueClient:
    """The queue at a URL, asked by a user. Every method raises `WsError` where it does not answer, or refuses."""

    url: str
    user: str
    remedy: str  # where it does not answer
    token: str = field(repr=False)
    trust: ssl.SSLContext | None = None  # of its certificate; None: as the system does
    pauses: tuple[float, ...] = field(default_factory=lambda: PAUSES)

    def submit(self, submission: Submission) -> JobView:
        """Submits a job. It has an id, so that asking again after an answer was lost makes no second job."""
        return self._one(JobView, self._ask("POST", "/jobs", body=encode(submission)))

    def upload(self, sha256: str, size: int, file: IO[bytes], sent: Callable[[int], None]) -> None:
        """Sends a package, and says how many bytes went so far. Sending one again does no harm."""

        def body() -> Iterable[bytes]:
            file.seek(0)
            while block := file.read(2**18):
                yield block
                sent(file.tell())

        self._ask("PUT", f"/packages/{sha256}.zip", stream=(body, size))

    def has(self, sha256: str) -> tuple[bool, int | None]:
        """Whether the service has a package, and how many bytes one may have."""
        try:
            headers = self._headers_of(f"/packages/{sha256}.zip")
        except _AbsentError as error:
            headers, known = error.headers, False
        else:
            known = True
        largest = {name.lower(): value for name, value in headers.items()}.get(LARGEST_HEADER.lower(), "")
        return known, int(largest) if largest.isdecimal() else None

    def jobs(
        self, *, user: str | None = None, project: str | None = None, states: Iterable[str] = (), limit: int = 100
    ) -> list[JobView]:
        """The jobs submitted last, newest first."""
        named = [("user", user), ("project", project), ("limit", str(limit)), *(("state", state) for state in states)]
        query = urlencode([(name, value) for name, value in named if value is not None])
        return self._many(JobView, self._ask("GET", f"/jobs?{query}"))

    def job(self, name: str) -> JobView:
        """One job."""
        return self._one(JobView, self._ask("GET", f"/jobs/{quote(name, safe='')}"))

    def log(self, name: str, attempt: int | None, start: int) -> Log:
        """A part of what an attempt printed."""
        named = {"start": str(start), **({"attempt": str(attempt)} if attempt is not None else {})}
        return self._one(Log, self._ask("GET", f"/jobs/{quote(name, safe='')}/logs?{urlencode(named)}"))

    def cancel(self, name: str) -> JobView:
        """Ends a job."""
        return self._one(JobView, self._ask("POST", f"/jobs/{quote(name, safe='')}/cancel"))

    def retry(self, name: str) -> JobView:
        """Has a job that ended wait again."""
        # Never asked twice: the first may have been heard, and the job may even have ended again.
        return self._one(JobView, self._ask("POST", f"/jobs/{quote(name, safe='')}/retry", again=False))

    def queue(self) -> QueueView:
        """What runs and waits."""
        return self._one(QueueView, self._ask("GET", "/queue"))

    def usage(self, by: str, since: float, until: float) -> list[UsageRow]:
        """What users or projects used."""
        named = {"by": by, "since": f"{since:.3f}", "until": f"{until:.3f}"}
        return self._many(UsageRow, self._ask("GET", f"/usage?{urlencode(named)}"))

    def _one(self, kind: type[T], found: Any) -> T:  # noqa: ANN401 - JSON
        try:
            return decode(kind, found)
        except DocumentError as error:
            raise WsError(
                f"The queue at {self.url} is of another version than this checkout ({error}).\n"
                "  Use the checkout that deployed it, or deploy this one: ws up. With a bundle: ask for a new one."
            ) from error

    def _many(self, kind: type[T], found: Any) -> list[T]:  # noqa: ANN401 - JSON
        return [self._one(kind, one) for one in found]

    def _headers_of(self, path: str) -> Mapping[str, str]:
        request = self._request("HEAD", path, None, {})
        return self._again(lambda: _answer(request, self.trust).headers)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        stream: tuple[Callable[[], Iterable[bytes]], int] | None = None,
        again: bool = True,
    ) -> Any:  # noqa: ANN401 - JSON
        def ask() -> Any:  # noqa: ANN401 - JSON
            content: Any = json.dumps(body).encode() if body is not None else b"" if method == "POST" else None
            headers = {"Content-Type": "application/json"}
            if stream:
                make, size = stream
                content, headers = make(), {"Content-Type": "application/zip", "Content-Length": str(size)}
            text = _answer(self._request(method, path, content, headers), self.trust).text
            return json.loads(text) if text else None

        return self._again(ask) if again else self._told(ask)

    def _request(self, method: str, path: str, content: Any, headers: Mapping[str, str]) -> urllib.request.Request:  # noqa: ANN401 - bytes, or many of them
        return urllib.request.Request(  # noqa: S310 - http(s)
            f"{self.url}{API}{path}",
            data=content,
            headers={"Authorization": f"Bearer {self.token}", USER_HEADER: self.user, **headers},
            method=method,
        )

    def _again(self, ask: Callable[[], T]) -> T:
        for pause in self.pauses:
            try:
                return self._told(ask)
            except UnreachableError:
                time.sleep(pause)
        return self._told(ask)

    def _told(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise UnreachableError(f"The queue at {self.url} does not answer: {reason}.\n  {self.remedy}") from error

    def _refusal(self, error: urllib.error.HTTPError) -> WsError:
        if error.url.partition(API)[2].startswith("/packages/") and error.code == NOT_FOUND and not error.length:
            return _AbsentError(dict(error.headers))
        try:
            said = json.loads(error.read())["error"]
            code, text = str(said["code"]), f"{said['message']}\n  {said['remedy']}"
        except (ValueError, LookupError, TypeError, OSError):
            code, text = (
                "unknown",
                f"{self.url} does not answer like a queue: HTTP {error.code} {error.reason}.\n  {self.remedy}",
            )
        return UnreachableError(text) if error.code == UNAVAILABLE else RefusalError(code, text)


class _AbsentError(WsError):
    """The service does not have what a HEAD asked for."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__("")
        self.headers = headers


@dataclass(frozen=True)
class _Answer:
    text: bytes
    headers: Mapping[str, str]


def _answer(request: urllib.request.Request, trust: ssl.SSLContext | None = None) -> _Answer:
    # No proxy: a site's proxy cannot reach our own services.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    with opener.open(request, timeout=SECONDS) as response:
        return _Answer(response.read(), response.headers)
