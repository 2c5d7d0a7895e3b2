"""nginx in front of notebooks refuses what pages of other servers ask, WebSockets included. About a minute."""

import asyncio
import secrets
from collections.abc import Iterator

import aiohttp
import pytest

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed

pytestmark = pytest.mark.live
OF_ANN, OF_ZOE, HEALTH = 28631, 28632, 28633
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-origins", "subnet": "10.233.0.0/24", "names": ["lab.example.org"]},
        "redis": {"port": 28634},
        "health": {"port": HEALTH},
        "marimo": {"enabled": True, "memory": "2g", "users": {"zoe": {"port": OF_ZOE}, "ann": {"port": OF_ANN}}},
        "tls": {"source": "generated"},
    },
)
OWN = ("https://127.0.0.1:{port}", "https://lab.example.org:{port}")
FOREIGN = (
    "https://evil.example",
    "https://127.0.0.1",  # another port is another page
    "http://127.0.0.1:{port}",
    "https://127.0.0.1:{port}0",
    "https://127.0.0.1:{port}.evil.example",
    "https://evil.example 127.0.0.1:{port}",
    f"https://127.0.0.1:{HEALTH}",
    "https://labxexample.org:{port}",
    "null",  # a page in a sandbox
)


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-origins", SETTINGS, tmp_path_factory.mktemp("origins")) as stack:
        yield stack


def connect(stack: LiveStack, port: int, person: str, origin: str | None) -> tuple[int, str | None]:
    """The status of a WebSocket that somebody opens who is logged in, and who answered."""
    token = (stack.state / f"generated/marimo-token-{person}").read_text()
    page = f"https://127.0.0.1:{port}"
    headers = {"Origin": origin} if origin else {}
    kernel = f"s{secrets.token_hex(4)}"

    async def ask() -> tuple[int, str | None]:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(ssl=False)) as session:
            async with session.get(f"{page}/?access_token={token}", allow_redirects=False) as answer:
                assert answer.status == 303
            try:
                async with session.ws_connect(
                    f"{page}/ws?session_id={kernel}&file=__new__{kernel}", headers=headers
                ) as socket:
                    assert "kernel-ready" in str((await socket.receive(timeout=60)).data)
                    return 101, None
            except aiohttp.WSServerHandshakeError as refused:
                return refused.status, refused.headers.get("Server") if refused.headers else None

    return asyncio.run(ask())


@pytest.mark.parametrize(("port", "person"), [(OF_ZOE, "zoe"), (OF_ANN, "ann")])
class TestNotebooks:
    def test_open_from_their_own_pages_and_from_programs(self, stack, port, person):
        for origin in (*(one.format(port=port) for one in OWN), None):
            assert connect(stack, port, person, origin) == (101, None), origin

    @pytest.mark.parametrize("origin", FOREIGN)
    def test_do_not_open_from_other_pages(self, stack, port, person, origin):
        """nginx refuses them, before Marimo is asked."""
        assert connect(stack, port, person, origin.format(port=port)) == (403, "nginx")
