"""The relay: holds the GCS's connections while Redis restarts, because the GCS never reconnects and ends after 4 s.

A process beside the head of a single host, between its GCS and Redis. It forwards both directions, and parses only
where a command and an answer end. When Redis disconnects, it keeps the GCS waiting, reconnects as soon as Redis serves,
logs in as the GCS did, and resends unanswered commands: reads, and idempotent writes. If Redis refuses the login,
because another head has fenced the user, the GCS's connection ends. Standard library only, Python 3.10 or newer.

    -m entrypoints.ray.redis_relay HOST:PORT    listen on the loopback (RELAY_PORT) for Redis at HOST:PORT until stdin
                                                ends; a line of stdin, ["USERNAME", "PASSWORD"], is who logs in then
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from coordination.errors import NodeError
from coordination.lease import Credentials
from coordination.redis_client import Address

RELAY_PORT = 6390
HOLD_SECONDS = 120.0  # after this long without Redis, the GCS ends as without this relay
LOGIN_SECONDS = 15.0  # a restarted Redis has forgotten the users; the head gets another one within seconds
START_SECONDS = 30.0  # for the relay's start, also on a busy machine
RETRY_SECONDS = 0.2
CONNECT_SECONDS = 2.0
LIMIT = 512 * 2**20  # bytes of one line or value, as Redis has it
# Ray asks Redis ten times a second whether it is there. The relay notices that itself, so that once is enough, and
# costs an idle stack less (docs/benchmarks.md).
GCS_ENVIRONMENT = {"RAY_gcs_redis_heartbeat_interval_milliseconds": "1000"}
LOGIN = (b"AUTH", b"HELLO", b"SELECT", b"CLIENT")  # commands to repeat on a new connection


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[redis-relay] {message}", flush=True)


class RefusedError(Exception):
    """Redis refuses the login."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one whole command or answer as it is on the wire; raises EOFError if the other side has ended."""
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


@dataclass
class Login:
    """The login that replaces the one with which the GCS was started; None: that login itself."""

    command: bytes | None = None  # as it is on the wire

    async def follow(self, lines: asyncio.StreamReader) -> None:
        """Read logins from lines of JSON until they end."""
        while line := await lines.readline():
            words = [b"AUTH", *(str(word).encode() for word in json.loads(line))]
            self.command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Connection:
    """One connection of the GCS, and its successive connections to Redis."""

    def __init__(
        self, redis: Address, login: Login, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._redis = redis
        self._login = login
        self._reader, self._writer = reader, writer
        self._logins: list[bytes] = []
        self._unanswered: deque[bytes] = deque()
        self._upstream: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Forward until the GCS has ended, Redis is away for too long, or Redis refuses the login."""
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
                with contextlib.suppress(OSError):  # it is resent
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
        """Reconnect, log in and resend unanswered commands. Raises OSError and RefusedError when time is up."""
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
                    say(f"Redis was away for {time.monotonic() - began:.1f} s; the head continues")
                return reader
            await asyncio.sleep(RETRY_SECONDS)

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, logins: list[bytes]) -> None:
        for command in [*logins, *([b"*1\r\n$4\r\nPING\r\n"] if logins else [])]:
            replaced = self._login.command if name_of(command) == b"AUTH" else None
            writer.write(replaced or command)
            answer = await read_frame(reader)
            if answer.startswith((b"-LOADING", b"-MASTERDOWN", b"-BUSY")):
                writer.close()
                raise OSError("Redis is loading its data")
            if answer.startswith((b"-WRONGPASS", b"-NOAUTH", b"-ERR")):
                writer.close()
                raise RefusedError(answer.decode(errors="replace").strip())


async def serve(redis: Address, port: int = RELAY_PORT) -> None:
    """Serve until stdin ends, as it does with the process that supervises the head."""
    login = Login()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await Connection(redis, login, reader, writer).run()

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with await asyncio.start_server(accept, "127.0.0.1", port, limit=LIMIT):
        await login.follow(lines)


class RelayProcess:
    """The relay as a child of the process that supervises the head."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, redis: Address) -> Address:
        """Start the relay, and return its address for the GCS. Raises NodeError."""
        relay = Address("127.0.0.1", RELAY_PORT)
        command = [sys.executable, "-m", "entrypoints.ray.redis_relay", str(redis)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE)
        deadline = time.monotonic() + START_SECONDS
        while not relay.answers():
            if time.monotonic() > deadline:
                raise NodeError(f"The relay to Redis does not listen on {relay} within {START_SECONDS:.0f} s.")
            time.sleep(0.05)
        return relay

    def log_in_as(self, credentials: Credentials) -> None:
        """Make the head's connections log in as another user from now on."""
        with contextlib.suppress(OSError):  # it has ended, and the head with it
            if self._process and self._process.stdin:
                words = [credentials.username, credentials.password]
                self._process.stdin.write(json.dumps(words).encode() + b"\n")
                self._process.stdin.flush()


def main(arguments: list[str]) -> int:
    """Serve; see the module."""
    asyncio.run(serve(Address.parse(arguments[0], "the argument")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
