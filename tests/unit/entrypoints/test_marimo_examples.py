"""The examples that a notebook folder gets, and never over a file of anybody's."""

import ast
import zipfile

import pytest

from config.project import FOLDER
from entrypoints.marimo.server import give_examples
from stack.programs import examples

NOTEBOOKS = [path.name for path in sorted((FOLDER / "examples").glob("[0-9]*.py"))]


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "examples.zip"
    path.write_bytes(examples())
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "notebooks"
    made.mkdir()
    return made


class TestExamples:
    def test_are_in_a_new_folder_with_their_data(self, archive, folder):
        give_examples(folder, archive)
        assert [path.name for path in folder.iterdir()] == ["examples"]
        assert {path.name for path in (folder / "examples").glob("[0-9]*.py")} == {*NOTEBOOKS}
        assert len(list((folder / "examples" / "data").glob("*.mp4"))) == 24

    @pytest.mark.parametrize("name", ["mine.py", "examples"])
    def test_leave_what_is_there(self, archive, folder, name):
        (folder / name).mkdir()
        give_examples(folder, archive)
        assert [path.name for path in folder.iterdir()] == [name]
        assert not list((folder / name).iterdir())

    def test_are_complete_after_a_start_that_was_cut_off(self, archive, folder):
        (folder / ".examples" / "data").mkdir(parents=True)
        (folder / "lost+found").mkdir()
        give_examples(folder, archive)
        assert len(list((folder / "examples" / "data").glob("*.mp4"))) == 24
        assert not (folder / ".examples").exists()

    def test_may_be_missing(self, folder, tmp_path):
        give_examples(folder, tmp_path / "none.zip")
        assert not list(folder.iterdir())

    def test_are_the_same_bytes_each_time(self):
        """Otherwise each deployment would replace the notebook server."""
        assert examples() == examples()

    def test_are_small(self):
        assert sum(path.stat().st_size for path in (FOLDER / "examples" / "data").iterdir()) < 200_000

    def test_hold_nothing_but_examples(self, archive):
        with zipfile.ZipFile(archive) as content:
            assert not [name for name in content.namelist() if "__" in name or name.startswith((".", "/"))]


class TestScripts:
    @pytest.mark.parametrize("path", sorted((FOLDER / "examples").glob("[a-z]*.py")), ids=lambda path: path.name)
    def test_say_what_they_do_and_how_to_start_them(self, path):
        words = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert words
        if path.name not in ("signs.py", "make_sample.py"):
            assert f"ray job submit --working-dir examples -- python {path.name}" in words
