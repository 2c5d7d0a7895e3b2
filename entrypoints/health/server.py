"""The platform's health service: which services are up, which node leads Ray, and a page for people.

``/health``: 200 or 503 with a short JSON. ``/status``: everything as JSON (contracts/status.py). ``/``: the same as a
page. ``/metrics``: the same as series for Prometheus, with the host's facts. ``/targets``: whom Prometheus asks.
``/ping``: only that this program runs.
Healthy means that every configured service answers and every expected Ray node is alive.

In a cluster of several hosts, each host has its own health service, which shows the host and the cluster.

Settings: contracts/health.py, as JSON in CSLR_SETTINGS. A mistake there ends the program with exit status 2 and a
sentence. Needs aiohttp, jinja2, prometheus-client, redis, psycopg, and uPlot's package (page/assets.py).
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from contracts.document import DocumentError, load_settings
from contracts.health import HealthSettings
from contracts.status import Overall, State
from coordination.errors import NodeError
from entrypoints.health.connections import Connections
from entrypoints.health.metrics import exposition
from entrypoints.health.monitor import Monitor, log
from entrypoints.health.page.routes import PATHS, HomePage, PageAnswer
from entrypoints.health.targets import targets

LOOKUP_THREADS = 32  # name look-ups that hang must not hold up the others

SETTINGS: web.AppKey[HealthSettings] = web.AppKey("settings", HealthSettings)
MONITOR: web.AppKey[Monitor] = web.AppKey("monitor", Monitor)
CONNECTIONS: web.AppKey[Connections] = web.AppKey("connections", Connections)
HOME: web.AppKey[HomePage] = web.AppKey("home", HomePage)


async def get_ping(request: web.Request) -> web.Response:
    """200 while this program runs; says nothing about any service."""
    return _answer(request, json.dumps({"state": State.UP.value}))


async def get_health(request: web.Request) -> web.Response:
    """200 if the whole platform is healthy, else 503 with the services that are not up."""
    status = await request.app[MONITOR].status()
    body: dict[str, Any] = {"state": status.state.value, "time": status.time, "down": status.down}
    return _answer(request, json.dumps(body), 200 if status.state is Overall.HEALTHY else 503)


async def get_status(request: web.Request) -> web.Response:
    """The whole report as JSON."""
    return _answer(request, (await request.app[MONITOR].status()).to_json())


async def get_metrics(request: web.Request) -> web.Response:
    """The whole report as series."""
    text = exposition(await request.app[MONITOR].status(), request.app[SETTINGS])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def get_targets(request: web.Request) -> web.Response:
    """Whom Prometheus asks."""
    return _answer(request, targets(await request.app[MONITOR].status(), request.app[SETTINGS]))


def _answer(request: web.Request, body: str, status: int = 200) -> web.Response:
    text = request.app[MONITOR].secrets.redact(body)
    return web.Response(text=text + "\n", content_type="application/json", status=status)


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"


def _of_page(answer: PageAnswer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request.app[HOME], request)

    return handler


async def _end_streams(application: web.Application) -> None:
    application[HOME].readers.end()


ROUTES: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "/health": get_health,
    "/status": get_status,
    "/metrics": get_metrics,
    "/targets": get_targets,
    "/ping": get_ping,
}


async def _monitoring(application: web.Application) -> AsyncIterator[None]:
    # A new connection each time: it matters whether the service accepts one now.
    connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        application[MONITOR] = monitor = Monitor(application[SETTINGS], http)
        application[HOME] = HomePage(application[SETTINGS], monitor)
        watch = asyncio.create_task(monitor.watch())
        yield
        watch.cancel()


def make_application(settings: HealthSettings) -> web.Application:
    """Return the server's application; it probes the services from its start to its cleanup."""
    connections = Connections()
    application = web.Application(middlewares=[connections.middleware])
    application[SETTINGS] = settings
    application[CONNECTIONS] = connections
    application.cleanup_ctx.append(_monitoring)
    application.on_response_prepare.append(_set_headers)
    application.on_shutdown.append(_end_streams)
    application.add_routes([web.get(path, handler) for path, handler in ROUTES.items()])
    application.add_routes([web.get(path, _of_page(answer)) for path, answer in PATHS.items()])
    return application


async def serve(settings: HealthSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    application = make_application(settings)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    assert runner.server is not None  # noqa: S101  (after its setup)
    # All interfaces of its container: Docker's port publication decides on which address of the host it appears.
    listening = await application[CONNECTIONS].listen(runner.server, settings.port)
    watch = asyncio.create_task(application[CONNECTIONS].watch(runner.server))
    log(application[MONITOR].secrets, event="start", name=settings.stack, port=settings.port)
    await stop.wait()
    log(application[MONITOR].secrets, event="stop", name=settings.stack)
    listening.close()
    watch.cancel()
    await runner.cleanup()


def main() -> int:
    """Run the service; returns 2 for settings that cannot be used, 1 when the port cannot be taken."""
    # The name of a stopped container goes to the site's resolver; if that hangs, each look-up holds a thread.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    try:
        settings = load_settings(HealthSettings, os.environ)
    except DocumentError as error:
        print(f"health: {error}.", file=sys.stderr)
        return 2
    try:
        asyncio.Runner().run(serve(settings))
    except NodeError as error:
        print(f"health: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"health: cannot listen on port {settings.port}: {error.strerror or error}.", file=sys.stderr)
        return 1
    os._exit(0)  # a look-up or a cancelled query that hangs must not hold the exit


if __name__ == "__main__":
    sys.exit(main())
