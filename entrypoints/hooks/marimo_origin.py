"""Hook into Marimo: only Marimo's own pages may change anything or open the connections that run cells.

Marimo checks its cookie but not the origin, and a browser sends that cookie with the requests of every page of the same
host, whatever its port: even of a web page that was logged as an artifact to MLflow. Stands alone (registry.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

# Set if people use another Host than the one that arrives here: behind a reverse proxy.
LINKS = Path(os.environ.get("CSLR_MARIMO_LINKS", "/run/cslr/links/marimo.json"))
READING = ("GET", "HEAD", "OPTIONS")
POLICY_VIOLATION = 1008  # RFC 6455; before a connection is accepted, servers make it a 403

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def known_origins() -> list[str]:
    """Return the origins of the notebooks' own pages, as the stack publishes them."""
    try:
        return [str(origin) for origin in json.loads(LINKS.read_text(encoding="utf-8"))["origins"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def is_foreign(scope: Scope) -> bool:
    """Whether a page of another server requests more than reading. Programs other than browsers send no Origin."""
    if scope["type"] not in ("http", "websocket") or (scope["type"] == "http" and scope["method"] in READING):
        return False
    headers = {name.decode("latin-1").lower(): value.decode("latin-1").lower() for name, value in scope["headers"]}
    origin = headers.get("origin")
    if not origin or urlsplit(origin).netloc == headers.get("host"):
        return False
    return origin not in known_origins()


class OwnPages:
    """ASGI middleware before Marimo's application."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if not is_foreign(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Cross-origin request blocked (network.names)"})


def hook_server(server: ModuleType) -> None:
    """Put the check before every application that Marimo makes; `server` is Marimo's module of this name."""
    own = server.create_starlette_app

    def create(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        app = own(*arguments, **options)
        app.add_middleware(OwnPages)
        return app

    setattr(server, "create_starlette_app", create)  # noqa: B010 (a module of another program)
