"""Uvicorn's HTTP/1.1 with bounds: of connections, of the time until the head of a request is whole, and of silence in
its body.

Uvicorn waits for ever for the rest of a request. Needs uvicorn.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from entrypoints.http_bounds import MOST_CONNECTIONS, REQUEST_SECONDS, TOO_LATE, TOO_MANY


class BoundedProtocol(H11Protocol):
    """One connection. A request whose head has come may take its time, as long as its body keeps coming."""

    most = MOST_CONNECTIONS
    seconds = REQUEST_SECONDS
    _look: asyncio.TimerHandle | None = None
    _idle_since_look = True
    _seen: object = None  # the last request that had come at the last look
    _heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Accept it, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(TOO_MANY)
            transport.close()
        else:
            self._heard = self.loop.time()
            self._look = self.loop.call_later(self.seconds, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self._heard = self.loop.time()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._look:
            self._look.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        silent = self.loop.time() - self._heard >= self.seconds and not self.flow.read_paused
        stalled = not idle and cycle.more_body and silent
        if stalled or (idle and self._idle_since_look and cycle is self._seen):
            if cycle is None or not (idle or cycle.response_started):
                self.transport.write(TOO_LATE)
            self.transport.close()
            return
        self._idle_since_look, self._seen = idle, cycle  # a request that was answered between two looks gives one more
        self._look = self.loop.call_later(self.seconds, self._close_if_idle)
