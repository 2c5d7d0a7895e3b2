"""Clients that are slow, silent or many: uvicorn lets them go, and answers all others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from entrypoints.bounded_http import BoundedProtocol
from testing.servers import free_port
from testing.slow_client import PATIENCE, refused_beyond, said, send_for_ever

MOST = 20
SECONDS = 1.0
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Impatient(BoundedProtocol):
    """The same with small bounds."""

    most = MOST
    seconds = SECONDS


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, waits for `/slow`, and answers."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(2.5 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest_asyncio.fixture
async def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(Impatient, "seconds", getattr(request, "param", SECONDS))
    config = uvicorn.Config(application, port=free_port(), http=Impatient, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # not `serve`, which takes the signals of this process
    async with asyncio.timeout(PATIENCE):
        while not server.started:
            await asyncio.sleep(0.01)
    yield config.port
    server.should_exit = server.force_exit = True
    await task


@pytest.mark.asyncio
class TestAClient:
    @pytest.mark.parametrize("sent", [b"", b"GET ", b"GET / HTTP/1.1\r\nHost: a\r\n", HEAD, HEAD + b"\r\n12345"])
    async def test_that_stops_within_a_request_is_let_go(self, port, sent):
        assert (await said(port, sent)).startswith(b"HTTP/1.1 408 ")

    async def test_that_sends_a_head_byte_by_byte_is_let_go(self, port):
        with pytest.raises(ConnectionError):
            await send_for_ever(port, b"GET / HTTP/1.1\r\nX: ", pause=SECONDS / 20)

    async def test_that_sends_a_slow_body_is_answered(self, port):
        head = HEAD.replace(b"10", b"30") + b"Connection: close\r\n\r\n"
        answer = await said(port, head, *[b"x"] * 30, pause=SECONDS / 20)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"x" * 30)

    async def test_that_waits_for_a_slow_answer_gets_it(self, port):
        assert (await said(port, GET.replace(b"GET /", b"GET /slow"))).startswith(b"HTTP/1.1 200 ")

    async def test_that_was_answered_and_is_silent_is_let_go_without_a_word(self, port):
        answer = await said(port, GET.replace(b"Connection: close\r\n", b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"408" not in answer


@pytest.mark.asyncio
@pytest.mark.parametrize("port", [600.0], indirect=True)
async def test_more_connections_than_the_bound_are_refused_until_others_are_gone(port):
    await refused_beyond(MOST, port, GET)
