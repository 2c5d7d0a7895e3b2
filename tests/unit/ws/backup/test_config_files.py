"""The small files of a stack: what is copied, and what is put back."""

import os

import pytest

from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically
from ws.backup import config_files

IDENTITY = StackIdentity(project="cslr", stack="unit-backup")
FILES = ("generated/ray-token", "env-secrets/HF_TOKEN", "history/1.json")


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in FILES:
        write_atomically(stack_folder(IDENTITY) / name, name.encode(), 0o600)
    return stack_folder(IDENTITY)


def test_generated_secrets_own_ones_and_the_history_come_back(state, tmp_path, monkeypatch):
    config_files.collect(IDENTITY, tmp_path / "copy")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert list(config_files.put_back(IDENTITY, tmp_path / "copy")) == []
    restored = stack_folder(IDENTITY)
    assert restored != state
    assert {name: (restored / name).read_text() for name in FILES} == {name: name for name in FILES}


def test_what_is_there_stays_and_is_named(state, tmp_path):
    config_files.collect(IDENTITY, tmp_path / "copy")
    (state / FILES[0]).write_text("of this host")
    (said,) = config_files.put_back(IDENTITY, tmp_path / "copy")
    assert said.startswith(str(state / FILES[0]))
    assert (state / FILES[0]).read_text() == "of this host"


def test_files_of_the_project_come_back_whole_and_readable(state, tmp_path, monkeypatch):
    """A run that is killed as it writes leaves none, which the next one would take for this host's own."""
    file = tmp_path / "project" / "Pulumi.unit-backup.yaml"
    file.parent.mkdir()
    monkeypatch.setattr(config_files, "FOLDER", file.parent)
    file.write_text("config: {}\n")
    config_files.collect(IDENTITY, tmp_path / "copy")
    file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            list(config_files.put_back(IDENTITY, tmp_path / "copy"))
    assert not file.exists()
    assert list(config_files.put_back(IDENTITY, tmp_path / "copy")) == []
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("config: {}\n", 0o644)
    assert list(file.parent.iterdir()) == [file]


def killed(_descriptor: int) -> None:
    raise KeyboardInterrupt
