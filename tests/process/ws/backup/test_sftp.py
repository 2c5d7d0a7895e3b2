"""A repository behind a real sshd: what gets there, and how a login or a connection that fails is explained."""

import getpass
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.client_servers import HOST
from testing.ssh_server import Server, make_key, serving
from ws.backup import sets
from ws.backup.restic import Repository, ResticError
from ws.backup.restoring import Report, compare_folder, extracted

pytestmark = pytest.mark.usefixtures("restic")
PART = os.urandom(2**20)
# As at a timer, where nobody can be asked.
CONFIG = """\
BatchMode yes
IdentitiesOnly yes
IdentityFile {folder}/key
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile none
"""


@pytest.fixture(scope="module")
def server(sshd, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    with serving(sshd, folder, rights="restrict", settings={"Subsystem": "sftp internal-sftp"}) as running:
        yield running


@pytest.fixture
def user(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder with a user's configuration of ssh, who may log in and has accepted the host key."""
    folder = tmp_path / "user"
    (folder / "bin").mkdir(parents=True)
    (folder / "config").write_text(CONFIG.format(folder=folder))
    shutil.copy(server.folder / "key", folder / "key")
    (folder / "known").write_text(server.host_key)
    ssh = folder / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    return folder


@pytest.fixture
def repository(server: Server, user: Path, tmp_path: Path) -> Repository:
    password = tmp_path / "password"
    password.write_text("a password of a repository")
    location = f"sftp://{getpass.getuser()}@{HOST}:{server.port}/{tmp_path}/repository"
    return Repository(location=location, password_file=password)


def store(repository: Repository, folder: Path) -> sets.Folder:
    said = repository.backup([*sets.tags("a", "dev", "home"), "."], lambda _: None, folder=folder)
    return sets.Folder(
        snapshot=said["snapshot_id"], files=said["total_files_processed"], size=said["total_bytes_processed"]
    )


def test_folder_comes_back(repository, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "weights").write_bytes(PART)
    assert not repository.exists()
    repository.make()
    assert repository.exists()
    folder, report = store(repository, data), Report()
    with extracted(repository, folder) as at:
        compare_folder(repository, "home", folder, at, report, owners=True)
        assert (at / "weights").read_bytes() == PART
    assert (report.files, report.differences) == (1, [])


@pytest.mark.parametrize("known", ["", "another"])
def test_host_key_that_is_not_known_is_not_accepted(server, repository, user, known):
    if known:
        make_key(user / "other")
        known = server.host_key.split()[0] + " " + (user / "other.pub").read_text()
    (user / "known").write_text(known)
    with pytest.raises(ResticError, match=r"host key of sftp:.* log in once with ssh") as refused:
        repository.exists()
    assert not refused.value.absent


def test_key_that_the_server_does_not_know_is_told(repository, user):
    (user / "key").unlink()
    make_key(user / "key")
    with pytest.raises(ResticError, match=r"does not accept the SSH key of this user.*ssh-copy-id"):
        repository.exists()


def test_server_that_does_not_answer_is_told(repository):
    gone = Repository(location=f"sftp://{getpass.getuser()}@{HOST}:1//srv/b", password_file=repository.password_file)
    with pytest.raises(ResticError, match=r"does not answer: .*Connection refused") as refused:
        gone.exists()
    assert not refused.value.absent


def test_connection_that_breaks_is_told_and_the_next_run_completes(server, repository):
    def broken() -> Iterator[bytes]:
        for number in range(64):
            if number == 32:
                server.cut()
            yield os.urandom(2**20)

    repository.make()
    arguments = [*sets.tags("a", "dev", "x.sql"), "--stdin", "--stdin-filename", "x.sql"]
    with pytest.raises(ResticError, match=r"(?s)the connection to sftp:.* broke.*Run it again"):
        repository.backup(arguments, lambda _: None, source=broken())
    assert sets.entries(repository) == []
    repository.backup(arguments, lambda _: None, source=iter([PART] * 64))
    (made,) = sets.entries(repository)
    assert b"".join(repository.read(made.snapshots[0], "/x.sql")) == PART * 64
    repository.run("check", "--read-data")
