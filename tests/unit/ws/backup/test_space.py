"""Disks without room are found before anything changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ws.backup.space import Need, refuse_small_disks, refuse_small_repository, size_of
from ws.errors import WsError

FREE = 1000


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=FREE))


def folder(above: Path, name: str, size: int = 0) -> Path:
    made = above / name
    (made / "inner").mkdir(parents=True)
    if size:
        (made / "inner" / "file").write_bytes(bytes(size))
    return made


def test_all_that_comes_onto_one_disk_counts(tmp_path):
    one, other = folder(tmp_path, "one"), folder(tmp_path, "other")
    refuse_small_disks([Need(folder=one, size=600), Need(folder=other, size=400)])
    with pytest.raises(WsError, match=f"the disk of {one}, {other} lacks 1 B"):
        refuse_small_disks([Need(folder=one, size=600), Need(folder=other, size=401)])


def test_what_is_replaced_makes_room(tmp_path):
    home = folder(tmp_path, "home", 300)
    refuse_small_disks([Need(folder=home, size=1300, replaces=True)])
    with pytest.raises(WsError, match="Nothing was changed there"):
        refuse_small_disks([Need(folder=home, size=1301, replaces=True)])
    with pytest.raises(WsError):
        refuse_small_disks([Need(folder=home, size=1300)])


def test_repository_needs_room_for_what_is_new(tmp_path):
    refuse_small_repository(str(tmp_path), now=2000, before=None)
    with pytest.raises(WsError, match=str(tmp_path)):
        refuse_small_repository(str(tmp_path), now=2002, before=None)
    refuse_small_repository(str(tmp_path), now=5000, before=4000)
    refuse_small_repository(str(tmp_path), now=10, before=4000)


@pytest.mark.parametrize("location", ["sftp:host:/srv", "s3:https://server/bucket", "/does/not/exist"])
def test_repository_elsewhere_is_not_looked_at(location):
    refuse_small_repository(location, now=10**12, before=None)


def test_size_of_a_folder_follows_no_links(tmp_path):
    home = folder(tmp_path, "home", 300)
    (tmp_path / "large").write_bytes(bytes(5000))
    (home / "link").symlink_to(tmp_path / "large")
    assert 300 < size_of(home) < 600
