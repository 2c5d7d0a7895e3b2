"""`ws mlflow` on the command line: what it asks for, and what it does where nobody can be asked."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ws import cli, terminal
from ws.mlflow import maintenance


@pytest.fixture
def did(monkeypatch) -> list[str]:
    """What was done to MLflow's data."""
    done: list[str] = []
    monkeypatch.setattr(maintenance, "database_restore", lambda _, file: done.append(f"restored {file.name}"))
    monkeypatch.setattr(maintenance, "garbage_collection", lambda _, options, __: done.append(f"removed {options}"))
    return done


RESTORE = ["mlflow", "restore", "/dumps/runs of May.dump"]
REMOVE = ["mlflow", "gc", "--older-than", "30d", "--run-ids", "a,b"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (RESTORE, "ws mlflow restore '/dumps/runs of May.dump' -s dev --yes"),
        (REMOVE, "ws mlflow gc -s dev --older-than=30d --run-ids a,b --yes"),
    ],
)
def test_without_a_terminal_nothing_is_changed(did, capsys, arguments, remedy):
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert "Nothing was changed" in said
    assert remedy in said
    assert did == []


@pytest.mark.parametrize(
    ("arguments", "done"),
    [(RESTORE, "restored runs of May.dump"), (REMOVE, "removed ['--older-than=30d', '--run-ids', 'a,b']")],
)
def test_with_yes_it_is(did, arguments, done):
    assert cli.main([*arguments, "--yes"]) == 0
    assert did == [done]


@pytest.mark.parametrize(("answer", "done"), [(True, 1), (False, 0)])
def test_on_a_terminal_the_answer_decides(did, monkeypatch, answer, done):
    says: Callable[[str], bool] = lambda _: answer  # noqa: E731
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    monkeypatch.setattr("typer.confirm", says)
    assert cli.main(["mlflow", "restore", str(Path("/dumps/x"))]) == (not answer)
    assert len(did) == done
