"""What a backup refuses to call whole."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from config.platform import PlatformSettings
from contracts.facts import BACKUP
from stack import facts
from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically
from ws.backup.display import Shown
from ws.backup.parts import Part
from ws.backup.place import Options, last_of, remember, repository_of
from ws.backup.restic import Repository, ResticError
from ws.backup.sets import Dump, Folder, Manifest
from ws.backup.tables import DumpReader
from ws.backup.taking import Taking, maintenance, make_repository
from ws.errors import WsError

IDENTITY = StackIdentity(project="cslr", stack="dev")
ENDING = b"-- PostgreSQL database dump complete\n"


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Restic:
    """Says of each backup what it was told to say."""

    location = "/mnt/backup"

    def __init__(self, **answer: Any) -> None:
        self.answer = {"snapshot_id": "s", "data_added": 1, "total_bytes_processed": 1, "unread": [], **answer}

    def backup(self, _arguments: Any, _heard: Any, *, folder: Any = None, source: Any = None) -> Any:
        for _ in source or ():
            pass
        if folder and not any(Path(folder).iterdir()):
            raise ResticError("restic failed", "Fatal: unable to save snapshot: snapshot is empty")
        return self.answer


class Postgres:
    def dump(self, _name: str, reader: DumpReader) -> Iterator[bytes]:
        yield from reader.through([ENDING])


def taking(restic: Any) -> Taking:
    api: Any = object()  # not asked
    shown = Shown(console=Console(file=io.StringIO()))
    return Taking(identity=IDENTITY, settings=PlatformSettings(), repository=restic, shown=shown, api=api)


def made(files: int, unread: int = 0) -> Manifest:
    home = Folder(snapshot="s", files=files, size=1, unread=unread)
    return Manifest(
        name="last",
        stack="dev",
        host="h",
        began=0,
        ended=1,
        version="1",
        config=home,
        folders={"home": home},
        databases={},
    )


def remembered(files: int, unread: int = 0) -> None:
    restic: Any = Restic()
    remember(IDENTITY, made(files, unread), restic)


class TestFolder:
    def test_without_files_needs_no_snapshot(self, tmp_path):
        (tmp_path / "home").mkdir()
        assert taking(Restic())._folder("home", tmp_path / "home") == Folder(snapshot="", files=0, size=0)

    def test_that_had_files_at_the_last_backup_must_have_some(self, tmp_path):
        (tmp_path / "home").mkdir()
        remembered(files=12)
        with pytest.raises(WsError, match=r"holds no files, but 12 at the last backup, last. Is its disk mounted\?"):
            taking(Restic())._folder("home", tmp_path / "home")
        (tmp_path / "home" / "inner").mkdir()
        with pytest.raises(WsError, match="Is its disk mounted"):
            taking(Restic(total_files_processed=0))._folder("home", tmp_path / "home")

    def test_that_is_gone_is_left_out_only_if_it_never_had_files(self, monkeypatch, tmp_path):
        monkeypatch.setattr("ws.backup.taking.parts", lambda *_: [Part(name="home", location=str(tmp_path / "gone"))])
        some: Any = Postgres()
        assert taking(Restic())._present(some) == []
        remembered(files=1)
        with pytest.raises(WsError, match="gone holds no files"):
            taking(Restic())._present(some)


class TestDump:
    def test_must_be_stored_as_long_as_it_was_read(self):
        postgres: Any = Postgres()
        whole = taking(Restic(total_bytes_processed=len(ENDING)))._dump(postgres, "mlflow", "mlflow")
        assert whole == Dump(snapshot="s", owner="mlflow", size=len(ENDING), tables={})
        with pytest.raises(WsError, match=rf"stored {len(ENDING) - 1} bytes of a dump of {len(ENDING)}"):
            taking(Restic(total_bytes_processed=len(ENDING) - 1))._dump(postgres, "mlflow", "mlflow")


class TestConfig:
    def test_leaves_no_second_copy_of_secrets(self, monkeypatch):
        monkeypatch.setattr("ws.backup.config_files.places", lambda _: [])
        write_atomically(stack_folder(IDENTITY) / "generated" / "password", b"x", 0o600)
        taking(Restic(total_files_processed=1))._config()
        assert not (stack_folder(IDENTITY) / "backup" / "stage").exists()


class TestAlert:
    def test_counts_a_backup_that_lacks_files_as_none(self):
        fact = stack_folder(IDENTITY) / facts.FOLDER / f"{BACKUP}.json"
        remembered(files=3, unread=1)
        assert not fact.exists()
        last = last_of(IDENTITY)
        assert last
        assert last.files == {"home": 3}
        remembered(files=3)
        assert fact.exists()


class TestLock:
    def test_is_the_owners_of_the_state_folder_though_root_made_it(self, monkeypatch):
        """Who else could not run `ws mlflow gc` any more."""
        given: dict[str, int] = {}
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr("os.chown", lambda path, uid, _gid: given.update({Path(path).name: uid}))
        with maintenance(IDENTITY, "ws backup"):
            pass
        assert given == dict.fromkeys(("maintenance", "lock"), stack_folder(IDENTITY).stat().st_uid)


class TestPassword:
    @pytest.fixture(autouse=True)
    def programs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Repository, "refuse_missing_programs", lambda _: None)

    def opened(self) -> Repository:
        return repository_of(IDENTITY, None, Options(repository="/mnt/backup"), print, make_password=True)

    def test_is_made_once(self):
        first = self.opened()
        assert first.password_is_new
        text = first.password_file.read_text()
        assert not self.opened().password_is_new
        assert first.password_file.read_text() == text

    def test_made_for_a_repository_that_has_another_is_removed_again(self, monkeypatch):
        def refused(*_: str) -> str:
            raise ResticError("no", "Fatal: wrong password or no key found")

        monkeypatch.setattr(Repository, "run", refused)
        new = self.opened()
        with pytest.raises(WsError, match="is a repository already"):
            make_repository(IDENTITY, new, anew=False)
        assert not new.password_file.exists()
        self.opened()
        with pytest.raises(ResticError):
            make_repository(IDENTITY, self.opened(), anew=False)
        assert new.password_file.exists()


def test_options_are_repeated_in_a_proposed_command():
    options = Options(repository="/mnt/my backup", password_file=Path("/root/password"))
    assert options.words == ["--repository", "/mnt/my backup", "--password-file", "/root/password"]
    assert Options().words == []
