"""A stack file is replaced as a whole, and never over what another program wrote."""

import os
from pathlib import Path

import pytest

from ws import stack_settings
from ws.config import editing
from ws.errors import WsError

TEXT = "config:\r\n  cslr:platform: {}\r\n"


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    for module in (editing, stack_settings):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\nruntime: python\n")
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_bytes(TEXT.encode())
    return Path(file)


def test_an_editor_that_saves_meanwhile_wins_and_the_command_says_so(file):
    with editing.editing("dev") as edit:
        file.write_text("config: {}   # mine\n")
        with pytest.raises(WsError, match=r"Pulumi\.dev\.yaml was changed meanwhile by another program"):
            edit.write(edit.file.text)
    assert file.read_text() == "config: {}   # mine\n"


def test_line_ends_mode_and_what_a_link_names_stay(file):
    place = file.rename(file.with_name("ours.yaml"))
    place.chmod(0o640)
    file.symlink_to(place.name)
    with editing.editing("dev") as edit:
        assert edit.file.text == TEXT.replace("\r\n", "\n")
        edit.write(f"# ours\n{edit.file.text}")
    assert place.read_bytes().decode() == f"# ours\r\n{TEXT}"
    assert (file.is_symlink(), place.stat().st_mode & 0o777) == (True, 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone may give files away")
def test_root_leaves_the_file_and_the_lock_to_their_owner(file):
    state = file.parent / "state/cslr/cslr/dev"
    state.mkdir(parents=True)
    for path in (file, state):
        os.chown(path, 1234, 1234)
    with editing.editing("dev") as edit:
        edit.write("config: {}\n")
    lock = state / editing.LOCK / "lock"
    assert [path.stat().st_uid for path in (file, lock, lock.parent)] == [1234] * 3
