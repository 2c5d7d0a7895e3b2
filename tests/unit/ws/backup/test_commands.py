"""`ws backup` and `ws restore` on the command line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stack.identity import StackIdentity
from stack.unfinished_restore import Marker
from ws import cli
from ws.backup import commands
from ws.backup.restoring import Restoring
from ws.backup.sets import Folder, Manifest

IDENTITY = StackIdentity(project="cslr", stack="dev")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def manifest(unread: int = 0) -> Manifest:
    config = Folder(snapshot="s", files=3, size=1, unread=unread)
    return Manifest(
        name="a", stack="dev", host="h", began=0, ended=1, version="1", config=config, folders={}, databases={}
    )


def test_proposed_command_has_the_options_that_found_the_backup(monkeypatch, capsys):
    monkeypatch.setattr("ws.backup.place.refuse_other_users", lambda: None)
    monkeypatch.setattr("ws.backup.place.repository_of", lambda *_: None)
    monkeypatch.setattr("ws.backup.sets.entries", lambda *_: [])
    monkeypatch.setattr("ws.backup.sets.chosen", lambda *_: None)
    monkeypatch.setattr("ws.backup.sets.manifest_of", lambda *_: manifest())
    monkeypatch.setattr("docker_api.api.DockerApi", SimpleNamespace)
    monkeypatch.setattr(Restoring, "refuse_what_is_there", lambda _: None)
    options = ["--repository", "/mnt/my backup", "--password-file", "/root/password"]
    assert cli.main(["restore", "-s", "copy", *options, "--overwrite"]) == 1
    proposed = "ws restore a -s copy --repository '/mnt/my backup' --password-file /root/password --overwrite --yes"
    assert proposed in capsys.readouterr().err


@pytest.mark.parametrize(("unread", "code"), [(0, 0), (2, 1)])
def test_backup_that_lacks_files_fails(monkeypatch, capsys, unread, code):
    settings: Any = SimpleNamespace(platform=SimpleNamespace(backup=None))
    repository: Any = SimpleNamespace(password_file=Path("/root/password"))
    opened = commands.Opened(identity=IDENTITY, settings=settings, repository=repository)
    monkeypatch.setattr(commands, "_open", lambda *_, **__: opened)
    monkeypatch.setattr("ws.backup.taking.make_repository", lambda *_, **__: False)
    monkeypatch.setattr("docker_api.api.DockerApi", SimpleNamespace)
    monkeypatch.setattr("ws.backup.taking.Taking", lambda **_: SimpleNamespace(run=lambda: manifest(unread)))
    assert cli.main(["backup"]) == code
    said = capsys.readouterr()
    assert "Backup a: 3 files" in said.out
    assert ("the backup a lacks 2 files" in said.err) is bool(unread)


@pytest.mark.parametrize(
    "command",
    [
        ["backup"],
        ["up", "--yes"],
        ["up", "--rolling", "--yes"],
        ["rollback", "--yes"],
        ["secrets", "rotate", "--all", "--yes"],
        ["mlflow", "gc", "--yes"],
        ["mlflow", "restore", "pyproject.toml", "--yes"],
    ],
    ids=" ".join,
)
def test_half_restored_stack_is_left_alone_by_every_other_command(monkeypatch, capsys, command):
    nothing: Any = SimpleNamespace()
    opened: Any = SimpleNamespace(identity=IDENTITY, environment={})
    monkeypatch.setattr(
        commands, "_open", lambda *_, **__: commands.Opened(identity=IDENTITY, settings=opened, repository=nothing)
    )
    monkeypatch.setattr("ws.stack_settings.open_stack", lambda _: opened)
    monkeypatch.setattr("ws.deploy.setup.answers", lambda: pytest.fail("the host is changed first"))
    Marker(backup="a", command="ws restore a -s dev --repository /mnt/b").write(IDENTITY)
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert "stack dev: the restore of the backup a has not ended" in said
    assert "\n    ws restore a -s dev --repository /mnt/b\n" in said


@pytest.mark.parametrize("command", ["list", "verify", "prune"])
def test_every_command_takes_another_repository(monkeypatch, tmp_path, command):
    class Asked(Exception):  # noqa: N818 (a result, not a defect)
        """For a repository."""

    def asked(_identity: Any, _settings: Any, options: Any, *_: Any, **__: Any) -> None:
        raise Asked(*options.words)

    opened: Any = SimpleNamespace(identity=IDENTITY, platform=SimpleNamespace(backup=None))
    monkeypatch.setattr("ws.stack_settings.open_stack", lambda _: opened)
    monkeypatch.setattr("ws.backup.place.refuse_other_users", lambda: None)
    monkeypatch.setattr("ws.backup.place.repository_of", asked)
    password, credentials = tmp_path / "password", tmp_path / "credentials"
    options = ["--repository", "s3:https://server/bucket"]
    options += ["--password-file", str(password), "--s3-credentials", str(credentials)]
    with pytest.raises(Asked) as found:
        cli.main(["backup", command, *options])
    assert list(found.value.args) == options


def test_timer_is_installed_by_root_alone(monkeypatch, capsys):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("ws.stack_settings.open_stack", lambda _: pytest.fail("something was done first"))
    assert cli.main(["backup", "schedule", "--install"]) == 1
    assert "backups need root" in capsys.readouterr().err
