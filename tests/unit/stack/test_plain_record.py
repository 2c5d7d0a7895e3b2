"""What the program records of a plain `pulumi up`."""

import pytest

from stack import new_record, plain_record
from stack.history import History, Outcome
from stack.identity import ASKS, StackIdentity
from stack.stack import Stack

IDENTITY = StackIdentity(project="cslr", stack="dev")


@pytest.fixture
def begin(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(new_record, "commit", lambda: "abc")
    for module in (plain_record, new_record):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")

    def run(environment=None):
        stack = Stack(
            identity=IDENTITY, config=lambda _: None, dry_run=False, python="python", environment=environment or {}
        )
        return plain_record.begin(stack)

    return run


def test_the_beginning_with_an_outcome_that_is_not_known(begin):
    begin({"SUDO_USER": "anna"})
    (record,) = History(IDENTITY).records()
    assert (record.outcome, record.engine, record.commit) == (Outcome.UNKNOWN, "pulumi", "abc")
    assert record.files == {"Pulumi.dev.yaml": "config: {}\n"}
    assert record.who.startswith("anna")


def test_the_verification_that_comes_after_everything_else_says_that_it_is_done(begin):
    begin()("13 of 13 passed")
    (record,) = History(IDENTITY).records()
    assert (record.outcome, record.verification) == (Outcome.DONE, "13 of 13 passed")
    assert record.seconds is not None


def test_nothing_where_ws_runs_pulumi_and_writes_the_record_itself(begin):
    begin({ASKS: "1"})("13 of 13 passed")
    assert History(IDENTITY).records() == []
