"""The gateway's proxy between clients and heads that stall, end one direction, reset or close: what arrives is what was
sent, and nothing is left.

INPUT_EXAMPLES sets how many connections are tried; the seed of the short form is fixed.
"""

import asyncio
import contextlib
import os
import random
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.gateway import Route, Target
from coordination.redis_client import Address
from entrypoints.gateway.proxy import CurrentHead, Switch
from testing.servers import free_port

EXAMPLES = int(os.environ.get("INPUT_EXAMPLES", "90"))
AT_ONCE = 30
LARGEST = 12_000_000  # bytes of one write: more than the kernel buffers of a connection hold
PATIENCE = 60  # seconds
STEPS = ("send", "send", "send", "pause", "stall", "end")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the end of the connection is a reset


@dataclass
class Side:
    """One end of a connection: what it does, what it sent, and what it got."""

    steps: tuple[tuple[str, float], ...]
    ends: str  # "well": it sends its end, and reads up to the other's; or "reset", "close"
    sent: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)

    @classmethod
    def drawn(cls, dice: random.Random) -> "Side":
        """One with random steps."""
        steps = tuple((dice.choice(STEPS), dice.random()) for _ in range(dice.randrange(7)))
        return cls(steps=steps, ends=dice.choices(("well", "reset", "close"), (6, 1, 1))[0])

    async def live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do all that, and close the connection."""
        may_read = asyncio.Event()
        may_read.set()
        reading = asyncio.create_task(self._read(reader, may_read))
        try:
            await self._act(writer, may_read)
            may_read.set()
            if self.ends == "well":
                await asyncio.wait_for(reading, PATIENCE)
        except OSError:
            pass
        finally:
            reading.cancel()
            if self.ends == "reset":
                with contextlib.suppress(OSError):  # the other side was faster
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            else:
                writer.close()

    async def _act(self, writer: asyncio.StreamWriter, may_read: asyncio.Event) -> None:
        ended = False
        for step, share in self.steps:
            if step == "send" and not ended:
                part = random.Random(share).randbytes(int(share**8 * LARGEST))
                self.sent += part
                writer.write(part)
                await writer.drain()
            elif step == "pause":
                await asyncio.sleep(share / 10)
            elif step == "stall":
                may_read.clear()
                asyncio.get_running_loop().call_later(share, may_read.set)
            elif step == "end" and not ended:
                ended = True
                writer.write_eof()
        if self.ends == "well" and not ended:
            writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader, may_read: asyncio.Event) -> None:
        while True:
            await may_read.wait()
            part = await reader.read(65536)
            if not part:
                return
            self.got += part


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def run(seed: int, count: int) -> None:
    """So many connections at once."""
    dice = random.Random(seed)
    pairs = [(Side.drawn(dice), Side.drawn(dice)) for _ in range(count)]
    waiting = asyncio.Lock()  # so that each connection of a client is the next one at the head
    heads: asyncio.Queue[Side] = asyncio.Queue()
    served: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        served.add(task)
        await heads.get_nowait().live(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    port, switch = free_port(), Switch()
    await switch.listen([Route(listen=(f"127.0.0.1:{port}",), target=Target.GCS)])
    switch.turn(CurrentHead(epoch=1, name="alpha", targets={Target.GCS: address}))
    before = open_files()

    async def client(side: Side, other: Side) -> None:
        async with waiting:
            heads.put_nowait(other)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(PATIENCE):
                while not heads.empty():
                    await asyncio.sleep(0.001)
        await side.live(reader, writer)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(client(*pair) for pair in pairs))
        await asyncio.gather(*served)
        while open_files() > before or switch._open or switch._tasks:
            await asyncio.sleep(0.02)
    for side, other in pairs:
        for one, peer in ((side, other), (other, side)):
            assert peer.sent.startswith(one.got)
            if side.ends == other.ends == "well":
                assert one.got == peer.sent
    server.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range((EXAMPLES + AT_ONCE - 1) // AT_ONCE))
async def test_what_arrives_is_what_was_sent_and_nothing_is_left(seed):
    await run(seed, AT_ONCE)
