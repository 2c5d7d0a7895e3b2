"""Marimo accepts changes only from its own pages."""

import asyncio
import json
from types import ModuleType
from typing import Any

import pytest

from entrypoints.hooks import marimo_origin
from testing.harness import deploy

OWN = "http://127.0.0.1:8080"


@pytest.fixture(autouse=True)
def links(tmp_path, monkeypatch):
    monkeypatch.setattr(marimo_origin, "LINKS", tmp_path / "marimo.json")
    (tmp_path / "marimo.json").write_text(json.dumps({"origins": ["https://gpuhost.example.org"]}))


def asked(kind: str, method: str, origin: str | None, host: str = "127.0.0.1:8080") -> list[dict[str, Any]]:
    """What is sent back; the application itself says 200."""
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"status": 200})

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"Host", host.encode())] + ([(b"Origin", origin.encode())] if origin else [])
    scope = {"type": kind, "method": method, "headers": headers}
    asyncio.run(marimo_origin.OwnPages(app)(scope, receive, send))
    return sent


class TestOrigin:
    @pytest.mark.parametrize("origin", [None, OWN, OWN.upper(), "https://gpuhost.example.org"])
    @pytest.mark.parametrize("kind", ["http", "websocket"])
    def test_of_its_own_pages_and_of_programs_is_answered(self, kind, origin):
        assert asked(kind, "POST", origin)[0] == {"status": 200}

    @pytest.mark.parametrize("host", ["localhost:18080", "gpuhost.example.org", "[::1]:8080"])
    def test_is_its_own_by_whatever_tunnel(self, host):
        assert asked("websocket", "GET", f"http://{host}", host)[0] == {"status": 200}

    @pytest.mark.parametrize(
        "origin",
        ["http://127.0.0.1:5000", "http://evil.example", "null", "http://127.0.0.1", "http://gpuhost.example.org"],
    )
    def test_of_others_is_refused(self, origin):
        assert asked("http", "POST", origin)[0]["status"] == 403
        assert asked("websocket", "GET", origin) == [{"type": "websocket.close", "code": 1008}]

    def test_of_others_may_read_what_browsers_let_them(self):
        assert asked("http", "GET", "http://evil.example")[0] == {"status": 200}

    def test_is_its_own_alone_where_no_list_is(self):
        marimo_origin.LINKS.unlink()
        assert asked("http", "POST", "https://gpuhost.example.org")[0]["status"] == 403
        assert asked("http", "POST", OWN)[0] == {"status": 200}

    def test_is_looked_at_before_all_else_of_marimo(self):
        class Application:
            def __init__(self) -> None:
                self.before: list[Any] = []

            def add_middleware(self, middleware: Any) -> None:
                self.before.append(middleware)

        server: Any = ModuleType("main")
        server.create_starlette_app = lambda **_: Application()
        marimo_origin.hook_server(server)
        assert server.create_starlette_app(base_url="").before == [marimo_origin.OwnPages]


class TestStack:
    def test_says_where_notebooks_are_without_replacing_them(self, tmp_path):
        plain = deploy({}, state_home=tmp_path)
        named = deploy({"network": {"names": ["gpuhost.example.org"]}}, state_home=tmp_path)
        assert plain.containers["marimo"].inputs == named.containers["marimo"].inputs
        origins = json.loads((named.state / "links" / "marimo.json").read_text())["origins"]
        assert "https://gpuhost.example.org" in origins
