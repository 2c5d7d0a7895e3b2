"""The gateway: real connections through it, its reaction to a moving head, and its reports about this host."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.gateway import Route, Target
from coordination.errors import NodeError
from coordination.lease import prefix
from coordination.redis_client import Address, RedisLink
from entrypoints.gateway import gateway
from entrypoints.gateway.gateway import BLIND_SECONDS, Reachability
from entrypoints.gateway.proxy import DEAD_MILLISECONDS, CurrentHead, Switch
from testing.gateway import GatewayProcess, settings
from testing.harness import PROJECT
from testing.redis_users import REDIS_PASSWORD
from testing.servers import free_port

ROOT = PROJECT


class Echo:
    """A head's port: sends back what it gets, with its name in front."""

    def __init__(self, name: str, *, ends_first: bool = False) -> None:
        self.name = name
        self.ends_first = ends_first  # after its name, without waiting for the client
        self.connections = 0
        self.address: Address
        self._server: asyncio.Server

    async def __aenter__(self) -> "Echo":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(f"{self.name}:".encode())
        if self.ends_first:
            writer.write_eof()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


def head(server: Echo, epoch: int = 1) -> CurrentHead:
    return CurrentHead(epoch, server.name, {Target.GCS: server.address})


@pytest_asyncio.fixture
async def switch() -> AsyncIterator[tuple[Switch, int]]:
    port = free_port()
    switch = Switch()
    await switch.listen([Route(listen=(f"127.0.0.1:{port}",), target=Target.GCS)])
    yield switch, port
    switch.turn(None)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def until_end(reader: asyncio.StreamReader) -> bytes:
    """Return what still comes before the connection ends, which must be at once."""
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 1)
    return b""


@pytest.mark.asyncio
class TestConnections:
    async def test_bytes_pass_both_ways_until_both_sides_have_ended(self, switch):
        switching, port = switch
        async with Echo("alpha") as alpha:
            switching.turn(head(alpha))
            reader, writer = await connect(port)
            sent = os.urandom(3_000_000)
            writer.write(sent)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b"alpha:" + sent

    @pytest.mark.parametrize("first", ["client", "head"])
    async def test_nothing_is_left_of_a_connection_that_both_sides_have_ended(self, switch, first):
        switching, port = switch
        async with Echo("alpha", ends_first=first == "head") as alpha:
            switching.turn(head(alpha))
            before = open_files()
            for _ in range(20):
                reader, writer = await connect(port)
                if first == "client":
                    writer.write_eof()
                assert await asyncio.wait_for(reader.read(), 10) == b"alpha:"
                writer.close()
                await writer.wait_closed()
            deadline = asyncio.get_running_loop().time() + 5
            while open_files() > before and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.05)
            assert open_files() <= before

    async def test_client_that_reads_nothing_for_a_while_loses_nothing(self, switch):
        switching, port = switch
        sent = os.urandom(1_000_000) * 30  # more than the kernel buffers of two connections hold
        served = asyncio.Event()

        async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            await writer.drain()
            writer.close()
            served.set()

        server = await asyncio.start_server(send, "127.0.0.1", 0)
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        switching.turn(CurrentHead(1, "alpha", {Target.GCS: address}))
        reader, writer = await connect(port)
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()  # such as in a debugger
        await asyncio.sleep(2 * DEAD_MILLISECONDS / 1000)
        assert not served.is_set()
        writer.transport.resume_reading()
        assert await asyncio.wait_for(reader.read(), 30) == sent
        server.close()

    async def test_what_is_sent_before_the_head_has_accepted_is_not_lost(self, switch):
        switching, port = switch
        async with Echo("alpha") as alpha:
            switching.turn(head(alpha))
            for _ in range(20):
                connection = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
                connection.sendall(b"first")
                connection.shutdown(socket.SHUT_WR)
                reader, _ = await asyncio.open_connection(sock=connection)
                assert await asyncio.wait_for(reader.read(), 10) == b"alpha:first"

    async def test_without_a_head_a_connection_ends_at_once(self, switch):
        reader, _ = await connect(switch[1])
        assert await until_end(reader) == b""

    async def test_with_a_head_that_refuses_a_connection_ends_at_once(self, switch):
        switching, port = switch
        switching.turn(CurrentHead(1, "alpha", {Target.GCS: Address("127.0.0.1", free_port())}))
        reader, _ = await connect(port)
        assert await until_end(reader) == b""

    async def test_a_head_that_moves_ends_all_connections_and_gets_the_next(self, switch):
        switching, port = switch
        async with Echo("alpha") as alpha, Echo("beta") as beta:
            switching.turn(head(alpha))
            old = [await connect(port) for _ in range(5)]
            assert [await reader.readexactly(6) for reader, _ in old] == [b"alpha:"] * 5
            assert switching.turn(head(beta, epoch=2))
            assert [await until_end(reader) for reader, _ in old] == [b""] * 5
            reader, _ = await connect(port)
            assert await reader.readexactly(5) == b"beta:"

    async def test_another_epoch_at_the_same_address_is_another_head(self, switch):
        switching, port = switch
        async with Echo("alpha") as alpha:
            switching.turn(head(alpha))
            reader, _ = await connect(port)
            await reader.readexactly(6)
            assert not switching.turn(head(alpha))
            assert switching.turn(head(alpha, epoch=2))
            assert await until_end(reader) == b""

    async def test_a_connection_in_the_making_does_not_reach_a_head_that_has_gone(self, switch):
        switching, port = switch
        async with Echo("alpha") as alpha:
            switching.turn(head(alpha))
            reader, writer = await connect(port)
            switching.turn(None)
            writer.write(b"late")
            assert await until_end(reader) in (b"", b"alpha:")
            reader, _ = await connect(port)
            assert await until_end(reader) == b""

    async def test_a_slow_reader_holds_the_sender_back(self, switch):
        switching, port = switch
        received = asyncio.Event()

        async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    writer.write(bytes(100_000))
                    await writer.drain()
            received.set()

        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        switching.turn(CurrentHead(1, "a", {Target.GCS: Address("127.0.0.1", server.sockets[0].getsockname()[1])}))
        reader, _ = await connect(port)
        await asyncio.sleep(0.5)
        assert not received.is_set()
        assert len(await asyncio.wait_for(reader.readexactly(2000 * 100_000), 10)) == 2000 * 100_000
        server.close()

    async def test_a_port_that_is_taken_is_one_sentence(self, switch):
        _, port = switch
        with pytest.raises(NodeError, match=rf"127.0.0.1:{port} \(gcs\): Address already in use"):
            await Switch().listen([Route(listen=(f"127.0.0.1:{port}",), target=Target.GCS)])


class TestSight:
    def test_a_head_that_was_reached_is_seen(self):
        reachability = Reachability()
        reachability.attempt(5, reached=True, now=10.0)
        assert (reachability.sees(5, 10.5), reachability.blind(5, 10.5)) == (5, 0)

    def test_failures_for_some_seconds_are_blindness_and_a_success_ends_it(self):
        reachability = Reachability()
        reachability.attempt(5, reached=True, now=10.0)
        reachability.attempt(5, reached=False, now=11.0)
        assert (reachability.sees(5, 12.0), reachability.blind(5, 12.0)) == (5, 0)
        reachability.attempt(5, reached=False, now=12.0)
        now = 11.0 + BLIND_SECONDS
        assert (reachability.sees(5, now), reachability.blind(5, now)) == (0, 5)
        reachability.attempt(5, reached=True, now=now)
        assert (reachability.sees(5, now), reachability.blind(5, now)) == (5, 0)

    def test_nothing_is_said_about_another_epoch(self):
        reachability = Reachability()
        reachability.attempt(5, reached=False, now=10.0)
        assert (reachability.sees(6, 100.0), reachability.blind(6, 100.0)) == (0, 0)
        reachability.attempt(6, reached=False, now=100.0)
        assert reachability.blind(6, 101.0) == 0


class TestSettings:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("host", None),
            ("routes", "no"),
            ("routes[0].target", [{"listen": ["127.0.0.1:6379"], "target": "moon"}]),
            ("redis", "127.0.0.1:6381"),
            ("facts", []),
        ],
    )
    def test_a_mistake_names_its_field(self, field, value, monkeypatch):
        document = json.loads(dump(settings()))
        monkeypatch.setenv(SETTINGS_VARIABLE, json.dumps({**document, field.partition("[")[0]: value}))
        with pytest.raises(NodeError, match=rf"CSLR_SETTINGS: {re.escape(field)}"):
            gateway.run()


def wait_until(true, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def named_server(name: str):
    """A head's port that says its name, in a thread's place: the backlog of a listening socket and one answer each."""
    program = (
        "import socket, sys; server = socket.create_server(('127.0.0.1', 0));"
        "print(server.getsockname()[1], flush=True)\n"
        "while True: server.accept()[0].sendall(sys.argv[1].encode())"
    )
    process = subprocess.Popen([sys.executable, "-c", program, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield Address("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def elect(link: RedisLink, host: str, epoch: int, gcs: Address) -> None:
    fields = ("host", host, "instance", "i", "epoch", epoch, "incarnation", "a1", "ready", 1, "gcs", gcs)
    link.command("HSET", prefix("cslr-lab") + "lease", *map(str, fields), "client", str(gcs), "dashboard", str(gcs))
    link.command("PUBLISH", prefix("cslr-lab") + "events", "ready")


class TestProgram:
    def test_it_serves_before_there_is_a_head_and_follows_the_lease(self, tmp_path, redis_link, redis_address):
        with GatewayProcess(tmp_path, redis_address) as process:
            assert process.reaches() == ""
            with named_server("alpha") as alpha, named_server("beta") as beta:
                elect(redis_link, "alpha", 1, alpha)
                wait_until(lambda: process.reaches() == "alpha", 3)
                elect(redis_link, "beta", 2, beta)
                began = time.monotonic()
                wait_until(lambda: process.reaches() == "beta", 3)
                assert time.monotonic() - began < 0.5  # by the event, sooner than it looks by itself
            redis_link.command("DEL", prefix("cslr-lab") + "lease")
            wait_until(lambda: "no head" in process.log.read_text(), 3)

    @pytest.fixture
    def record(self, redis_link):
        """What the gateway reports."""

        def read() -> dict[str, object]:
            text = redis_link.command("HGET", prefix("cslr-lab") + "members", "alpha")
            return json.loads(str(text)) if text else {}

        return read

    def test_it_reports_this_host_and_what_it_sees(self, tmp_path, redis_link, redis_address, record):
        facts = {"subnet": "172.28.0.0/16"}
        with GatewayProcess(tmp_path, redis_address, facts=facts), named_server("alpha") as alpha:
            elect(redis_link, "alpha", 7, alpha)
            wait_until(lambda: record().get("sees") == 7)
            assert (record()["address"], record()["candidate"], record()["blind"]) == ("127.0.0.1", True, 0)
            assert record()["facts"] == {"subnet": "172.28.0.0/16"}
            elect(redis_link, "beta", 8, Address("127.0.0.1", free_port()))
            wait_until(lambda: (record()["sees"], record()["blind"]) == (0, 8))

    def test_without_redis_the_last_head_stays(self, redis_server, tmp_path):
        port, password = free_port(), tmp_path / "redis.conf"
        password.write_text(f'port {port}\nbind 127.0.0.1\nrequirepass "{REDIS_PASSWORD}"\nsave ""\n')
        server = subprocess.Popen([redis_server, password], cwd=tmp_path, stdout=subprocess.DEVNULL)
        try:
            wait_until(Address("127.0.0.1", port).answers)
            with (
                GatewayProcess(tmp_path, f"127.0.0.1:{port}") as process,
                named_server("alpha") as alpha,
            ):
                elect(RedisLink((Address("127.0.0.1", port),), REDIS_PASSWORD), "alpha", 1, alpha)
                wait_until(lambda: process.reaches() == "alpha")
                server.kill()
                server.wait()
                wait_until(lambda: "Redis does not answer" in process.log.read_text())
                assert process.reaches() == "alpha"
        finally:
            server.kill()
            server.wait()

    def test_a_static_head_needs_no_redis_and_is_said(self, tmp_path):
        with (
            named_server("elsewhere") as there,
            GatewayProcess(tmp_path, static_head={"gcs": str(there)}) as process,
        ):
            assert process.reaches() == "elsewhere"
            assert "election is off" in process.log.read_text()

    def test_a_static_head_is_no_reason_not_to_report(self, tmp_path, redis_address, record):
        facts = {"subnet": "172.28.0.0/16"}
        with GatewayProcess(tmp_path, redis_address, static_head={"gcs": "127.0.0.1:1"}, facts=facts):
            wait_until(lambda: record().get("facts") == {"subnet": "172.28.0.0/16"})
            assert (record()["sees"], record()["blind"]) == (0, 0)

    def test_a_frozen_gateway_is_unhealthy_and_a_stopped_one_ends_cleanly(self, tmp_path, monkeypatch):
        with GatewayProcess(tmp_path, static_head={"gcs": "127.0.0.1:1"}) as process:
            monkeypatch.setenv("TMPDIR", str(tmp_path))
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
            assert gateway.health() == 0
            monkeypatch.setattr(gateway, "STALE_SECONDS", 1.5)
            process.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: gateway.health() == 1, 5)
            process.process.send_signal(signal.SIGCONT)
            process.process.terminate()
            assert process.process.wait(5) == 0
