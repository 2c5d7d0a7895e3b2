"""A reverse proxy like nginx: maps paths to servers and forwards websockets."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
HEAD_BYTES = 2**16


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where the paths below a prefix lead."""

    port: int  # on 127.0.0.1
    keeps_prefix: bool = True  # `proxy_pass http://host:port;`; without: `proxy_pass http://host:port/;`


@dataclass(frozen=True, kw_only=True)
class ReverseProxy:
    """One port for several servers."""

    routes: Mapping[str, Route]
    keeps_host: bool = True  # `proxy_set_header Host $http_host;`; nginx's default is the server's own address

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """One connection, for one request or one websocket."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, version = head.partition("\r\n")[0].split(" ")
            prefix = next((one for one in self.routes if path == one or path.startswith(f"{one}/")), None)
            if prefix is None:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                route = self.routes[prefix]
                way = path if route.keeps_prefix else path.removeprefix(prefix) or "/"
                upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", route.port)
                upstream_writer.write(
                    f"{method} {way} {version}\r\n{self._headers(head, route)}\r\n\r\n".encode("latin-1")
                )
                await asyncio.gather(pass_on(reader, upstream_writer), pass_on(upstream_reader, writer))
        writer.close()

    def _headers(self, head: str, route: Route) -> str:
        lines = head.strip().split("\r\n")[1:]
        upgrade = any(line.lower().startswith("upgrade:") for line in lines)
        dropped = {*(() if upgrade else ("connection",)), *(() if self.keeps_host else ("host",))}
        kept = [line for line in lines if line.partition(":")[0].lower() not in dropped]
        kept += [] if upgrade else ["Connection: close"]
        return "\r\n".join(kept + ([] if self.keeps_host else [f"Host: 127.0.0.1:{route.port}"]))


async def pass_on(reader: Reader, writer: Writer) -> None:
    """Until one side ends."""
    with contextlib.suppress(OSError):
        while part := await reader.read(HEAD_BYTES):
            writer.write(part)
            await writer.drain()
        writer.write_eof()


@contextlib.contextmanager
def running(proxy: ReverseProxy, port: int) -> Iterator[None]:
    """The proxy on a port of this host, for as long as it is needed."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    starting = asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=HEAD_BYTES)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
