"""The record of a dataset's files: what it holds, and what it tells of them later."""

import os
from pathlib import Path

import pytest

from ws.data.files import (
    PARTIAL,
    Difference,
    Record,
    Size,
    compare,
    files_of,
    read_record,
    size_of,
    sums_of,
    write_record,
)
from ws.data.view import difference_json, difference_lines, summary
from ws.errors import WsError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", as FIPS 180-2 has it
ODD = ["plain", "with space", "back\\slash", "new\nline", "re\rturn", "trick\\n", os.fsdecode(b"not\xffutf8"), "#x"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "signs"
    (made / "train").mkdir(parents=True)
    (made / "train" / "one").write_text("abc")
    (made / "two").write_text("abc")
    return made


def record_of(folder: Path) -> Record:
    found = sums_of(folder, [path for path, _ in files_of(folder)], lambda _: None)
    return Record(source=str(folder), moment=1.0, size=found.size, sums=found.of)


def difference(folder: Path, record: Record) -> Difference:
    return compare(record, sums_of(folder, [path for path, _ in files_of(folder)], lambda _: None))


class TestFiles:
    def test_have_their_standard_sums(self, folder):
        assert record_of(folder).sums == {"train/one": ABC, "two": ABC}

    def test_are_told_of_as_they_are_read(self, folder):
        read: list[int] = []
        assert sums_of(folder, ["two", "train/one"], read.append).size == sum(read) == 6

    def test_are_without_those_that_are_still_being_copied(self, folder):
        (folder / "train" / PARTIAL).mkdir()
        (folder / "train" / PARTIAL / "three").write_text("ab")
        assert [path for path, _ in files_of(folder)] == ["two", "train/one"]

    def test_are_counted(self, folder):
        assert size_of(folder, 60) == Size(files=2, bytes=6)

    def test_are_counted_for_a_while_only(self, folder):
        assert size_of(folder, -1) == Size(files=1, bytes=3, complete=False)

    def test_are_not_counted_where_there_is_no_folder(self, tmp_path):
        assert size_of(tmp_path / "nothing", 60) is None


class TestRecord:
    def test_comes_back_whatever_the_files_are_called(self, tmp_path):
        kept = Record(source="/srv/a b", moment=5.0, size=7, sums=dict.fromkeys(ODD, ABC))
        write_record(tmp_path / "record", kept)
        assert read_record(tmp_path / "record") == kept

    def test_may_be_of_nothing(self, tmp_path):
        kept = Record(source="/srv/a", moment=5.0, size=0, sums={})
        write_record(tmp_path / "record", kept)
        assert read_record(tmp_path / "record") == kept

    def test_may_not_be_there(self, tmp_path):
        assert read_record(tmp_path / "record") is None

    @pytest.mark.parametrize("text", ["", "# 1 2\n", "# 1 2 /srv\nnonsense\n", "# x 2 /srv\n"])
    def test_is_refused_where_it_is_damaged(self, tmp_path, text):
        (tmp_path / "record").write_text(text)
        with pytest.raises(WsError, match=r"record is damaged\. Remove it"):
            read_record(tmp_path / "record")


class TestDifference:
    def test_is_none_of_what_is_as_before(self, folder):
        assert not difference(folder, record_of(folder))

    def test_names_each_file(self, folder):
        record = record_of(folder)
        (folder / "two").write_text("abd")  # of the same size
        (folder / "train" / "one").rename(folder / "train" / "new")
        (folder / "dangling").symlink_to("nowhere")
        found = difference(folder, record)
        assert difference_json(found) == {
            "missing": ["train/one"], "extra": ["train/new"], "changed": ["two"], "unreadable": ["dangling"],
        }  # fmt: skip
        assert summary(found) == "1 missing, 1 extra, 1 changed, 1 unreadable"

    def test_shows_the_first_of_many(self, folder):
        record = record_of(folder)
        for number in range(30):
            (folder / f"{number:02}").touch()
        lines = [line.plain for line in difference_lines(difference(folder, record))]
        assert len(lines) == 21
        assert lines[-1] == "extra       … and 10 more; all of them: --json"

    def test_shows_names_that_are_no_text(self, folder):
        record = record_of(folder)
        (folder / os.fsdecode(b"\xff\n")).touch()
        [line] = difference_lines(difference(folder, record))
        line.plain.encode()
        assert "\\xff" in line.plain
