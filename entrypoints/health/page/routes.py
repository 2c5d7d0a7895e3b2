"""The page's addresses: ``/``, ``/events``, ``/api/charts`` and ``/assets``. Nothing can be changed by them."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from contracts.health import HealthSettings, Kind
from entrypoints.health.monitor import Monitor, log
from entrypoints.health.page.assets import POLICY, STYLE, Asset, assets
from entrypoints.health.page.charts import RANGES, charts_with
from entrypoints.health.page.events import MOST_READERS, Readers, TooManyReadersError
from entrypoints.health.page.faults import FaultLog
from entrypoints.health.page.snapshot import Board, watched
from entrypoints.health.page.templates import LOOPBACK, frame, page, sections

# The page is painted with what is known by then, and the stream brings the rest.
PATIENCE = 0.05  # seconds
SLOWEST_READER = 30.0  # seconds for one event; the stream of a slower one ends
KEPT = "public, max-age=31536000, immutable"  # of files whose address tells their content
METRICS_OFF = "metrics are off; turn them on: ws set metrics.enabled true exporter.enabled true -s {0} && ws up -s {0}"


class HomePage:
    """Answers the page's addresses."""

    def __init__(self, settings: HealthSettings, monitor: Monitor) -> None:
        self._stack = settings.stack
        self._monitor = monitor
        self._board = Board(monitor, settings)
        self._assets: Mapping[str, Asset] = assets()
        self._addresses = {name: asset.address for name, asset in self._assets.items()}
        self._faults = FaultLog(lambda name, trace: log(monitor.secrets, event="section", name=name, error=trace))
        self._version = version_of(settings, self._assets)
        self.readers = Readers(self._version)

    async def get_page(self, request: web.Request) -> web.Response:
        """The page with everything that is known."""
        text = page(
            await self._board.snapshot(PATIENCE),
            reached_at=reached_at(request),
            refresh=request.query.get("refresh") != "off",
            addresses=self._addresses,
            version=self._version,
            broken=self._faults.tell,
        )
        response = web.Response(text=self._monitor.secrets.redact(text), content_type="text/html")
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.enable_compression()
        return response

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """The sections that change, for as long as the reader is there."""
        if request.method != "GET":  # HEAD, to which an answer without an end would be sent
            raise web.HTTPMethodNotAllowed(request.method, ["GET"])

        async def look() -> dict[str, str]:
            shown = await self._board.snapshot()
            found = sections(shown, reached_at=reached_at(request), broken=self._faults.tell)
            return {name: self._monitor.secrets.redact(text) for name, text in found.items()}

        async with aclosing(self.readers.follow(look)) as events:
            return await _stream(request, events)

    async def get_charts(self, request: web.Request) -> web.Response:
        """The figures of the charts over ?range=."""
        name = request.query.get("range", "")
        if name not in RANGES:
            return self._refusal(400, f"range must be one of {', '.join(RANGES)}, not {name!r}")
        answer = await self._board.charts(name)
        if answer is None:
            return self._refusal(404, METRICS_OFF.format(self._stack))
        if answer.failure or answer.found is None:
            return self._refusal(502, f"Prometheus does not answer: {answer.failure}")
        response = _json(answer.found)
        response.enable_compression()
        return response

    async def get_asset(self, request: web.Request) -> web.Response:
        """A file of the page."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        response = web.Response(content_type=asset.content_type, charset="utf-8")
        # A page of another version asks for another content, which must not be kept under that address.
        if request.query_string == asset.version:
            response.headers["Cache-Control"] = KEPT
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.headers["Content-Encoding"] = "gzip"
            response.body = asset.compressed
        else:
            response.body = asset.content
        return response

    def _refusal(self, status: int, message: str) -> web.Response:
        return _json({"error": self._monitor.secrets.redact(message)}, status)


async def _stream(request: web.Request, events: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    try:
        first = await anext(events)
    except TooManyReadersError:
        text = f"{MOST_READERS} pages are open already; close one of them"
        return web.Response(status=503, text=text, headers={"Retry-After": "30"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    await asyncio.wait_for(response.write(first), SLOWEST_READER)
    async for event in events:
        await asyncio.wait_for(response.write(event), SLOWEST_READER)
    return response


def version_of(settings: HealthSettings, files: Mapping[str, Asset]) -> str:
    """Another where a page that is open would be another one but for its sections, which the stream brings."""
    charts = sorted(charts_with(watched(settings, Kind.EXPORTER))) if watched(settings, Kind.PROMETHEUS) else []
    parts = (frame(), STYLE, *(files[name].version for name in sorted(files)), *charts)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def reached_at(request: web.Request) -> str:
    """The host name that the reader used; this host's loopback where the header names none."""
    try:
        return request.url.host or LOOPBACK
    except ValueError:  # such as a port that is no number
        return LOOPBACK


def _json(found: dict[str, Any], status: int = 200) -> web.Response:
    text = json.dumps(found, separators=(",", ":"))
    return web.Response(text=f"{text}\n", status=status, content_type="application/json")


PageAnswer = Callable[[HomePage, web.Request], Awaitable[web.StreamResponse]]
PATHS: Mapping[str, PageAnswer] = {
    "/": HomePage.get_page,
    "/events": HomePage.get_events,
    "/api/charts": HomePage.get_charts,
    "/assets/{name}": HomePage.get_asset,
}
