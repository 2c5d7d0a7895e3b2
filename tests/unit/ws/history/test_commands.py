"""`ws history` on the command line, and its completion."""

import json

import pytest
import typer

from stack.history import History, Record
from stack.identity import StackIdentity
from ws import cli, completion
from ws.pulumi import cli as pulumi_cli
from ws.pulumi import updates

IDENTITY = StackIdentity(project="cslr", stack="dev")


@pytest.fixture
def history(tmp_path, monkeypatch) -> History:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(pulumi_cli, "find", lambda: None)
    kept = History(IDENTITY)
    for number, outcome in enumerate(("done", "failed", "unknown")):
        record = {
            "operation": "up", "engine": "embedded", "who": "anna", "started": 1.7e9 + number, "version": "0.2.0",
            "outcome": outcome, "files": {"Pulumi.dev.yaml": "config: {}\n"},
        }  # fmt: skip
        kept.begin(Record.model_validate(record))
    return kept


def test_lists_the_last_runs(history, capsys):
    assert cli.main(["history", "--last", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["No.", "2", "3"]


def test_shows_one_in_full(history, capsys):
    assert cli.main(["history", "2"]) == 0
    assert "Outcome  failed" in capsys.readouterr().out
    assert cli.main(["history", "9"]) == 1
    assert "has no number 9" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["history"], ["history", "--json"], ["rollback", "7"]])
def test_a_damaged_record_is_named_with_how_to_go_on(history, capsys, arguments):
    damaged = history.folder / "000002.json"
    damaged.write_text('{"number": 2')
    cli.main(arguments)
    said = capsys.readouterr()
    text = " ".join((said.err if "rollback" not in arguments else said.out).split())
    assert (
        f"1 record of the history cannot be read: damaged, or of another version. To go on without: rm {damaged}"
        in text
    )
    if arguments[-1] == "--json":
        assert [one["number"] for one in json.loads(said.out)] == [1, 3]


def test_as_json(history, capsys):
    assert cli.main(["history", "--json"]) == 0
    assert [one["number"] for one in json.loads(capsys.readouterr().out)] == [1, 2, 3]
    assert cli.main(["history", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == {"Pulumi.dev.yaml": "config: {}\n"}


def test_asks_pulumi_how_plain_runs_ended_where_its_cli_is(history, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pulumi_cli, "find", lambda: tmp_path / "pulumi")
    known = [{
        "kind": "update", "result": "failed", "startTime": "2023-11-14T22:13:20.000Z",
        "endTime": "2023-11-14T22:14:00.000Z",
    }]  # fmt: skip
    monkeypatch.setattr(updates, "updates", lambda *_: known)
    assert cli.main(["history", "3"]) == 0
    assert "Outcome  failed" in capsys.readouterr().out


def test_of_a_stack_without_one_says_when_it_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cli.main(["history"]) == 0
    assert "no history yet" in capsys.readouterr().out


def test_numbers_are_completed(history):
    context = typer.Context(typer.main.get_command(cli.app))
    context.params = {"stack": "dev"}
    assert completion.history(context, "") == [("1", "up, done"), ("2", "up, failed"), ("3", "up, unknown")]
    assert completion.history(context, "2") == [("2", "up, failed")]
