"""The kernel of an idle notebook is told of its end, and ended; one in use or at work is not."""

import asyncio
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from entrypoints.hooks import marimo_idle
from entrypoints.hooks.marimo_idle import EndIdleKernels, Idleness, in_words, session_of

IDLE, NOTICE = 100.0, 20.0


class Session:
    def __init__(self, status: str | None = "idle") -> None:
        self.told: list[Any] = []
        self.cell = SimpleNamespace(status=status)
        self.session_view = SimpleNamespace(cell_notifications={"a": SimpleNamespace(status=None), "b": self.cell})
        self.app_file_manager = SimpleNamespace(filename="/workspace/notebooks/train.py")

    def notify(self, message: Any, _consumer: Any) -> None:
        self.told.append(message)


class Server:
    """Marimo's manager of sessions, a clock, and what watches both."""

    def __init__(self, **sessions: Session) -> None:
        self.sessions = dict(sessions)
        self.time = 1000.0
        self.idleness = Idleness(idle=IDLE, notice=NOTICE, now=lambda: self.time)
        self.idleness.look(self)

    def close_session(self, identifier: str) -> None:
        del self.sessions[identifier]

    def after(self, seconds: float) -> "Server":
        self.time += seconds
        self.idleness.look(self)
        return self


@pytest.fixture(autouse=True)
def messages(monkeypatch):
    monkeypatch.setattr(marimo_idle, "notice", lambda idle, left: (idle, left))


class TestKernel:
    def test_is_ended_once_nobody_has_used_it_for_long_enough(self, capsys):
        server = Server(one=Session())
        assert "one" in server.after(IDLE - 1).sessions
        assert not server.after(1).sessions
        assert "train.py was idle for 100 seconds" in capsys.readouterr().out

    def test_counts_from_the_last_use(self):
        server = Server(one=Session(), other=Session())
        server.after(IDLE - 1).idleness.use("one")
        assert server.after(IDLE - 1).sessions.keys() == {"one"}
        assert not server.after(1).sessions

    @pytest.mark.parametrize("status", ["running", "queued"])
    def test_of_a_notebook_that_computes_is_not_ended(self, status):
        session = Session(status)
        server = Server(one=session)
        for _ in range(5):
            server.after(IDLE)
        session.cell.status = "idle"
        assert server.after(IDLE - 1).sessions
        assert len(session.told) == 1
        assert not server.after(1).sessions

    def test_of_a_session_that_begins_again_under_its_name_counts_anew(self):
        server = Server(one=Session())
        server.after(IDLE).sessions["one"] = Session()
        server.after(0).after(IDLE - 1)
        assert server.sessions

    def test_is_ended_although_another_session_cannot_be_looked_at(self, capsys):
        server = Server(broken=Session(), one=Session())
        del server.sessions["broken"].session_view
        assert server.after(IDLE - 1).sessions.keys() == {"broken", "one"}
        assert server.after(1).sessions.keys() == {"broken"}
        assert capsys.readouterr().out.count("an idle kernel is not ended: AttributeError") == 1


class TestNotice:
    def test_comes_once_and_says_how_long_there_is(self):
        session = Session()
        server = Server(one=session).after(IDLE - NOTICE - 1)
        assert not session.told
        server.after(1).after(1)
        assert session.told == [(IDLE, NOTICE)]

    def test_comes_again_where_the_notebook_was_used_since(self):
        session = Session()
        server = Server(one=session).after(IDLE - 1)
        server.idleness.use("one")
        server.after(IDLE - 1)
        assert session.told == [(IDLE, 1.0)] * 2


def scope(kind: str, method: str = "POST", **more: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "headers": [(b"marimo-session-id", b"s_1")], **more}


class TestUse:
    def test_is_whatever_a_page_asks_beyond_reading(self):
        assert session_of(scope("http")) == "s_1"
        assert session_of(scope("websocket", query_string=b"session_id=s_2&file=a.py")) == "s_2"

    def test_is_no_reading_and_nothing_without_a_session(self):
        assert session_of(scope("http", "GET")) is None
        assert session_of({"type": "http", "method": "POST", "headers": []}) is None
        assert session_of(scope("websocket", query_string=b"file=a.py")) is None

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(7200, "2 hours"), (5400, "90 minutes"), (600, "10 minutes"), (90, "90 seconds"), (1.2, "1 second")],
    )
    def test_durations_are_said_in_words(self, seconds, words):
        assert in_words(seconds) == words


class TestApplication:
    def test_looks_while_marimo_lives_and_passes_everything_on(self, monkeypatch):
        monkeypatch.setattr(marimo_idle, "LOOKS", 0.0)
        manager = Server()
        looks: list[Any] = []
        seen: list[str] = []

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            seen.append(scope["type"])
            while scope["type"] == "lifespan" and not looks:
                await asyncio.sleep(0)

        async def nothing(*_: Any) -> Any:
            return None

        middleware = EndIdleKernels(app)
        monkeypatch.setattr(middleware._idleness, "look", looks.append)
        living = {"type": "lifespan", "app": SimpleNamespace(state=SimpleNamespace(session_manager=manager))}
        asyncio.run(middleware(living, nothing, nothing))
        asyncio.run(middleware(scope("http"), nothing, nothing))
        assert seen == ["lifespan", "http"]
        assert set(looks) == {manager}

    def test_of_another_marimo_serves_all_the_same(self, monkeypatch, capsys):
        monkeypatch.setattr(marimo_idle, "LOOKS", 0.0)
        asyncio.run(EndIdleKernels(lambda *_: asyncio.sleep(0))._look(SimpleNamespace()))
        assert "idle kernels are not ended" in capsys.readouterr().out

    def test_is_as_it_was_where_no_kernel_is_to_end(self, monkeypatch):
        server: Any = ModuleType("main")
        server.create_starlette_app = own = lambda **_: None
        marimo_idle.hook_server(server)
        assert server.create_starlette_app is own
        monkeypatch.setattr(marimo_idle, "IDLE", IDLE)
        marimo_idle.hook_server(server)
        assert server.create_starlette_app is not own
