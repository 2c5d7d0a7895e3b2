"""Backups in a real repository of restic: what gets back, what fails, and what a killed run leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.backup import BackupKeepSettings
from ws.backup import retention, sets
from ws.backup.restic import Repository, ResticError
from ws.backup.restoring import Report, compare_folder, extracted

pytestmark = pytest.mark.usefixtures("restic")
UNUSED = Repository(location="/mnt/backup", password_file=Path("/root/password"))  # of a simulated program


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    password = tmp_path / "password"
    password.write_text("a password of a repository")
    found = Repository(location=str(tmp_path / "repository"), password_file=password)
    assert not found.exists()
    found.make()
    assert found.exists()
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "weights").write_bytes(os.urandom(3_000_000))
    (folder / "link").symlink_to("inner/weights")
    return folder


def runs(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def store(repository: Repository, folder: Path, name: str) -> sets.Folder:
    said = repository.backup([*sets.tags(name, "dev", "home"), "."], lambda _: None, folder=folder)
    return sets.Folder(
        snapshot=said["snapshot_id"], files=said["total_files_processed"], size=said["total_bytes_processed"]
    )


def finish(repository: Repository, name: str, folder: sets.Folder) -> None:
    manifest = sets.Manifest(
        name=name, stack="dev", host="h", began=0, ended=1, version="1", config=folder, folders={}, databases={}
    )
    arguments = [*sets.tags(name, "dev", sets.MANIFEST), "--stdin", "--stdin-filename", sets.MANIFEST]
    repository.backup(arguments, lambda _: None, source=iter([manifest.model_dump_json().encode()]))


def test_folder_comes_back_as_it_was_and_a_change_is_seen(repository, data):
    folder, report = store(repository, data, "a"), Report()
    with extracted(repository, folder) as at:
        compare_folder(repository, "home", folder, at, report, owners=True)
        assert (report.files, report.differences) == (1, [])
        (at / "inner" / "weights").write_bytes(b"")
        (at / "link").unlink()
        compare_folder(repository, "home", folder, at, report, owners=True)
    assert report.differences == ["home: inner/weights has another size", "home: link is missing"]


def test_what_did_not_change_is_not_stored_again(repository, data):
    store(repository, data, "a")
    said = repository.backup([*sets.tags("b", "dev", "home"), "."], lambda _: None, folder=data)
    assert said["data_added"] < 10_000


def test_set_counts_once_its_manifest_is_there_and_prune_removes_the_rest(repository, data):
    folder = store(repository, data, "interrupted")
    finish(repository, "whole", store(repository, data, "whole"))
    every = sets.entries(repository, "dev")
    assert [(one.name, bool(one.manifest)) for one in every] == [("interrupted", False), ("whole", True)]
    assert sets.manifest_of(repository, sets.chosen(every, "dev", None)).config.files == folder.files
    planned = retention.plan(every, BackupKeepSettings())
    retention.remove(repository, planned.removed)
    assert [one.name for one in sets.entries(repository)] == ["whole"]
    repository.run("check", "--read-data")


def test_input_that_breaks_off_becomes_no_snapshot(repository):
    def broken() -> Iterator[bytes]:
        yield b"the first half"
        raise ConnectionError("the server has gone")

    arguments = [*sets.tags("a", "dev", "x.sql"), "--stdin", "--stdin-filename", "x.sql"]
    with pytest.raises(ConnectionError):
        repository.backup(arguments, lambda _: None, source=broken())
    assert sets.entries(repository) == []


def test_wrong_password_names_the_file(repository, tmp_path):
    other = tmp_path / "other"
    other.write_text("not the password")
    wrong = Repository(location=repository.location, password_file=other)
    with pytest.raises(ResticError, match=f"the password in {other} is not that of the repository"):
        wrong.exists()


def test_no_secret_is_an_argument_or_a_variable(repository):
    assert "a password of a repository" not in str(repository) + str(repository.environment)


def test_lock_of_a_killed_run_is_removed(repository, data):
    """An exclusive lock, as `prune` has it, of a process that is gone."""
    store(repository, data, "a")
    environment = {**os.environ, **repository.environment}
    # restic holds its lock while it waits for the rest of its input.
    held = subprocess.Popen(
        ["restic", "backup", "--stdin"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    locks = Path(repository.location) / "locks"
    try:
        while not [one for one in locks.iterdir() if "tmp" not in one.name]:
            assert held.poll() is None
            time.sleep(0.05)
        with pytest.raises(ResticError, match="another run uses the repository"):
            repository.run("prune")
    finally:
        held.send_signal(signal.SIGKILL)
        held.wait()
    assert list(locks.iterdir())
    repository.run("prune")


def test_restic_ends_with_its_parent(repository, data):
    program = f"""
import itertools, os
from pathlib import Path
from ws.backup.restic import Repository
repository = Repository(location={repository.location!r}, password_file=Path({str(repository.password_file)!r}))
def endless():
    for number in itertools.count():
        yield os.urandom(2**20)
        print(number, flush=True)
repository.backup(["--tag", "x", "--stdin"], lambda _: None, source=endless())
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"0\n"
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert children
    parent.kill()
    parent.wait()
    while any(map(runs, children)):
        time.sleep(0.05)


def test_repository_that_vanished_is_told(repository, tmp_path):
    (tmp_path / "repository").rename(tmp_path / "unmounted")
    with pytest.raises(ResticError, match="Is its disk mounted") as failure:
        repository.run("snapshots")
    assert failure.value.absent


def test_names_of_any_bytes_and_sockets_are_no_difference(repository, data):
    for name in ("line\x85end".encode(), "line\u2028end".encode(), b"caf\xe9"):
        (data / os.fsdecode(name)).touch()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(data / "agent"))
    folder, report = store(repository, data, "a"), Report()
    with extracted(repository, folder) as at:
        compare_folder(repository, "home", folder, at, report, owners=True)
    assert (report.files, report.differences) == (4, [])


def test_folder_without_files_is_told_apart_from_a_failure(repository, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResticError) as failure:
        store(repository, tmp_path / "empty", "a")
    assert failure.value.empty


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in place of restic; its text is to be written there."""
    program = tmp_path / "bin" / "restic"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


def test_input_goes_on_while_restic_tells_its_progress(simulated):
    simulated.write_text("""#!/bin/sh
for number in $(seq 3000); do echo '{"message_type": "status", "bytes_done": 1}'; done
cat > /dev/null
echo '{"message_type": "summary", "snapshot_id": "s"}'
""")
    heard: list[object] = []
    source = iter([bytes(2**20)] * 3)  # more than a pipe holds, as is the progress
    assert UNUSED.backup(["--stdin"], heard.append, source=source)["snapshot_id"] == "s"
    assert len(heard) == 3000


def test_input_of_which_a_part_was_read_is_not_taken_for_all_of_it(simulated, tmp_path):
    """Another host's lock, which ends between the first run and the second."""
    simulated.write_text(f"""#!/bin/sh
[ "$1" = unlock ] && exit
[ -f {tmp_path}/tried ] && {{ cat > {tmp_path}/stored; echo '{{"message_type": "summary"}}'; exit; }}
touch {tmp_path}/tried
head -c 100000 > /dev/null
echo 'Fatal: unable to create lock in backend: repository is already locked' >&2
exit 1
""")
    with pytest.raises(ResticError, match="another run uses the repository"):
        UNUSED.backup(["--stdin"], lambda _: None, source=iter([bytes(2**16)] * 9))
    assert not (tmp_path / "stored").exists()


@pytest.mark.parametrize(
    ("complaint", "unread"),
    [
        ({"error": {"Op": "open", "Path": "a", "Err": 5}, "item": "/a"}, ["/a: Input/output error"]),
        ({"error": {"message": "open /a: input/output error"}, "item": "/a"}, ["/a: open /a: input/output error"]),
        ({"error": {"Op": "lstat", "Path": "a", "Err": 2}, "item": "/a"}, []),
        ({"error": {"message": "lstat /a: no such file or directory"}, "item": "/a"}, []),
    ],
)
def test_file_that_could_not_be_read_is_told_and_one_that_was_removed_is_not(simulated, complaint, unread):
    simulated.write_text(f"""#!/bin/sh
echo '{{"message_type": "summary", "snapshot_id": "s"}}'
echo '{json.dumps(complaint)}' >&2
echo 'Warning: at least one source file could not be read' >&2
exit 3
""")
    assert UNUSED.backup(["."], lambda _: None)["unread"] == unread
