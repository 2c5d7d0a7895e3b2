"""What a restore replaces, and what it does not without being told to."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from config.platform import PlatformSettings
from embedded_engine.lock import LockedError
from stack.identity import StackIdentity
from stack.unfinished_restore import RESTORES, Marker
from ws.backup import restoring
from ws.backup.display import Shown
from ws.backup.parts import Part
from ws.backup.restoring import Report, Restoring, compare_folder, extract
from ws.backup.sets import Folder, Manifest
from ws.errors import WsError

IDENTITY = StackIdentity(project="cslr", stack="copy")
NOTHING: Any = SimpleNamespace()


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of this host that the stack file names."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(restoring, "named_places", lambda *_: [Part(name="home", location=str(folder))])
    return folder


def restore(name: str = "a", *, overwrite: bool = False) -> Restoring:
    empty = Folder(snapshot="", files=0, size=0)
    manifest = Manifest(
        name=name, stack="dev", host="h", began=0, ended=1, version="1", config=empty, folders={}, databases={}
    )
    return Restoring(
        identity=IDENTITY,
        manifest=manifest,
        repository=NOTHING,
        shown=Shown(console=Console(file=io.StringIO())),
        command="ws restore a -s copy",
        settings=PlatformSettings,
        overwrite=overwrite,
        api=NOTHING,
    )


class TestFolderThatTheStackFileNames:
    def test_is_not_replaced_if_it_holds_data(self, home):
        """Such as the home folder of the stack that was backed up, where it is restored under another name."""
        (home / "results").touch()
        with pytest.raises(WsError, match=f"home: {home}, which Pulumi.copy.yaml names, holds data"):
            restore()._take_places(PlatformSettings())
        restore(overwrite=True)._take_places(PlatformSettings())

    def test_may_be_a_new_disk(self, home):
        (home / "lost+found").mkdir()
        restore()._take_places(PlatformSettings())

    def test_belongs_to_the_restore_that_found_it_empty(self, home):
        restore()._take_places(PlatformSettings())
        (home / "results").touch()
        restore()._take_places(PlatformSettings())
        with pytest.raises(WsError, match="holds data"):
            restore("another")._take_places(PlatformSettings())


class TestRun:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> list[str]:
        done: list[str] = []
        monkeypatch.setattr("ws.backup.config_files.put_back", lambda *_: [])
        monkeypatch.setattr(restoring, "parts", lambda *_: [])
        monkeypatch.setattr(Restoring, "_deploy", lambda _: done.append("deploy"))
        monkeypatch.setattr(Restoring, "_stop", lambda _: done.append("stop"))
        return done

    def test_leaves_no_permission_to_replace_what_people_write_afterwards(self, monkeypatch, steps):
        def differs(_self: Restoring, _settings: Any, report: Report) -> None:
            report.differences.append("one")

        monkeypatch.setattr(Restoring, "_note_left_out", differs)
        assert restore().run().differences == ["one"]
        assert steps == ["deploy", "stop", "deploy"]
        assert Marker.read(IDENTITY) is None

    def test_changes_nothing_before_it_may(self, home, steps):
        (home / "results").touch()
        with pytest.raises(WsError, match="holds data"):
            restore().run()
        assert steps == []

    def test_excludes_another_from_beginning_to_end(self, monkeypatch, steps):
        """Whose `ws up` would start services on half of this one's data."""
        monkeypatch.setattr(Restoring, "_stop", lambda _: restore("another").run())
        with pytest.raises(LockedError, match="another backup, restore"):
            restore().run()
        left = Marker.read(IDENTITY)
        assert left
        assert (left.backup, left.command) == ("a", "ws restore a -s copy")

    def test_stops_and_empties_nothing_without_room(self, monkeypatch, home, steps):
        (home / "scratch").mkdir()
        monkeypatch.setattr(restoring, "parts", lambda *_: [Part(name="home", location=str(home))])
        one = restore(overwrite=True)
        one.manifest = one.manifest.model_copy(update={"folders": {"home": Folder(snapshot="s", files=1, size=10**18)}})
        with pytest.raises(WsError, match=f"the disk of {home} lacks"):
            one.run()
        assert steps == ["deploy"]
        assert (home / "scratch").is_dir()

    def test_alone_may_deploy_meanwhile(self, monkeypatch, home):
        seen: list[tuple[str, str]] = []

        def up(_command: Any, *, env: dict[str, str], **_: Any) -> Any:
            marker = Marker.read(IDENTITY)
            assert marker
            seen.append((marker.backup, env[RESTORES]))
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr("ws.backup.config_files.put_back", lambda *_: [])
        monkeypatch.setattr(restoring, "parts", lambda *_: [])
        monkeypatch.setattr(Restoring, "_stop", lambda _: None)
        monkeypatch.setattr("subprocess.run", up)
        restore().run()
        assert seen == [("a", "a")] * 2


@pytest.mark.parametrize(("state", "stopped"), [("running", True), ("restarting", True), ("exited", False)])
def test_whatever_may_write_is_stopped(monkeypatch, state, stopped):
    ended: list[str] = []
    one = SimpleNamespace(service="mlflow", state=state, identifier="m")
    monkeypatch.setattr(restoring, "containers", lambda _: [one])
    container = SimpleNamespace(stop=lambda **_: ended.append("m"))
    client = SimpleNamespace(containers=SimpleNamespace(get=lambda _: container))
    monkeypatch.setattr("docker.from_env", lambda **_: client)
    restore()._stop()
    assert bool(ended) is stopped


def test_folder_without_files_comes_back_empty(tmp_path):
    folder, report = Folder(snapshot="", files=0, size=0), Report()
    extract(NOTHING, folder, tmp_path)
    compare_folder(NOTHING, "home", folder, tmp_path, report, owners=True)
    assert report.differences == []
    (tmp_path / "surplus").touch()
    compare_folder(NOTHING, "home", folder, tmp_path, report, owners=True)
    assert report.differences == ["home: surplus is not in the backup"]
