"""Databases in the container of Postgres, with a simulated Docker Engine."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from ws.backup import databases
from ws.backup.databases import LIST, LOAD, REMOVE, Database, Server
from ws.errors import WsError

MLFLOW = Database(name="mlflow", owner="mlflow")


def server(monkeypatch: pytest.MonkeyPatch, answer: bytes = b"", put: Callable[..., Any] = lambda *_: True) -> Any:
    """A server, and the scripts that ran in its container."""
    ran: list[str] = []

    def output(_client: Any, _container: str, command: list[str]) -> Iterator[bytes]:
        ran.append(command[2])
        yield answer

    monkeypatch.setattr(databases, "output", output)
    found = SimpleNamespace(attrs={"Config": {"User": "999:999"}}, put_archive=put)
    client: Any = SimpleNamespace(containers=SimpleNamespace(get=lambda _: found))
    return Server(client=client, container="c"), ran


def test_a_name_may_have_spaces(monkeypatch):
    found, ran = server(monkeypatch, b"my runs/mlflow\nqueue/queue\n")
    assert found.databases() == [Database(name="my runs", owner="mlflow"), Database(name="queue", owner="queue")]
    assert ran == [LIST]


def test_dump_that_was_copied_in_part_does_not_stay(monkeypatch):
    def full(*_: Any) -> None:
        raise docker.errors.APIError("no", explanation="no space left on device")

    found, ran = server(monkeypatch, put=full)
    with pytest.raises(WsError, match="cannot be copied to Postgres: no space left"):
        found.load(MLFLOW, [b"a dump"], 6, into="restored")
    assert ran == [REMOVE]


def test_dump_does_not_stay_after_it_was_loaded(monkeypatch):
    found, ran = server(monkeypatch)
    found.load(MLFLOW, [b"a dump"], 6, into="restored")
    assert ran == [LOAD, REMOVE]
