"""A repository at a real S3 server: what gets there and back, and how refusals are explained."""

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testing.breakable_link import breakable
from testing.client_servers import HOST
from testing.s3_server import Server, serving
from ws.backup import sets
from ws.backup.restic import Repository, ResticError
from ws.backup.restoring import Report, compare_folder, extracted

pytestmark = [
    pytest.mark.usefixtures("restic"),
    pytest.mark.skipif(
        importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None,
        reason="no S3 server: requirements-dev.txt has moto",
    ),
]
DUMP = os.urandom(2**20)
WEIGHTS = os.urandom(3 * 2**20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def repository(server: Server, tmp_path: Path) -> Repository:
    password = tmp_path / "password"
    password.write_text("a password of a repository")
    return Repository(
        location=f"{server.location()}/{tmp_path.name}",
        password_file=password,
        s3_credentials=server.credentials(tmp_path / "credentials"),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "weights").write_bytes(WEIGHTS)
    return folder


def back_up(repository: Repository, name: str, data: Path) -> tuple[sets.Folder, int]:
    """Makes a backup of a folder and of a dump. Returns the former, and how much was new."""
    arguments = [*sets.tags(name, "dev", "x.sql"), "--stdin", "--stdin-filename", "x.sql"]
    dump = repository.backup(arguments, lambda _: None, source=iter([DUMP]))
    said = repository.backup([*sets.tags(name, "dev", "home"), "."], lambda _: None, folder=data)
    folder = sets.Folder(
        snapshot=said["snapshot_id"], files=said["total_files_processed"], size=said["total_bytes_processed"]
    )
    return folder, dump["data_added"] + said["data_added"]


def test_backups_come_back_elsewhere(repository, data, tmp_path):
    assert not repository.exists()
    repository.make()
    assert repository.exists()
    _, added = back_up(repository, "a", data)
    assert added > len(DUMP)
    folder, added = back_up(repository, "b", data)
    assert added < len(DUMP) / 10, "only what has changed is stored"
    assert [entry.name for entry in sets.entries(repository)] == ["a", "b"]
    repository.run("check", "--read-data")

    elsewhere, report = tmp_path / "elsewhere", Report()
    elsewhere.mkdir()
    other = replace(repository, s3_credentials=repository.s3_credentials.rename(elsewhere / "credentials"))
    with extracted(other, folder, elsewhere) as at:
        compare_folder(other, "home", folder, at, report, owners=True)
        assert (at / "weights").read_bytes() == WEIGHTS
    assert (report.files, report.differences) == (1, [])
    for entry in sets.entries(other):
        dumps = [one for one in other.json("snapshots", *entry.snapshots) if "part=x.sql" in one["tags"]]
        assert [b"".join(other.read(one["id"], "/x.sql")) for one in dumps] == [DUMP]


@pytest.mark.parametrize("wrong", [{"key": "AKIANOBODY"}, {"secret": "another"}])
def test_refused_credentials_are_told_and_change_nothing(server, repository, data, tmp_path, wrong):
    repository.make()
    back_up(repository, "a", data)
    refused = replace(repository, s3_credentials=server.credentials(tmp_path / "wrong", **wrong))
    for action in (refused.exists, refused.make, lambda: back_up(refused, "b", data)):
        with pytest.raises(
            ResticError, match=r"(?s)refuses the credentials in \S+/wrong: .*backup\.s3_credentials"
        ) as told:
            action()
        assert not told.value.absent
    assert [entry.name for entry in sets.entries(repository)] == ["a"]
    repository.run("check")


def test_server_that_does_not_answer_is_told(repository):
    gone = replace(repository, location=f"s3:http://{HOST}:1/backups/cslr")
    with pytest.raises(ResticError, match=r"does not answer: .*connection refused") as told:
        gone.exists()
    assert not told.value.absent


def test_server_that_goes_away_is_told_and_the_backup_goes_on_when_it_is_back(server, repository, data):
    with breakable(server.port) as link:
        told: list[str] = []

        def waits(text: str) -> None:
            told.append(text)
            link.mend()

        location = repository.location.replace(server.url, server.by(link.port).url)
        repository = replace(repository, location=location, say=waits)
        repository.make()

        def dump() -> Iterator[bytes]:
            for _ in range(8):
                yield os.urandom(2**20)
            link.fail()
            for _ in range(8):
                yield os.urandom(2**20)

        arguments = [*sets.tags("a", "dev", "x.sql"), "--stdin", "--stdin-filename", "x.sql"]
        said = repository.backup(arguments, lambda _: None, source=dump())
        assert (said["total_bytes_processed"], said["unread"]) == (2**24, [])
        assert re.fullmatch(r"s3:\S+: restic tries again for some minutes: .+", told[0])
        repository.run("check", "--read-data")


def test_missing_bucket_is_no_repository_and_the_first_backup_makes_it(server, repository, data):
    elsewhere = replace(repository, location=server.location("not-there"))
    assert not elsewhere.exists()
    with pytest.raises(ResticError, match="there is no repository at s3:"):
        sets.entries(elsewhere)
    elsewhere.make()
    back_up(elsewhere, "a", data)
    assert [entry.name for entry in sets.entries(elsewhere)] == ["a"]
