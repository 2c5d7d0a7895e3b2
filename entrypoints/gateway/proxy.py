"""A TCP proxy to the current head: forwards connections to it, and ends them when another head leads."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from contracts.gateway import Route, Target
from coordination.errors import NodeError
from coordination.redis_client import Address

CONNECT_SECONDS = 2.0
# A connection to a host that has vanished ends after this: at most KEEPALIVE x PROBES when idle, DEAD when sending.
# DEAD also ends one whose other side reads nothing for so long, so it is only for heads: a client may be busy, or stand
# in a debugger.
KEEPALIVE_SECONDS, KEEPALIVE_PROBES = 1, 4
DEAD_MILLISECONDS = 4000
OPTIONS = {"TCP_KEEPIDLE": KEEPALIVE_SECONDS, "TCP_KEEPINTVL": KEEPALIVE_SECONDS, "TCP_KEEPCNT": KEEPALIVE_PROBES}


@dataclass(frozen=True)
class CurrentHead:
    """The destination of connections. Another epoch is another head, even at the same address."""

    epoch: int  # 0: static head, no election
    name: str
    targets: Mapping[Target, Address]


class _End(asyncio.Protocol):
    """One side of a forwarded connection; it sends to the other side what it receives."""

    options: Mapping[str, int] = OPTIONS

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.ended = False  # whether nothing more comes from here
        self.closed: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (TCP)
        self.transport = transport
        set_options(transport.get_extra_info("socket"), self.options)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if not self.other or not self.other.transport:
            return True
        if self.other.ended:
            self.other.transport.close()  # after sending what is buffered
            return False  # and this side is closed too: asyncio does not do that once one direction was kept open
        if self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True  # the other direction continues

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()
        self.closed()


def set_options(connection: socket.socket, options: Mapping[str, int]) -> None:
    """Make a connection end within seconds when the other host has vanished, and send without delay."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _Incoming(_End):
    """The client's side, accepted at a stable address; nothing is read from it until the head has accepted."""

    def __init__(self, switch: Switch, target: Target) -> None:
        super().__init__()
        self._switch = switch
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._switch.connect(self, self._target)


class _Outgoing(_End):
    """The head's side."""

    options: Mapping[str, int] = {**OPTIONS, "TCP_USER_TIMEOUT": DEAD_MILLISECONDS}


class Switch:
    """Forwards connections to the current head, and ends them when another head leads."""

    def __init__(self) -> None:
        self.head: CurrentHead | None = None
        self._open: set[_Incoming] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, routes: Iterable[Route]) -> None:
        """Listen at every address of the routes; raise NodeError if one is unavailable."""
        loop = asyncio.get_running_loop()
        for route in routes:
            for address in Address.parse_all(route.listen):

                def incoming(target: Target = route.target) -> _Incoming:
                    return _Incoming(self, target)

                try:
                    await loop.create_server(incoming, address.host, address.port, backlog=1024)
                except OSError as error:
                    raise NodeError(
                        f"Cannot listen on {address} ({route.target.value}): {os.strerror(error.errno or 0)}; "
                        "`ss -ltnp` on this host shows what has the port."
                    ) from None

    def turn(self, head: CurrentHead | None) -> bool:
        """Forward to this head from now on; True if it differs from the previous one."""
        if head == self.head:
            return False
        self.head = head
        for end in list(self._open):
            self._abort(end)
        return True

    def connect(self, incoming: _Incoming, target: Target) -> None:
        """Connect a client to the head, or end its connection."""
        assert incoming.transport  # noqa: S101
        head = self.head
        if head is None or target not in head.targets:
            incoming.transport.abort()
            return
        loop = asyncio.get_running_loop()
        # Older Pythons (3.10, 3.11.2) undo a pause that is made within `connection_made`, so this one comes after it.
        # Nothing is read in between, since the loop looks for data only later.
        loop.call_soon(incoming.transport.pause_reading)
        incoming.closed = lambda: self._open.discard(incoming)
        self._open.add(incoming)
        task = loop.create_task(self._join(incoming, head.targets[target]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, incoming: _Incoming, address: Address) -> None:
        outgoing = _Outgoing()
        incoming.other, outgoing.other = outgoing, incoming  # before the head can send: a GCS speaks first
        try:
            loop = asyncio.get_running_loop()
            connection = loop.create_connection(lambda: outgoing, address.host, address.port)
            await asyncio.wait_for(connection, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError):  # noqa: UP041  (two different ones in Python 3.10)
            self._abort(incoming)
            return
        assert incoming.transport  # noqa: S101
        assert outgoing.transport  # noqa: S101
        if incoming.transport.is_closing() or incoming not in self._open:
            outgoing.transport.abort()
            return
        incoming.transport.resume_reading()

    def _abort(self, end: _Incoming) -> None:
        self._open.discard(end)
        for side in (end, end.other):
            if side and side.transport:
                side.transport.abort()
