"""Copies of a dataset, with rsync itself and a stand-in of ssh that enters another view of the file system."""

import os
from dataclasses import replace
from typing import ClassVar

import pytest

from config.datasets import DatasetSettings
from stack.identity import StackIdentity
from testing.lab import at, changed
from ws.data.datasets import Dataset, Datasets
from ws.data.sync import ALL, Options, copy, destinations, refuse_empty, refuse_missing_programs
from ws.errors import WsError
from ws.rolling.ssh import Remote

SSH = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
shift  # the host
exec unshare --map-root-user --mount sh -c 'mount --bind {there} {here} && exec "$@"' sh "$@"
"""
IDENTITY = StackIdentity(project="cslr", stack="alpha")
BETA = Remote(name="beta", destination="beta", folder="", stack="beta", here=False)


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def signs(tmp_path, there, monkeypatch, rsync):
    """A dataset, of which another host has nothing yet."""
    disk = tmp_path / "here"
    folder = disk / "my signs"
    folder.mkdir(parents=True)
    (folder / "one").write_text("1")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH.format(there=there, here=disk))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return Dataset(
        name="signs",
        settings=DatasetSettings(source=str(folder)),
        hosts=("alpha", "beta"),
        here=True,
        services=(),
    )


class TestCopy:
    def test_makes_the_folder_with_all_its_files(self, signs, there):
        assert copy(signs, BETA, Options()) == ""
        assert (there / "my signs" / "one").read_text() == "1"

    def test_only_shows_what_it_would_do(self, signs, there, capfd):
        assert copy(signs, BETA, Options(dry_run=True)) == ""
        assert "one" in capfd.readouterr().out
        assert list(there.iterdir()) == []

    def test_deletes_only_if_asked(self, signs, there):
        copy(signs, BETA, Options())
        extra = there / "my signs" / "extra"
        extra.touch()
        copy(signs, BETA, Options())
        assert extra.exists()
        copy(signs, BETA, Options(delete=True))
        assert not extra.exists()

    def test_compares_content_if_asked(self, signs, there):
        copy(signs, BETA, Options())
        original, other = signs.folder / "one", there / "my signs" / "one"
        other.write_text("2")
        moment = original.stat().st_mtime_ns
        os.utime(other, ns=(moment, moment))
        copy(signs, BETA, Options())
        assert other.read_text() == "2"
        copy(signs, BETA, Options(checksum=True))
        assert other.read_text() == "1"

    def test_is_not_made_of_a_folder_whose_disk_is_away(self, signs):
        refuse_empty(signs)
        (signs.folder / "one").unlink()
        with pytest.raises(WsError, match=r"is empty\. Is its disk mounted\?"):
            refuse_empty(signs)

    def test_says_why_it_failed(self, signs, tmp_path):
        (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\necho Host key verification failed. >&2\nexit 255\n")
        assert "the host key of beta is not known here" in copy(signs, BETA, Options())


class TestPrograms:
    def test_that_are_missing_are_named_with_their_packages(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(WsError, match="this needs rsync, ssh"):
            refuse_missing_programs()


class TestDestinations:
    DATASETS: ClassVar = {
        "signs": {"source": "/srv/signs", "hosts": ["alpha", "beta"]},
        "own": {"source": "/srv/own", "hosts": ["alpha"]},
        "far": {"source": "/srv/far", "hosts": ["gamma"]},
    }

    @pytest.fixture
    def datasets(self):
        return Datasets.of(at("alpha", None, changed(datasets=self.DATASETS)), IDENTITY, "Pulumi.alpha.yaml")

    @pytest.mark.parametrize("to", ["beta", ALL])
    def test_are_other_hosts_that_are_to_hold_it(self, datasets, to):
        assert [host.name for host in destinations(datasets, datasets.get("signs"), to)] == ["beta"]

    @pytest.mark.parametrize(
        ("name", "to", "reason"),
        [
            ("signs", "alpha", "that is this host. It can be one of: beta, all"),
            ("signs", "bta", "there is no such host in the cluster. It can be one of: beta, all"),
            ("signs", "gamma", "gamma is not to hold signs. Add it to cslr:cluster.datasets.signs.hosts in"),
            ("own", ALL, "no other host is to hold own. Add one to cslr:cluster.datasets.own.hosts in"),
        ],
    )
    def test_are_refused_with_those_that_there_are(self, datasets, name, to, reason):
        with pytest.raises(WsError) as caught:
            destinations(datasets, datasets.get(name), to)
        assert reason in str(caught.value)

    def test_are_none_for_a_single_host(self, datasets):
        with pytest.raises(WsError, match="of a single host, so there is no host to copy to"):
            destinations(replace(datasets, host=None), datasets.get("signs"), ALL)

    def test_need_the_dataset_here(self, datasets):
        with pytest.raises(WsError, match=r"alpha does not hold the dataset far\. Run this on one that does: gamma"):
            datasets.held("far")

    def test_need_its_folder(self, datasets):
        with pytest.raises(WsError, match=r"/srv/own, the folder of the dataset own, is not there\.$"):
            datasets.held("own")

    def test_need_a_name_that_there_is(self, datasets):
        with pytest.raises(WsError, match=r"'sings' is not a dataset: .* Did you mean signs\?"):
            datasets.get("sings")
