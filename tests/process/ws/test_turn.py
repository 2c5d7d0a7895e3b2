"""Commands that change a stack exclude each other for as long as they run, whatever the engine does meanwhile."""

import subprocess
import sys

import pytest

from testing.harness import PROJECT
from ws import cli
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.terminal import FAILED

HOLDER = """
import sys, time
from stack.identity import StackIdentity
from ws.turn import turn
with turn(StackIdentity(project="cslr", stack="dev"), "ws up --rolling"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def rolling(tmp_path, monkeypatch):
    """Another process that replaces nodes, between two runs of its engine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")  # whatever is not refused must reach no stack
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("words", ["up", "up --rolling", "down --yes", "rollback --yes"])
def test_beside_a_rolling_replacement_every_other_is_refused(rolling, monkeypatch, capsys, words):
    monkeypatch.setattr(Session, "prepare_host", lambda _: None)
    monkeypatch.setattr(Session, "choose", lambda *_: Choice(name=EngineName.EMBEDDED))
    monkeypatch.setattr(Session, "maker", EngineName.EMBEDDED)
    assert cli.main(words.split()) == FAILED
    said = capsys.readouterr().err
    assert f"another run works on stack dev (ws up --rolling, process {rolling.pid} since " in said
    assert "Wait until it has ended" in said
