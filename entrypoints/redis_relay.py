"""Holds the GCS's connections to Redis while Redis is away: the GCS itself never connects again, and ends after 4 s.

A process of the only host's head, between its GCS and Redis. It passes on what both say, and knows of it only where a
command and an answer end. When Redis goes, it keeps the GCS waiting, connects again as soon as Redis serves, logs in as
the GCS did, and sends again what was not answered: reads, and writes that are the same when done twice. Where Redis
does not take the login back, since another head's fence has deleted the user, the GCS's connection ends. Standard
library only, Python 3.10 or newer.

    -m entrypoints.redis_relay HOST:PORT      listen on PORT of the loopback (RELAY_PORT) for Redis at HOST:PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque

from entrypoints.redis_link import Address

RELAY_PORT = 6390
HOLD_SECONDS = 120.0  # without Redis for so long, the GCS ends as without this relay
LOGIN_SECONDS = 15.0  # a restarted Redis has forgotten the users, and this node makes the GCS's anew within seconds
RETRY_SECONDS = 0.2
CONNECT_SECONDS = 2.0
LIMIT = 512 * 2**20  # bytes of one line or value, as Redis has it
LOGIN = (b"AUTH", b"HELLO", b"SELECT", b"CLIENT")  # what a connection must be told again


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[redis-relay] {message}", flush=True)


class RefusedError(Exception):
    """Redis does not take the login back."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one command or one answer whole, as it is on the wire; raises EOFError where the other side has ended."""
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, rest = line[:1], line[1:-2]
    if kind == b"$" and int(rest) >= 0:
        return line + await reader.readexactly(int(rest) + 2)
    if kind in (b"*", b"~", b">", b"%"):
        parts = [line]
        for _ in range(max(int(rest), 0) * (2 if kind == b"%" else 1)):
            parts.append(await read_frame(reader))
        return b"".join(parts)
    return line


def name_of(command: bytes) -> bytes:
    """Return the name of a command as it is on the wire."""
    parts = command.split(b"\r\n", 3)
    return parts[2].upper() if len(parts) > 2 else parts[0].split(b" ")[0].upper()


class Connection:
    """One connection of the GCS, and those to Redis that stand behind it, one after the other."""

    def __init__(self, redis: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._redis = redis
        self._reader, self._writer = reader, writer
        self._logins: list[bytes] = []
        self._unanswered: deque[bytes] = deque()
        self._upstream: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Pass on until the GCS has ended, Redis is away for too long, or does not take its login back."""
        commands = asyncio.create_task(self._pass_commands())
        answers = asyncio.create_task(self._pass_answers())
        try:
            await asyncio.wait({commands, answers}, return_when=asyncio.FIRST_COMPLETED)
            for task in (commands, answers):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, EOFError, OSError, RefusedError, ValueError):
                    await task
        finally:
            for writer in (self._writer, self._upstream):
                if writer:
                    writer.close()

    async def _pass_commands(self) -> None:
        while True:
            command = await read_frame(self._reader)
            if name_of(command) in LOGIN:
                self._logins.append(command)
            self._unanswered.append(command)
            if self._upstream:
                with contextlib.suppress(OSError):  # it is sent again
                    self._upstream.write(command)
                    await self._upstream.drain()

    async def _pass_answers(self) -> None:
        while True:
            reader = await self._connect()
            try:
                while True:
                    answer = await read_frame(reader)
                    self._unanswered.popleft()
                    self._writer.write(answer)
                    await self._writer.drain()
            except (EOFError, OSError, IndexError):
                self._upstream = None

    async def _connect(self) -> asyncio.StreamReader:
        """Connect, log in again and send what was not answered. Raises OSError and RefusedError when time is up."""
        began = time.monotonic()
        refused: float | None = None
        logins = [command for command in self._logins if command not in self._unanswered]
        while True:
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(self._redis.host, self._redis.port, limit=LIMIT), CONNECT_SECONDS
                )
                await asyncio.wait_for(self._log_in(reader, writer, logins), CONNECT_SECONDS)
            except RefusedError as error:
                refused = refused or time.monotonic()
                if time.monotonic() - refused > LOGIN_SECONDS:
                    say(f"Redis refuses the head's login: {error}")
                    raise
            except (OSError, EOFError, asyncio.TimeoutError) as error:  # noqa: UP041 (another one before 3.11)
                if time.monotonic() - began > HOLD_SECONDS:
                    say(f"Redis has been away for {HOLD_SECONDS:.0f} s: {error}")
                    raise OSError(str(error)) from None
            else:
                for command in self._unanswered:
                    writer.write(command)
                self._upstream = writer
                if time.monotonic() - began > RETRY_SECONDS:
                    say(f"Redis was away for {time.monotonic() - began:.1f} s; the head goes on")
                return reader
            await asyncio.sleep(RETRY_SECONDS)

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, logins: list[bytes]) -> None:
        for command in [*logins, *([b"*1\r\n$4\r\nPING\r\n"] if logins else [])]:
            writer.write(command)
            answer = await read_frame(reader)
            if answer.startswith((b"-LOADING", b"-MASTERDOWN", b"-BUSY")):
                writer.close()
                raise OSError("Redis is loading its data")
            if answer.startswith((b"-WRONGPASS", b"-NOAUTH", b"-ERR")):
                writer.close()
                raise RefusedError(answer.decode(errors="replace").strip())


async def serve(redis: Address, port: int = RELAY_PORT) -> None:
    """Serve for ever."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await Connection(redis, reader, writer).run()

    server = await asyncio.start_server(accept, "127.0.0.1", port, limit=LIMIT)
    async with server:
        await server.serve_forever()


def main(arguments: list[str]) -> int:
    """Serve until the process is ended."""
    asyncio.run(serve(Address.parse(arguments[0], "the argument")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
