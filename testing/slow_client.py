"""Clients of an HTTP server on this host that send what and when they like."""

import asyncio

PATIENCE = 30  # seconds


async def said(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that is answered to a request that is sent in parts, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


async def send_for_ever(port: int, head: bytes, *, pause: float) -> None:
    """Sends a byte after the other. Raises ConnectionError once the server has had enough; what it said may be lost."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(pause)
    finally:
        writer.close()


async def refused_beyond(most: int, port: int, request: bytes) -> None:
    """Opens as many connections as the server takes: a further one is refused, until others are gone."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(most)]
    try:
        refused = await said(port, request)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections" in refused
        idle.pop()[1].close()
        idle.pop()[1].close()
        await until_answered(port, request)
    finally:
        for _, writer in idle:
            writer.close()


async def until_answered(port: int, request: bytes) -> None:
    """Tries again until the answer is 200."""
    async with asyncio.timeout(PATIENCE):
        while not (await said(port, request)).startswith(b"HTTP/1.1 200 "):
            await asyncio.sleep(0.1)
