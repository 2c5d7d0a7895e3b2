"""A minimal Redis client for the lease and the Redis users, over one persistent connection.

Runs with our images and with pulled ones: standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from coordination.errors import NodeError

CALL_SECONDS = 1.0  # for a connection, and for the answer to a command
GENERATION = "cslr:redis:generation"  # generation of a Redis pair; each failover raises it
# Answers of a server that is not ready or no longer the primary: wait, or try another address.
NOT_NOW = ("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "READONLY", "NOREPLICAS", "UNBLOCKED")
WRONG_PASSWORD = ("WRONGPASS", "NOAUTH", "NOPERM")

Reply: TypeAlias = "str | int | list[Reply] | None"
Word: TypeAlias = "str | int"


class RedisRefusedError(NodeError):
    """Redis answered with an error that waiting does not resolve, such as a wrong password."""


@dataclass(frozen=True)
class Address:
    """A host (name or IP address) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, source: str) -> Address:
        """Read ``host:port``, with or without ``redis://``; raise NodeError naming ``source`` for anything else."""
        host, _, port = text.removeprefix("redis://").rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise NodeError(f"{source}={text!r} is not host:port; write for example ray-cpu:6379.")
        return cls(host, int(port))

    @classmethod
    def parse_list(cls, text: str, source: str) -> tuple[Address, ...]:
        """Read a comma separated list; empty text is an empty list."""
        return tuple(cls.parse(part.strip(), source) for part in text.split(",") if part.strip())

    @classmethod
    def parse_all(cls, texts: Sequence[str]) -> tuple[Address, ...]:
        """Read several addresses from settings."""
        return tuple(cls.parse(text, "address") for text in texts)

    def answers(self) -> bool:
        """Tell whether something accepts a TCP connection there within CALL_SECONDS."""
        try:
            socket.create_connection((self.host, self.port), timeout=CALL_SECONDS).close()
        except OSError:
            return False
        return True


class RedisConnection:
    """One authenticated TCP connection to one server, whatever its role.

    Unusable after the first OSError: what was sent may still be executed.
    """

    def __init__(self, address: Address, password: str, timeout: float = CALL_SECONDS, *, username: str = "") -> None:
        self.address = address
        self._timeout = timeout
        self._socket = socket.create_connection((address.host, address.port), timeout=timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._received = bytearray()
            if password:
                self.command("AUTH", *((username, password) if username else (password,)))
        except BaseException:
            self._socket.close()
            raise

    def command(self, *words: Word) -> Reply:
        """Send one command and return the answer."""
        self.send(*words)
        return self.receive(time.monotonic() + self._timeout)

    def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send commands that are executed as one, and return their answers. An error ends the use of the connection."""
        for words in (("MULTI",), *commands, ("EXEC",)):
            self.send(*words)
        deadline = time.monotonic() + self._timeout
        *_, replies = [self.receive(deadline) for _ in range(len(commands) + 2)]
        if not isinstance(replies, list):
            raise ConnectionError(f"Redis at {self.address} did not execute a transaction")
        return replies

    def send(self, *words: Word) -> None:
        """Send one command."""
        encoded = [str(word).encode() for word in words]
        self._socket.settimeout(self._timeout)
        self._socket.sendall(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        )

    def receive(self, deadline: float) -> Reply:
        """Return the next answer; raise TimeoutError at the deadline, on this process's monotonic clock."""
        while (end := self._received.find(b"\r\n")) < 0:
            self._receive_more(deadline)
        line = self._take(end + 2)
        kind, text = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise self._error(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if text == "-1" else self._bulk(deadline, int(text))
        if kind == b"*":
            # An error within a list would leave the rest unread; none of our commands can return one there.
            return None if text == "-1" else [self.receive(deadline) for _ in range(int(text))]
        return text

    def readable(self, seconds: float) -> bool:
        """Wait until there is something to read, which includes the end of the connection."""
        return bool(self._received) or bool(select.select([self._socket], [], [], seconds)[0])

    def _bulk(self, deadline: float, length: int) -> str:
        while len(self._received) < length + 2:
            self._receive_more(deadline)
        return self._take(length + 2)[:-2].decode(errors="replace")

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    def _receive_more(self, deadline: float) -> None:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError(f"Redis at {self.address} closed the connection")
        self._received += data

    def _error(self, text: str) -> Exception:
        if text.startswith(NOT_NOW):
            return ConnectionRefusedError(f"Redis at {self.address}: {text}")
        reason = text.split(".")[0]
        if text.startswith(WRONG_PASSWORD):
            return RedisRefusedError(
                f"Redis at {self.address} refuses this node ({reason}); "
                "the password files of this node and of Redis must be the same."
            )
        return RedisRefusedError(f"Redis at {self.address} refuses a command ({reason}).")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class RedisLink:
    """Calls to the current primary, from any thread, one at a time.

    With several addresses it is the primary with the highest generation, found when a connection is made, and never
    one with a lower generation than was seen before: a former primary may return before it knows that it lost the
    role. A call raises OSError if Redis is unavailable, and RedisRefusedError if Redis refuses it. After an OSError it
    is unknown whether the command was or will be executed; nothing is ever sent twice.
    """

    def __init__(
        self, addresses: Sequence[Address], password: str, timeout: float = CALL_SECONDS, *, username: str = ""
    ) -> None:
        if not addresses:
            raise NodeError("No address of Redis is set; this node's container must name one.")
        self.addresses = tuple(addresses)
        self._password = password
        self._username = username  # empty: the all-powerful user
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: RedisConnection | None = None
        self._generation = 0  # the highest one seen

    def another(self, timeout: float) -> RedisLink:
        """Return another link to the same Redis."""
        link = RedisLink(self.addresses, self._password, timeout, username=self._username)
        link._generation = self._generation
        return link

    @property
    def primary(self) -> Address | None:
        """The server to which this link is connected; None while it has no connection."""
        connection = self._connection
        return connection.address if connection else None

    @property
    def address(self) -> Address:
        """The server that the last call went to, or the first address."""
        return self.primary or self.addresses[0]

    def command(self, *words: Word) -> Reply:
        """Send one command and return the answer."""
        with self._lock:
            connection = self._connected()
            try:
                return connection.command(*words)
            except RedisRefusedError:
                raise  # an answer: the connection is fine
            except BaseException:
                self._drop()
                raise

    def transaction(self, *commands: Sequence[Word]) -> list[Reply]:
        """Send commands that are executed as one, and return their answers."""
        with self._lock:
            connection = self._connected()
            try:
                return connection.transaction(commands)
            except BaseException:  # including a refusal: answers may be left unread
                self._drop()
                raise

    def script(self, lua: str, keys: Sequence[str] = (), args: Sequence[Word] = ()) -> Reply:
        """Run a Lua script; sends its text only to a server that does not know it yet."""
        digest = hashlib.sha1(lua.encode(), usedforsecurity=False).hexdigest()  # Redis's name for it
        try:
            return self.command("EVALSHA", digest, len(keys), *keys, *args)
        except RedisRefusedError as error:
            if "NOSCRIPT" not in str(error):
                raise
        return self.command("EVAL", lua, len(keys), *keys, *args)

    def subscribe(self, *channels: str, idle: float = 1.0) -> Iterator[tuple[str, str] | None]:
        """Yield (channel, message) over a separate connection; None after each ``idle`` seconds without a message.

        Raises OSError when the connection is lost; messages sent meanwhile are lost too.
        """
        connection = self._connect()
        try:
            connection.send("SUBSCRIBE", *channels)
            while True:
                yield _message_within(connection, idle)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        with self._lock:
            self._drop()

    def _connected(self) -> RedisConnection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(OSError):
                connection.close()

    def _connect(self) -> RedisConnection:
        """Connect to the only server, or to the primary with the highest generation; the first one among equals."""
        if len(self.addresses) == 1:
            return self._server(self.addresses[0])
        best, failures = self._best()
        if best is None:
            raise ConnectionRefusedError("no Redis is master: " + "; ".join(failures))
        return best

    def _server(self, address: Address) -> RedisConnection:
        return RedisConnection(address, self._password, self._timeout, username=self._username)

    def _best(self) -> tuple[RedisConnection | None, list[str]]:
        best, failures = None, []
        for address in self.addresses:
            try:
                connection = self._server(address)
                generation = _generation(connection)
            except OSError as error:
                failures.append(f"{address}: {error}")
                continue
            if generation is None or generation < self._generation or (best and generation == self._generation):
                connection.close()
                failures.append(f"{address} is a {'replica' if generation is None else 'former master'}")
                continue
            if best:
                best.close()
            best, self._generation = connection, generation
        return best, failures


def _generation(connection: RedisConnection) -> int | None:
    """Return the generation of a primary, None for a replica."""
    role = connection.command("ROLE")
    if not (isinstance(role, list) and role[0] == "master"):
        return None
    generation = connection.command("GET", GENERATION)
    return int(generation) if isinstance(generation, str) else 0


def _message_within(connection: RedisConnection, seconds: float) -> tuple[str, str] | None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not connection.readable(left):
            return None
        reply = connection.receive(time.monotonic() + CALL_SECONDS)
        if isinstance(reply, list) and reply[0] == "message":
            return str(reply[1]), str(reply[2])
    return None
