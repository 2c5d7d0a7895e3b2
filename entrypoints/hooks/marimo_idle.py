"""Hook into Marimo: the kernel of a notebook that nobody uses and that computes nothing is ended after a while.

Marimo's own ``--session-ttl`` counts from when the browser leaves: it ends a training that still runs then, and never
the kernel behind a tab that stays open over a week-end. Here a notebook is in use while a cell runs or waits, and when
a page asks for more than reading. Before the end, its page says so. Stands alone (registry.py).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

IDLE = float(os.environ.get("CSLR_MARIMO_IDLE") or 0)  # seconds; 0: no kernel is ended
NOTICE = min(600.0, IDLE / 4)  # seconds from saying so to the end
LOOKS = max(0.5, min(30.0, IDLE / 20))  # seconds between two looks
READING = ("GET", "HEAD", "OPTIONS")
SESSION = b"marimo-session-id"
BUSY = ("running", "queued")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def session_of(scope: Scope) -> str | None:
    """Return the session that a request uses; None for one that only reads."""
    if scope["type"] == "websocket":
        return next(iter(parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_id", ())), None)
    if scope["type"] != "http" or scope["method"] in READING:
        return None
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == SESSION), None)


def is_busy(session: Any) -> bool:  # noqa: ANN401 (of Marimo, as all sessions here)
    """Whether a cell of the session runs or waits for one that does."""
    return any(cell.status in BUSY for cell in session.session_view.cell_notifications.values())


class Idleness:
    """Since when each session is idle, and what follows from it."""

    def __init__(self, *, idle: float, notice: float, now: Callable[[], float] = time.monotonic) -> None:
        self._idle, self._notice, self._now = idle, notice, now
        self._used: dict[str, float] = {}
        self._told: set[str] = set()
        self._failed: set[str] = set()

    def use(self, session: str) -> None:
        """Note that somebody uses a session."""
        self._used[session] = self._now()
        self._told.discard(session)

    def look(self, manager: Any) -> None:  # noqa: ANN401
        """End the kernels that were idle for long enough, and tell those whose turn is next."""
        sessions = dict(manager.sessions)
        for gone in self._used.keys() - sessions.keys():
            self._forget(gone)
        for identifier, session in sessions.items():
            try:
                self._look_at(identifier, session, manager)
            except Exception as error:  # noqa: BLE001 (one session's fault must not keep the kernels of others)
                if identifier not in self._failed:
                    self._failed.add(identifier)
                    print(f"[marimo] an idle kernel is not ended: {error!r}", flush=True)

    def _look_at(self, identifier: str, session: Any, manager: Any) -> None:  # noqa: ANN401
        if identifier not in self._used or is_busy(session):
            self.use(identifier)
            return
        left = self._idle - (self._now() - self._used[identifier])
        if left <= 0:
            print(f"[marimo] {_name(session)} was idle for {in_words(self._idle)}: its kernel is ended", flush=True)
            manager.close_session(identifier)
            self._forget(identifier)
        elif left <= self._notice and identifier not in self._told:
            self._told.add(identifier)
            session.notify(notice(self._idle, left), None)

    def _forget(self, session: str) -> None:
        self._used.pop(session, None)
        self._told.discard(session)
        self._failed.discard(session)


def notice(idle: float, left: float) -> Any:  # noqa: ANN401
    """Return what the page of a notebook shows before its kernel is ended."""
    messages = importlib.import_module("marimo._messaging.notification")
    return messages.BannerNotification(
        title=f"This kernel will end in {in_words(left)}",
        description=f"Nobody has used this notebook for {in_words(idle - left)}, and none of its cells runs. After "
        f"{in_words(idle)} its kernel ends, to free its memory and what its Ray client holds. The notebook itself and "
        "its files stay. To keep the kernel, run or change a cell.",
    )


def in_words(seconds: float) -> str:
    """Return a duration as people say it."""
    unit, length = next(
        ((name, size) for name, size in (("hour", 3600), ("minute", 60)) if seconds >= 2 * size), ("second", 1)
    )
    count = round(seconds / length)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _name(session: Any) -> str:  # noqa: ANN401
    return Path(session.app_file_manager.filename or "a notebook").name


class EndIdleKernels:
    """ASGI middleware before Marimo's application."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._idleness = Idleness(idle=IDLE, notice=NOTICE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "lifespan":
            if session := session_of(scope):
                self._idleness.use(session)
            await self._app(scope, receive, send)
            return
        looking = asyncio.create_task(self._look(scope["app"]))
        try:
            await self._app(scope, receive, send)
        finally:
            looking.cancel()

    async def _look(self, app: Any) -> None:  # noqa: ANN401
        while True:
            await asyncio.sleep(LOOKS)
            try:
                self._idleness.look(app.state.session_manager)
            except Exception as error:  # noqa: BLE001 (Marimo of another version must still serve)
                print(f"[marimo] idle kernels are not ended: {error!r}", flush=True)
                return


def hook_server(server: ModuleType) -> None:
    """Put it before every application that Marimo makes; `server` is Marimo's module of this name."""
    if not IDLE:
        return
    own = server.create_starlette_app

    def create(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        app = own(*arguments, **options)
        app.add_middleware(EndIdleKernels)
        return app

    setattr(server, "create_starlette_app", create)  # noqa: B010 (a module of another program)
