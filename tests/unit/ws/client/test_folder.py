"""A bundle is written into a folder of its own, and into no other."""

from pathlib import Path

import pytest

from testing.client_bundle import OPEN, bundle
from ws.client.folder import write
from ws.errors import WsError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestNewFolder:
    def test_only_its_owner_enters_it(self, tmp_path):
        write(bundle(), tmp_path / "new" / "bundle")
        assert mode(tmp_path / "new" / "bundle") == 0o700
        assert mode(tmp_path / "new" / "bundle" / "ray-token") == 0o600

    def test_programs_can_be_started(self, tmp_path):
        write(bundle(), tmp_path / "bundle")
        assert mode(tmp_path / "bundle" / "tunnel") == mode(tmp_path / "bundle" / "check") == 0o755

    def test_an_empty_folder_is_closed_first(self, tmp_path):
        (tmp_path / "bundle").mkdir(mode=0o755)
        write(bundle(), tmp_path / "bundle")
        assert mode(tmp_path / "bundle") == 0o700


class TestUpdate:
    def test_changes_its_own_files_and_keeps_the_persons(self, tmp_path):
        write(bundle(), tmp_path)
        (tmp_path / "jobs" / "train.py").write_text("mine")
        (tmp_path / ".venv").mkdir()
        write(bundle(ray_token="another-token"), tmp_path)
        assert (tmp_path / "ray-token").read_text() == "another-token"
        assert (tmp_path / "jobs" / "train.py").read_text() == "mine"
        assert (tmp_path / ".venv").is_dir()

    def test_removes_what_the_stack_needs_no_more(self, tmp_path):
        write(bundle(), tmp_path)
        write(bundle(OPEN), tmp_path)
        assert not (tmp_path / "tunnel").exists()

    def test_leaves_no_drafts(self, tmp_path):
        write(bundle(), tmp_path)
        before = set(tmp_path.rglob("*"))
        write(bundle(), tmp_path)
        assert set(tmp_path.rglob("*")) == before


class TestOtherFolders:
    @pytest.mark.parametrize(
        "content",
        [
            {"notes.txt": "mine"},
            {"bundle.json": "{}"},
            {"bundle.json": "no JSON"},
            {"bundle.json": '{"made_by": "me"}'},
        ],
    )
    def test_a_folder_of_something_else_is_refused_and_untouched(self, content, tmp_path):
        for name, text in content.items():
            (tmp_path / name).write_text(text)
        tmp_path.chmod(0o755)
        with pytest.raises(WsError, match="is neither empty nor a bundle"):
            write(bundle(), tmp_path)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content
        assert mode(tmp_path) == 0o755

    def test_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(WsError, match="is not a folder"):
            write(bundle(), tmp_path / "file")

    def test_a_link_is_refused_since_it_may_lead_anywhere(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(WsError, match="is not a folder"):
            write(bundle(), tmp_path / "link")
        assert not list((tmp_path / "elsewhere").iterdir())
