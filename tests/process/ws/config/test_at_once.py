"""Commands that edit one stack file at the same moment, each a process of its own: none loses another's edit."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from testing.harness import PROJECT
from tests.process.ws.copied_project import STACK, CopiedProject
from ws import cli
from ws.config import editing
from ws.terminal import FAILED
from ws.turn import turn

KEYS = [f"X{number}" for number in range(20)]
PEOPLE = ("ann", "ben", "cem")
IDENTITY = StackIdentity(project="cslr", stack=STACK)
HOLDER = """
import time
from stack.identity import StackIdentity
from ws.config.editing import alone
with alone(StackIdentity(project="cslr", stack="dev")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> CopiedProject:
    return CopiedProject.make(tmp_path, {})


def stack_file(project: CopiedProject) -> Path:
    return project.folder / f"Pulumi.{STACK}.yaml"


def platform(project: CopiedProject) -> Any:
    return yaml.safe_load(stack_file(project).read_text())["config"]["cslr:platform"]


def at_once(project: CopiedProject, commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Runs all commands at the same time. Returns the exit code of each, and what it said."""
    started = [project.started(*words) for words in commands]
    return [(process.wait(), "".join(said)) for process in started if (said := process.communicate())]


def test_twenty_keys_are_all_set(project):
    ended = at_once(project, [("set", f"redis.env.{key}", "1") for key in KEYS])
    assert [code for code, _ in ended] == [0] * len(KEYS), ended
    assert sorted(platform(project)["redis"]["env"]) == sorted(KEYS)
    assert list(project.folder.glob(".Pulumi*")) == []


def test_keys_people_and_secrets_are_all_there(project):
    """A person's port is the next free one, so each has another; the salt of all secrets is made once."""
    commands = [("user", "add", name) for name in PEOPLE]
    commands += [("set", f"redis.env.{key}", "1") for key in KEYS[:3]]
    secrets = ("rayToken", "redisPassword", "marimoToken")
    typed = [project.started("set", key, typed=f"a-secret-of-{key}-with-many-characters") for key in secrets]
    ended = at_once(project, commands)
    said = [process.communicate() for process in typed]
    assert [code for code, _ in ended] == [0] * len(commands), ended
    assert [process.returncode for process in typed] == [0] * len(secrets), said
    users = platform(project)["marimo"]["users"]
    assert sorted(users) == sorted(PEOPLE)
    assert sorted(platform(project)["redis"]["env"]) == sorted(KEYS[:3])
    for key in secrets:
        shown = project.ws("get", key)
        assert (shown.returncode, shown.stdout.strip()) == (0, "[secret]"), shown.stderr


def test_one_of_many_imports_makes_the_stack_file(project):
    config = project.folder / "config.yaml"
    config.write_text("redis: {port: 6390}\n")
    ended = at_once(project, [("import", str(config), "--stack", "lab")] * 6)
    assert sorted(code for code, _ in ended) == [0, *[FAILED] * 5], ended
    assert sum("Pulumi.lab.yaml is there already" in said for _, said in ended) == 5


def test_a_deployment_that_runs_keeps_nobody_from_editing(project, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(project.folder.parent / "state"))
    with turn(IDENTITY, "ws up"), stack_lock(stack_folder(IDENTITY), STACK):
        assert project.ws("set", "redis.env.X", "1").returncode == 0
    assert platform(project)["redis"]["env"] == {"X": 1}


def test_a_killed_command_leaves_the_file_whole_and_the_next_one_clears_up(project):
    draft = project.folder / f".Pulumi.{STACK}.yaml.1.0000"  # of one that was killed as it wrote
    draft.write_text("conf")
    for moment in range(8):
        process = project.started("set", "redis.env.X", str(moment))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.3 + moment / 20)
        process.kill()
        process.communicate()
        assert platform(project) in ({}, *({"redis": {"env": {"X": number}}} for number in range(8)))
    assert project.ws("set", "redis.env.X", "last").returncode == 0
    assert platform(project) == {"redis": {"env": {"X": "last"}}}
    assert not draft.exists()


class TestWaiting:
    @pytest.fixture
    def holder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
        """Another process that edits the file of stack dev."""
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
            process.kill()

    @pytest.mark.parametrize("words", ["set redis.port 6390", "unset redis.port"])
    def test_ends_with_one_clear_error(self, holder, monkeypatch, capsys, words):
        monkeypatch.setattr(editing, "SECONDS", 0.2)
        before = (PROJECT / "Pulumi.dev.yaml").read_bytes()
        assert cli.main(words.split()) == FAILED
        said = capsys.readouterr().err
        assert f"another command that edits the stack file works on stack dev (process {holder.pid} since " in said
        assert "Wait until it has ended" in said
        assert (PROJECT / "Pulumi.dev.yaml").read_bytes() == before

    def test_ends_as_soon_as_the_other_has_gone(self, holder):
        os.kill(holder.pid, signal.SIGKILL)
        with editing.alone(StackIdentity(project="cslr", stack="dev")):
            pass
