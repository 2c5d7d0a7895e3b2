"""A restored folder beside the backup, and artifacts beside runs."""

import os
from pathlib import Path

from ws.backup.comparing import file_differences, orphans

TIME = 1_700_000_000


def node(path: str, kind: str = "file", **more: object) -> dict[str, object]:
    found = {"struct_type": "node", "path": f"/{path}", "type": kind, "mode": 0o644, "mtime": "2023-11-14T22:13:20.5Z"}
    return {**found, "uid": os.getuid(), "gid": os.getgid(), **more}


def made(folder: Path, path: str, content: str = "") -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(0o644)
    os.utime(file, (TIME, TIME))


def test_equal_folders_have_no_difference(tmp_path):
    made(tmp_path, "a", "abc")
    assert list(file_differences([node("a", size=3)], tmp_path, owners=True)) == []


def test_each_kind_of_difference_is_told(tmp_path):
    for name in ("size", "time", "owner", "mode", "type", "surplus"):
        made(tmp_path, name)
    nodes = [
        node("size", size=1),
        node("time", mtime="2023-11-14T22:13:21Z"),
        node("owner", uid=os.getuid() + 1),
        node("mode", mode=0o600),
        node("type", "dir"),
        node("missing"),
    ]
    assert sorted(file_differences(nodes, tmp_path, owners=True)) == [
        "missing is missing",
        "mode has another mode",
        "owner has another owner",
        "size has another size",
        "surplus is not in the backup",
        "time has another time",
        "type has another type",
    ]


def test_orphans_are_found_both_ways(tmp_path):
    run, lost, stray = "a" * 32, "b" * 32, "c" * 32
    made(tmp_path, f"1/{run}/artifacts/weights")
    made(tmp_path, f"1/{stray}/artifacts/weights")
    made(tmp_path, "1/models/m-known/artifacts/MLmodel")
    made(tmp_path, "1/models/m-stray/artifacts/MLmodel")
    places = {
        "public.runs": {key: f"mlflow-artifacts:/1/{key}/artifacts" for key in (run, lost)},
        "public.logged_models": {"m-known": "mlflow-artifacts:/1/models/m-known/artifacts"},
    }
    found = orphans(places, tmp_path)
    assert found.folders == (f"1/{stray}", "1/models/m-stray")
    assert found.without == (lost,)


def test_times_are_compared_to_the_second_also_before_1970_and_just_before_the_next(tmp_path):
    made(tmp_path, "old")
    made(tmp_path, "late")
    os.utime(tmp_path / "old", ns=(-500_000_000, -500_000_000))
    os.utime(tmp_path / "late", ns=(TIME * 10**9 + 999_999_999,) * 2)
    nodes = [node("old", mtime="1969-12-31T23:59:59.5Z"), node("late", mtime="2023-11-14T23:13:20.999999999+01:00")]
    assert list(file_differences(nodes, tmp_path, owners=True)) == []


def test_name_that_is_not_utf8_is_found_as_restic_tells_it(tmp_path):
    for name in (b"caf\xe9", b"\xe2\x82"):  # the second begins a character: restic replaces each byte
        path = tmp_path / os.fsdecode(name)
        path.touch()
        path.chmod(0o644)
        os.utime(path, (TIME, TIME))
    assert list(file_differences([node("caf\ufffd"), node("\ufffd\ufffd")], tmp_path, owners=True)) == []
    found = list(file_differences([], tmp_path, owners=True))
    assert sorted(found) == ["caf\ufffd is not in the backup", "\ufffd\ufffd is not in the backup"]


def test_socket_is_not_missed(tmp_path):
    assert list(file_differences([node("agent", "socket")], tmp_path, owners=True)) == []
