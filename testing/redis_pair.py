"""Two real Redis servers, each behind an address that can be cut off, as two hosts of a LAN have them."""

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.redis import PAIR_CONFIGURATION
from coordination.redis_client import Address, RedisLink
from testing.servers import free_port

PASSWORD = "a password of the pair"
START_SECONDS = 10.0


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until the condition holds. Raises AssertionError when it does not within the time."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


def is_written(persistence: str) -> bool:
    """Whether Redis, by its `INFO persistence`, has nothing left to write to its append-only file or to sync."""
    return "aof_buffer_length:0\r" in persistence and "aof_pending_bio_fsync:0\r" in persistence


class Wire:
    """An address whose connections go to another port, until they are cut."""

    def __init__(self, host: str, target: int) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self._cut = False
        self._listener = socket.create_server((host, 0), backlog=100)
        self.address = Address(host, int(self._listener.getsockname()[1]))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections, and takes none that works."""
        self._cut = True
        for end in list(self._open):
            self._end(end)

    def heal(self) -> None:
        self._cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                incoming, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(incoming,), daemon=True).start()

    def _join(self, incoming: socket.socket) -> None:
        try:
            if self._cut:
                raise ConnectionResetError
            outgoing = socket.create_connection(("127.0.0.1", self._target), timeout=1)
        except OSError:
            incoming.close()
            return
        outgoing.settimeout(None)
        self._open |= {incoming, outgoing}
        for source, sink in ((incoming, outgoing), (outgoing, incoming)):
            threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            self._end(end)

    def _end(self, end: socket.socket) -> None:
        self._open.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


class RedisServer:
    """One of the two, configured as the platform does."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.wire = Wire(host, self._port)
        folder.mkdir()
        (folder / "redis.conf").write_text(
            f'port {self._port}\nbind 127.0.0.1\ndir {folder}\nappendonly yes\nsave ""\n{PAIR_CONFIGURATION}'
            f'requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\n'
        )

    @property
    def address(self) -> Address:
        """Where others find it."""
        return self.wire.address

    def link(self) -> RedisLink:
        return RedisLink((self.address,), PASSWORD)

    def beside(self) -> RedisLink:
        """As a program of its own host reaches it, also when it is cut off."""
        return RedisLink((Address("127.0.0.1", self._port),), PASSWORD)

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", self._folder / "redis.conf"], stdout=subprocess.DEVNULL, cwd=self._folder
        )
        until(lambda: self.beside().command("PING") == "PONG", START_SECONDS)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_data(self) -> None:
        shutil.rmtree(self._folder / "appendonlydir")


@pytest.fixture
def redis_pair(redis_server: Path, tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """The configured primary and the configured replica, both passive, without guards."""
    pair = RedisServer(tmp_path / "first", "127.0.1.1"), RedisServer(tmp_path / "second", "127.0.1.2")
    try:
        for server in pair:
            server.start()
        yield pair
    finally:
        for server in pair:
            server.kill()
            server.wire.close()
