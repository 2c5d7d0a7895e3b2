"""The queue's page: who runs, who waits and why, nodes, users' shares, and what was used. It only reads.

It needs no token, so it shows neither commands nor what jobs printed, which may hold what is not for everybody.

It stands on what the home page is made of (entrypoints/health/page): its style, its macros, and its script, which puts
the sections that a stream sends.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from contracts.queue import JobView, QueueView, UsageRow
from entrypoints.health.page.assets import POLICY, STYLE, own_asset
from entrypoints.health.page.events import Readers, TooManyReadersError
from entrypoints.health.page.kept import Kept
from entrypoints.health.page.markup import environment
from entrypoints.queue.chart import Chart, chart_of
from entrypoints.queue.failures import RefusedError
from entrypoints.queue.queue import Queue
from scheduling.amounts import from_ray
from scheduling.words import asked, span

FOLDER = Path(__file__).with_suffix("")
HEADER = "summary"
SECTIONS = ("waiting", "running", "nodes", "users", "usage", "ended")  # in the page's order
JOBS_SHOWN = 100  # of those that wait, of those that run, and of those that ended
ENDED_SHOWN = 20
DAYS = 30  # of usage
DAY = 86400.0
SCRIPT = own_asset("page.js")
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What was used in the last days."""

    users: tuple[UsageRow, ...]
    projects: tuple[UsageRow, ...]
    chart: Chart


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the page shows; without a view, the refusal that came instead."""

    now: float
    refusal: RefusedError | None = None
    view: QueueView | None = None
    ended: tuple[JobView, ...] = ()
    usage: Usage | None = None


TEMPLATES = environment(FOLDER)
TEMPLATES.filters |= {
    "asks": lambda job: asked(from_ray(job.submission.each), job.submission.count),
    "amount": lambda amount, name: f"{amount / GIB:.0f} GiB" if name == "memory" else f"{amount:g}",
    "span": span,
}
TEMPLATES.globals |= {"jobs_shown": JOBS_SHOWN, "days": DAYS, "names": SECTIONS}
VERSION = hashlib.sha256(
    "\0".join((STYLE, SCRIPT.version, *((FOLDER / "page.html").read_text(encoding="utf-8"), *SECTIONS))).encode()
).hexdigest()[:12]


class Page:
    """Looks, and makes HTML of it. All readers together cost one look in some seconds."""

    def __init__(self, stack: str, queue: Queue) -> None:
        self.readers = Readers(VERSION)
        self._stack = stack
        self._queue = queue
        self._look = Kept(self._ask, 2.0)
        self._usage = Kept(self._ask_usage, 300.0)

    async def sections(self) -> dict[str, str]:
        """The HTML of each section by name."""
        shown = await self._look.get()
        assert shown is not None  # noqa: S101 - without a limit, the answer is waited for
        values: dict[str, Any] = {"stack": self._stack, "shown": shown, "view": shown.view}
        names = (HEADER, *SECTIONS) if shown.view else (HEADER,)
        found = {name: TEMPLATES.get_template(f"{name}.html").render(values).strip() for name in names}
        return dict.fromkeys(SECTIONS, "") | found

    async def html(self) -> str:
        """The whole page."""
        values = {"stack": self._stack, "now": time.time(), "script": SCRIPT.address, "version": VERSION}
        return TEMPLATES.get_template("page.html").render(values, sections=await self.sections())

    async def _ask(self) -> Shown:
        now = time.time()
        try:
            return Shown(
                now=now,
                view=await self._queue.view(),
                ended=await self._queue.jobs(states=("ended",), limit=ENDED_SHOWN),
                usage=await self._usage.get(),
            )
        except RefusedError as error:
            return Shown(now=now, refusal=error)

    async def _ask_usage(self) -> Usage:
        now = time.time()
        users = await self._queue.usage("user", now - DAYS * DAY, now)
        midnight = now // DAY * DAY
        begins = [midnight - DAY * day for day in reversed(range(DAYS))]
        days = [(begin, await self._queue.usage("user", begin, min(begin + DAY, now))) for begin in begins]
        return Usage(
            users=users, projects=await self._queue.usage("project", now - DAYS * DAY, now), chart=chart_of(days)
        )


def routes(page: Page) -> APIRouter:
    """The page's addresses."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def get_page() -> HTMLResponse:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return HTMLResponse(await page.html(), headers=headers)

    @router.get("/events")
    async def get_events(request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            async with aclosing(page.readers.follow(page.sections)) as found:
                async for event in found:
                    if await request.is_disconnected():
                        return
                    yield event

        if page.readers.full:
            raise RefusedError(503, "too_many_pages", str(TooManyReadersError()), remedy="Close one of them.")
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    @router.get("/assets/page.js")
    async def get_script() -> Response:
        return Response(SCRIPT.content, media_type="text/javascript")

    return router
