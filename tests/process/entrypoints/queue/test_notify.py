"""Messages to users, with real receivers."""

import asyncio
import contextlib
import http.server
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest

from contracts.queue import Attempt, Channel, JobView, QueueSettings, QueueUser, Submission
from entrypoints.queue import notify
from entrypoints.queue.notify import Notifier

NEVER: Callable[[str], None] = lambda _: None  # noqa: E731


class Receiver:
    """Takes what is posted, or mailed, and answers with the statuses that it was told to."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.statuses: list[int] = []
        self.port = 0

    def wait(self, count: int) -> None:
        until = time.monotonic() + 20
        while len(self.found) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.found) == count


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def webhook() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            if status == 200:
                receiver.found.append(json.loads(text))
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as receiver.port:
        yield receiver


@pytest.fixture
def mail_server() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail\r\n")
            while line := self.rfile.readline().decode().strip().upper():
                if line == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    receiver.found.append(b"".join(lines).decode())
                self.wfile.write(b"250 mail\r\n" if line != "QUIT" else b"221 bye\r\n")

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as receiver.port:
        yield receiver


def settings(*channels: Channel, smtp: str | None = None) -> QueueSettings:
    return QueueSettings(
        stack="gpu", database="", dashboards=(), users={"ana": QueueUser(tell=channels)}, smtp=smtp,
        mail_from="cslr@example.org",
    )  # fmt: skip


def job(name: str = "17ab", **changes: Any) -> JobView:
    of = Submission(entrypoint="python train.py", name="try <1>", environment={"KEY": "secret-8812"})
    values = {
        "id": name, "user": "ana", "submission": of, "state": "ended", "outcome": "failed", "submitted": 0.0,
        "started": 10.0, "ended": 7210.0, "why": None, "expected": None, "message": "exit code 1",
        "attempts": (Attempt(number=1, submission="17ab-1", nodes=("gpu1",), started=10.0, ended=7210.0),),
    }  # fmt: skip
    return JobView(**{**values, **changes})


def until_empty(folder: Path) -> None:
    until = time.monotonic() + 20
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)


@contextlib.contextmanager
def delivering(notifier: Notifier) -> Iterator[Callable[..., object]]:
    """Runs it as the service does; yields what tells it."""
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def run() -> None:
        async with notifier.running():
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        yield lambda *told: loop.call_soon_threadsafe(notifier.tell, *told)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


class TestWebhooks:
    @pytest.mark.parametrize("kind", ["slack", "discord", "webhook"])
    def test_are_told_what_happened_and_what_to_do(self, webhook, tmp_path, kind):
        told = settings(Channel(kind=kind, target="HOOK"))
        environment = {"HOOK": f"http://127.0.0.1:{webhook.port}/{kind}"}
        with delivering(Notifier(told, tmp_path, NEVER, environment)) as tell:
            tell("ana", "failed", job())
            webhook.wait(1)
            until_empty(tmp_path)  # the server has it before its answer was read
        text = json.dumps(webhook.found[0])
        for part in ("17ab", "exit code 1", "2 h 0 min", "ws job logs 17ab"):
            assert part in text
        assert "secret-8812" not in text
        assert list(tmp_path.iterdir()) == []

    def test_others_and_other_events_are_not_told(self, webhook, tmp_path):
        told = settings(Channel(kind="webhook", target="HOOK", events=("failed",)))
        with delivering(Notifier(told, tmp_path, NEVER, {"HOOK": f"http://127.0.0.1:{webhook.port}/"})) as tell:
            tell("bob", "failed", job("1"))
            tell("ana", "succeeded", job("2"))
            tell("ana", "failed", job("3"))
            webhook.wait(1)
        assert webhook.found[0]["job"]["id"] == "3"


class TestFailures:
    def test_it_is_tried_again_until_it_was_delivered_once(self, webhook, tmp_path, monkeypatch):
        monkeypatch.setattr(notify, "PAUSES", (0.05,))
        webhook.statuses = [500, 302, 404]
        said: list[str] = []
        url = f"http://127.0.0.1:{webhook.port}/secret-path"
        notifier = Notifier(settings(Channel(kind="webhook", target="HOOK")), tmp_path, said.append, {"HOOK": url})
        with delivering(notifier) as tell:
            tell("ana", "failed", job())
            tell("ana", "failed", job())
            webhook.wait(1)
            time.sleep(0.2)
        assert len(webhook.found) == 1
        assert [line.rpartition("HTTP ")[2] for line in said] == ["500", "302", "404"]
        assert "secret-path" not in "".join(said)

    def test_a_message_survives_a_restart(self, webhook, tmp_path):
        told = settings(Channel(kind="webhook", target="HOOK"))
        environment: dict[str, str] = {}
        Notifier(told, tmp_path, NEVER, environment).tell("ana", "failed", job())
        environment["HOOK"] = f"http://127.0.0.1:{webhook.port}/"
        with delivering(Notifier(told, tmp_path, NEVER, environment)):
            webhook.wait(1)

    def test_a_receiver_that_does_not_answer_delays_no_other(self, webhook, tmp_path):
        with serving(socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)) as port:
            told = settings(Channel(kind="slack", target="DEAD"), Channel(kind="webhook", target="HOOK"))
            environment = {"DEAD": f"http://127.0.0.1:{port}/", "HOOK": f"http://127.0.0.1:{webhook.port}/"}
            with delivering(Notifier(told, tmp_path, NEVER, environment)) as tell:
                tell("ana", "failed", job())
                webhook.wait(1)

    @pytest.mark.parametrize("text", ["", "{", '{"channel": 1}'])
    def test_a_broken_file_is_dropped(self, webhook, tmp_path, text):
        (tmp_path / "broken.json").write_text(text)
        told = settings(Channel(kind="webhook", target="HOOK"))
        with delivering(Notifier(told, tmp_path, NEVER, {"HOOK": f"http://127.0.0.1:{webhook.port}/"})) as tell:
            tell("ana", "failed", job())
            webhook.wait(1)
            until_empty(tmp_path)  # the server has it before its answer was read
        assert list(tmp_path.iterdir()) == []

    def test_what_cannot_be_delivered_for_a_day_is_given_up(self, tmp_path, monkeypatch):
        monkeypatch.setattr(notify, "LONGEST", 0.0)
        said: list[str] = []
        with delivering(Notifier(settings(Channel(kind="slack", target="HOOK")), tmp_path, said.append, {})) as tell:
            tell("ana", "failed", job())
            until = time.monotonic() + 20
            while not said and time.monotonic() < until:
                time.sleep(0.02)
        assert "HOOK is not set" in said[0]
        assert list(tmp_path.iterdir()) == []


class TestMail:
    def test_is_sent(self, mail_server, tmp_path):
        told = settings(Channel(kind="mail", target="ana@example.org"), smtp=f"127.0.0.1:{mail_server.port}")
        with delivering(Notifier(told, tmp_path, NEVER, {})) as tell:
            tell("ana", "waiting long", job(why="It waits for its turn: 2 jobs go before it.", ended=None))
            mail_server.wait(1)
        mail = message_from_string(mail_server.found[0], policy=policy.default)
        assert (mail["To"], mail["From"]) == ("ana@example.org", "cslr@example.org")
        assert mail["Subject"] == "gpu: job 17ab waits for long: try <1>"
        assert "2 jobs go before it" in mail.get_content()
