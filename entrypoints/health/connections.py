"""Bounds the connections of the health service: their number, and how long one may go without a whole request.

aiohttp waits for ever for the rest of a request whose head has begun.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from entrypoints.http_bounds import MOST_CONNECTIONS, REQUEST_SECONDS, TOO_LATE, TOO_MANY

LOOK_SECONDS = 1.0


class Refusal(asyncio.Protocol):
    """The answer to a connection beyond the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer, and close."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  (of a socket)
        transport.write(TOO_MANY)
        transport.close()


class Connections:
    """The connections of one server. Its `middleware` belongs into the application; `listen` accepts them."""

    def __init__(self, *, most: int = MOST_CONNECTIONS, seconds: float = REQUEST_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._answering: dict[web.RequestHandler, int] = {}
        self._idle: dict[web.RequestHandler, float] = {}  # since when there was no whole request
        self._served: set[web.RequestHandler] = set()  # those that had an answer

    @property
    def middleware(self) -> Middleware:
        """Counts the requests that are being answered; their connections may take their time."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            protocol = request.protocol
            self._answering[protocol] = self._answering.get(protocol, 0) + 1
            try:
                return await handler(request)
            finally:
                self._answering[protocol] -= 1
                if not self._answering[protocol]:
                    del self._answering[protocol]
                self._idle.pop(protocol, None)
                self._served.add(protocol)

        return answer

    async def listen(self, server: web.Server, port: int) -> asyncio.Server:
        """Accept connections on all interfaces. Raises OSError."""

        def accept() -> asyncio.Protocol:
            return Refusal() if len(server.connections) >= self._most else server()

        return await asyncio.get_running_loop().create_server(accept, "0.0.0.0", port)  # noqa: S104

    async def watch(self, server: web.Server) -> None:
        """Close connections that have been without a whole request for too long, until this is cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds))
            self.close_idle(server, time.monotonic())

    def close_idle(self, server: web.Server, now: float) -> None:
        """Close those that are idle for too long by now."""
        waiting = [protocol for protocol in server.connections if protocol not in self._answering]
        self._idle = {protocol: self._idle.get(protocol, now) for protocol in waiting}
        self._served.intersection_update(server.connections)
        for protocol, since in self._idle.items():
            if now - since >= self._seconds and protocol.transport is not None:
                if protocol not in self._served:
                    protocol.transport.write(TOO_LATE)
                protocol.transport.close()
