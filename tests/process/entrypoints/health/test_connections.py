"""The health service and clients that are slow, many, or no clients: all others are answered."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from contracts.health import HealthSettings
from entrypoints.health.connections import Connections
from entrypoints.health.server import make_application
from testing.servers import free_port
from testing.slow_client import refused_beyond, said, send_for_ever

MOST = 20
SECONDS = 0.5  # until a request must be whole
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest_asyncio.fixture
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """Of the service's own pages, with small bounds."""
    application = make_application(HealthSettings(stack="dev", secrets=tmp_path))
    connections = Connections(most=MOST, seconds=getattr(request, "param", SECONDS))
    application.middlewares[:] = [connections.middleware]
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server
    port = free_port()
    listening = await connections.listen(runner.server, port)
    watch = asyncio.create_task(connections.watch(runner.server))
    yield port
    watch.cancel()
    listening.close()
    await runner.cleanup()


@pytest.mark.asyncio
class TestAClient:
    @pytest.mark.parametrize("sent", [b"", b"GET ", b"GET /ping HTTP/1.1\r\nHost: x\r\n", b"\r\n" * 3])
    async def test_that_sends_half_a_request_is_let_go(self, port, sent):
        answer = await said(port, sent)
        assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))

    async def test_that_was_answered_and_is_silent_is_let_go_without_a_word(self, port):
        answer = await said(port, PING.replace(b"Connection: close\r\n", b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"408" not in answer

    async def test_that_sends_byte_by_byte_is_let_go(self, port):
        with pytest.raises(ConnectionError):
            await send_for_ever(port, b"GET /ping HTTP/1.1\r\nX: ", pause=SECONDS / 20)

    @pytest.mark.parametrize(
        "host", [b"a:99999999", b"a:x", b"[", b"[::1", b"", b"a b", b"\xff", b"a" * 5000, b"x:-1", b"%zz"]
    )
    @pytest.mark.parametrize("path", [b"/ping", b"/", b"/nowhere"])
    async def test_that_names_a_strange_host_is_answered(self, port, path, host):
        answer = await said(port, b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, host))
        assert answer[9:12] in (b"200", b"400", b"404"), answer[:200]

    @pytest.mark.parametrize(
        "request_", [
            b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", b"DELETE /ping HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /%00%ff%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
            b"POST /ping HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )  # fmt: skip
    async def test_that_speaks_another_language_gets_4xx(self, port, request_):
        answer = await said(port, request_)
        assert answer[9:10] == b"4", answer[:200]


@pytest.mark.asyncio
@pytest.mark.parametrize("port", [600.0], indirect=True)
async def test_more_connections_than_the_bound_are_refused_until_others_are_gone(port):
    await refused_beyond(MOST, port, PING)
