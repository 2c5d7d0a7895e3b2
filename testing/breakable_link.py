"""A TCP proxy on the loopback that a test breaks and mends: a server that goes away and comes back."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from testing.client_servers import HOST

PART = 2**16  # bytes


@dataclass(kw_only=True)
class Link:
    """Forwards connections to a port while it holds; else it ends them, also new ones."""

    to: int
    port: int
    holds: bool = True
    sent: int = 0  # bytes to the server
    ends: list[socket.socket] = field(default_factory=list)

    def fail(self) -> None:
        self.holds = False
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.ends.clear()

    def mend(self) -> None:
        self.holds = True

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = listener.accept()[0]
                if not self.holds:
                    client.close()
                    continue
                server = socket.create_connection((HOST, self.to))
                self.ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with source, contextlib.suppress(OSError):
            while part := source.recv(PART):
                target.sendall(part)
                self.sent += len(part) if target.getpeername()[1] == self.to else 0
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def breakable(to: int) -> Iterator[Link]:
    """A link to a port until the end of the block."""
    with socket.create_server((HOST, 0)) as listener:
        link = Link(to=to, port=listener.getsockname()[1])
        threading.Thread(target=link.accept, args=(listener,), daemon=True).start()
        try:
            yield link
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            link.fail()
