"""A command reads its stack's file once, and derives the key of its secrets once."""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import pytest

from config import encryption
from embedded_engine.changes import Result
from stack import running_work
from ws import cli, deploy
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.setup import docker as setup
from ws.stack_settings import StackSettings

opened: Counter[str] = Counter()
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event == "open":
        opened[Path(str(arguments[0])).name] += 1


sys.addaudithook(watch)  # stays for as long as the process; what it costs is one comparison


class Engine:
    """Does nothing, once the config is there for it."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def nothing(self, *_scope: object) -> Result:
        return Result(changes=[])

    up = preview = leftovers = nothing


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Gives a function that runs a command on a stack with a secret, and says which files it opened how often."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
    monkeypatch.setattr(encryption, "ITERATIONS", 10)
    monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
    monkeypatch.setattr("ws.config.editing.FOLDER", tmp_path)
    monkeypatch.setattr("embedded_engine.run.Engine", Engine)
    monkeypatch.setattr(setup, "answers", lambda: False)  # so that the config is checked before it is installed
    monkeypatch.setattr(setup, "ensure", lambda _: None)
    monkeypatch.setattr(deploy.Session, "_bases_are_bootstrapped", lambda session: bool(session.stack.builds) and False)
    monkeypatch.setattr(deploy.Session, "choose", lambda *_: Choice(name=EngineName.EMBEDDED))
    monkeypatch.setattr(deploy.Session, "maker", None)
    monkeypatch.setattr(running_work, "look", lambda _: running_work.RunningWork())
    monkeypatch.setattr("ws.containers.containers", lambda _: [])
    monkeypatch.setattr("stack.new_record.commit", lambda: "")
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    (tmp_path / "Pulumi.lab.yaml").write_text("config:\n  cslr:platform: {}\n")
    passphrase = encryption.Passphrase({"PULUMI_CONFIG_PASSPHRASE": "correct horse"})
    secure, salt = encryption.encrypted("hunter2hunter2", None, "Pulumi.lab.yaml", passphrase)
    (tmp_path / "Pulumi.lab.yaml").write_text(
        f"encryptionsalt: {salt}\nconfig:\n  cslr:platform: {{}}\n  cslr:rayToken: {{secure: '{secure}'}}\n"
    )

    def run(*command: str) -> Counter[str]:
        global watching
        opened.clear()
        watching = True
        try:
            assert cli.main([*command, "--stack", "lab"]) == 0
        finally:
            watching = False
        return Counter(opened)

    return run


@pytest.mark.parametrize("command", [("up", "--yes"), ("preview",), ("ps",), ("get", "redis.port")])
def test_reads_each_file_once(reads, command):
    found = reads(*command)
    assert (found["Pulumi.yaml"], found["Pulumi.lab.yaml"]) == (1, 1)


@pytest.mark.parametrize("command", [("up", "--yes"), ("set", "redis.port", "6999")])
def test_derives_the_key_once(reads, command, monkeypatch):
    derived: list[bytes] = []
    derive = hashlib.pbkdf2_hmac

    def count(name: str, password: bytes, salt: bytes, *rest: int) -> bytes:
        derived.append(salt)
        return derive(name, password, salt, *rest)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count)
    reads(*command)
    assert len(derived) == 1


def test_a_stack_is_named_whatever_its_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    (tmp_path / "Pulumi.lab.yaml").write_text("config: {cslr:rayToken: {secure: nonsense}}\n")
    assert StackSettings.read("lab", {}).identity.stack == "lab"
