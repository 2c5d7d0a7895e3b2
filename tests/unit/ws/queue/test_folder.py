"""Folders as zip files."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from ws.errors import WsError
from ws.queue.folder import TooLargeError, files_of, pack


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "folder"
    found.mkdir()
    return found


def names(folder) -> list[str]:
    return list(files_of(folder))


class TestFiles:
    def test_ignore_files_count_from_their_own_folder_on(self, folder):
        write(folder, a="", data__x="", src__a="", src__data__x="", src__keep__b="", src__keep__c="")
        (folder / ".gitignore").write_text("/data/\n*.pt\n")
        (folder / "src/model.pt").write_text("")
        (folder / "src/keep/.rayignore").write_text("*\n!b\n")
        assert names(folder) == [".gitignore", "a", "src/a", "src/data/x", "src/keep/b"]

    def test_what_ray_leaves_out_is_left_out(self, folder):
        write(folder, a="")
        for name in (".git/config", ".venv/x", "src/__pycache__/x"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text("")
        assert names(folder) == ["a"]

    def test_links_are_followed_but_not_in_circles(self, folder, tmp_path):
        write(tmp_path / "elsewhere", x="")
        write(folder, a="")
        (folder / "there").symlink_to(tmp_path / "elsewhere")
        (folder / "circle").symlink_to(folder)
        (folder / "nowhere").symlink_to(folder / "missing")
        assert names(folder) == ["a", "there/x"]

    def test_pipes_and_sockets_are_left_out(self, folder):
        os.mkfifo(folder / "pipe")
        assert names(folder) == []

    def test_what_is_no_folder_is_refused(self, folder):
        with pytest.raises(WsError, match="--folder FOLDER"):
            files_of(folder / "missing")

    def test_an_ignore_file_that_is_no_text_is_refused(self, folder):
        (folder / ".gitignore").write_bytes(b"\xff\xfe")
        with pytest.raises(WsError, match="cannot be read"):
            files_of(folder)


class TestPack:
    def test_the_same_content_is_the_same_file(self, folder, tmp_path):
        write(folder, b="2", a="1", src__c="3")
        first = pack(files_of(folder), tmp_path / "1.zip")
        os.utime(folder / "a", (0, 0))
        second = pack(files_of(folder), tmp_path / "2.zip")
        assert first.sha256 == second.sha256
        write(folder, a="2")
        assert pack(files_of(folder), tmp_path / "3.zip").sha256 != first.sha256

    def test_contents_and_the_right_to_run_are_kept(self, folder, tmp_path):
        write(folder, run="#!/bin/sh")
        (folder / "run").chmod(0o700)
        read: list[int] = []
        with zipfile.ZipFile(pack(files_of(folder), tmp_path / "1.zip", advance=read.append).file) as archive:
            assert archive.read("run") == b"#!/bin/sh"
            assert stat.S_IMODE(archive.getinfo("run").external_attr >> 16) == 0o755
        assert sum(read) == 9

    def test_it_ends_once_it_is_too_large(self, folder, tmp_path):
        (folder / "large").write_bytes(os.urandom(3 * 2**20))
        write(folder, small="1")
        with pytest.raises(TooLargeError) as refusal:
            pack(files_of(folder), tmp_path / "1.zip", 2**20)
        assert refusal.value.largest[0] == ("large", 3 * 2**20)
        assert (tmp_path / "1.zip").stat().st_size < 3 * 2**20

    def test_a_file_that_went_away_is_named(self, folder, tmp_path):
        write(folder, a="1")
        files = files_of(folder)
        (folder / "a").unlink()
        with pytest.raises(WsError, match="a cannot be read"):
            pack(files, tmp_path / "1.zip")
