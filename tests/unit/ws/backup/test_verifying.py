"""What `ws backup verify` does beside others."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from config.services import PostgresSettings
from embedded_engine.lock import LockedError
from stack.identity import StackIdentity
from ws.backup.display import Shown
from ws.backup.sets import Folder, Manifest
from ws.backup.taking import maintenance
from ws.backup.verifying import Verifying, remove_leftovers

IDENTITY = StackIdentity(project="cslr", stack="dev")


class Restic:
    """Begins whatever is to happen while the repository is checked."""

    def __init__(self, meanwhile: Any) -> None:
        self.meanwhile = meanwhile

    def run(self, *_: str) -> str:
        self.meanwhile()
        return ""


def verifying(meanwhile: Any) -> Verifying:
    config = Folder(snapshot="", files=0, size=0)
    manifest = Manifest(
        name="a", stack="dev", host="h", began=0, ended=1, version="1", config=config, folders={}, databases={}
    )
    restic: Any = Restic(meanwhile)
    shown = Shown(console=Console(file=io.StringIO()))
    return Verifying(
        identity=IDENTITY,
        manifest=manifest,
        repository=restic,
        shown=shown,
        within=None,
        postgres=PostgresSettings(),
        api=restic,
    )


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_two_do_not_compare_one_throw_away_database():
    with pytest.raises(LockedError, match="another `ws backup verify`"):
        verifying(verifying(lambda: None).run).run()


def test_a_backup_may_be_made_meanwhile():
    def backup() -> None:
        with maintenance(IDENTITY, "ws backup"):
            pass

    assert verifying(backup).run().differences == []


def test_folders_of_a_killed_run_are_removed_and_no_others(tmp_path):
    target = tmp_path / "somewhere"
    kept = ("cslr-dev-verify-", "cslr-dev-other-verify-abcdefgh", "cslr-backup-abcdefgh", "somewhere")
    for name in (*kept, "cslr-dev-verify-abcdefgh"):
        (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / "cslr-dev-verify-alink678").symlink_to(target)
    remove_leftovers(tmp_path, "cslr-dev-verify-")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "cslr-dev-verify-alink678"}
    assert (target / "inner").is_dir()
