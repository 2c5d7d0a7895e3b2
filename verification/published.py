"""Checks MLflow as a browser reaches it: over the published port, with the headers that its page sends.

Inside the network a refusal of browsers does not show: MLflow decides by Host and Origin, and its page opens even if
the searches of its script are refused.
"""

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from stack.trust import certificate_alone
from verification.report import CheckResult
from verification.spec import Published

NAME = "mlflow_browser"
TIMEOUT, SECONDS = 10.0, 20.0  # per answer; for all attempts while the server starts
SEARCH = "/ajax-api/2.0/mlflow/runs/search"  # fills the table of runs
SHOWN = 3  # origins in a line of the report
FOREIGN = "10.evil.example"  # anyone could register such a name and resolve it to any address


@dataclass(frozen=True, kw_only=True)
class Request:
    """A browser's request, and whether MLflow must answer it."""

    address: str
    host: str  # header, with a port if browsers send one
    origin: str | None  # header; None: opens the page
    allowed: bool

    def in_words(self, status: object) -> str:
        """The request and its outcome."""
        doing = f"a search from {self.origin}" if self.origin else "the page"
        reason = "must be answered" if self.allowed else "must be refused with 403"
        return f"{doing} by the name {self.host} was answered {status} at {self.address}, but {reason}"


def check(published: Published) -> CheckResult:
    """Sends requests by every address and name, then with foreign names and origins."""
    began, requests = time.monotonic(), list(requests_of(published))
    wrong = (
        request.in_words(status) for request in requests if (status := _wrong(published, request, began)) is not None
    )
    failure = next(wrong, None)
    more = len(published.origins) - SHOWN
    shown = ", ".join(published.origins[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    detail = f"answers at {shown}; refuses other names and foreign pages"
    return CheckResult(
        name=NAME,
        container=published.container,
        result="fail" if failure else "pass",
        detail=failure or detail,
        seconds=round(time.monotonic() - began, 2),
    )


def requests_of(published: Published) -> Iterator[Request]:
    """The page and a search by each address, and requests that must be refused."""
    first = str(urlsplit(published.origins[0]).hostname)
    for origin in published.origins:
        host, name = urlsplit(origin).netloc, str(urlsplit(origin).hostname)
        address = name if name.replace(".", "").isdigit() else first
        yield Request(address=address, host=host, origin=None, allowed=True)
        yield Request(address=address, host=host, origin=origin, allowed=True)
    known = urlsplit(published.origins[0]).netloc
    yield Request(address=first, host=f"{FOREIGN}:{published.port}", origin=None, allowed=False)
    scheme = urlsplit(published.origins[0]).scheme
    yield Request(address=first, host=known, origin=f"{scheme}://{FOREIGN}:{published.port}", allowed=False)


def _wrong(published: Published, request: Request, began: float) -> object:
    """A wrong status, or the error in its place; None if the answer is right."""
    while True:
        try:
            status: object = _ask(published, request)
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() - began < SECONDS:
                time.sleep(0.5)
                continue
            status = f"not at all ({error})"
        # 401: it asks who is there, after it has accepted where the request comes from.
        answered = 401 if published.logins else 200
        return None if status == (answered if request.allowed else 403) else status


def _connection(address: str, published: Published) -> http.client.HTTPConnection:
    if published.trusted is None:
        return http.client.HTTPConnection(address, published.port, timeout=TIMEOUT)
    return http.client.HTTPSConnection(
        address, published.port, timeout=TIMEOUT, context=certificate_alone(published.trusted)
    )


def _ask(published: Published, request: Request) -> int:
    # Not urllib, which would use the environment's proxies.
    connection = _connection(request.address, published)
    try:
        headers = {"Host": request.host, "User-Agent": "Mozilla/5.0 (cslr verification)"}
        if request.origin is None:
            connection.request("GET", f"{published.prefix}/", headers=headers)
        else:
            headers |= {"Origin": request.origin, "Content-Type": "application/json"}
            body = json.dumps({"experiment_ids": ["0"], "max_results": 1})
            connection.request("POST", published.prefix + SEARCH, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
