"""The queue's service: its interface for programs, its page, and the queue itself.

Settings: contracts/queue.py, as JSON in CSLR_SETTINGS. A mistake there ends the program with exit status 2 and a
sentence. Needs what the image queue holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import uvicorn
from fastapi import FastAPI

from contracts.document import DocumentError, load_settings
from contracts.queue import QueueSettings
from entrypoints.bounded_http import BoundedProtocol
from entrypoints.log import logger
from entrypoints.queue.api import Service, add_routes
from entrypoints.queue.notify import Notifier
from entrypoints.queue.packages import Packages
from entrypoints.queue.page import Page, routes
from entrypoints.queue.service import RayQueue

say = logger("queue")


def make_application(
    service: Service, running: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
) -> FastAPI:
    """Return the server's application. `running` is entered when it starts, in its event loop, and left at its end."""
    page = Page(service.stack, service.queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running():
            yield

    application = FastAPI(
        title="CSLR queue", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Jobs wait for their turn on a shared Ray cluster.",
    )  # fmt: skip
    application.state.service = service
    add_routes(application)
    application.include_router(routes(page))
    return application


def main() -> int:
    """Run the service; returns 2 for settings that cannot be used."""
    try:
        settings = load_settings(QueueSettings, os.environ)
        token, password = (
            path.read_text(encoding="utf-8").strip() for path in (settings.token, settings.database_password)
        )
        packages = Packages(settings.packages, settings.largest_package, settings.packages_size)
        notifier = Notifier(settings, settings.packages.parent / "messages", say)
    except (DocumentError, OSError, ValueError) as error:
        print(f"queue: {error}", file=sys.stderr)
        return 2
    queue = RayQueue(settings, token=token, database_password=password, packages=packages, tell=notifier.tell, say=say)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with notifier.running(), queue.running():
            yield

    service = Service(stack=settings.stack, token=token, queue=queue, packages=packages)
    say(f"stack {settings.stack}, port {settings.port}")
    # All interfaces of its container: which address of the host it appears on is Docker's publication.
    uvicorn.run(
        make_application(service, running), host="0.0.0.0", port=settings.port, log_level="warning",  # noqa: S104
        access_log=False, timeout_graceful_shutdown=5, http=BoundedProtocol,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
