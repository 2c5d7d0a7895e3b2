"""The preflight of datasets: each folder is looked at before anything changes, with the words of the right file."""

from typing import Any

import pytest

from config.load import load
from config.problems import SettingsError
from preflight import cluster, host
from preflight.cluster_facts import ClusterFacts
from preflight.host_facts import Folder, HostFacts
from testing.lab import at, changed

FILE = "Pulumi.dev.yaml"
OPEN = Folder(mode=0o755)


def check(facts: HostFacts, **dataset: Any) -> None:
    raw = {"datasets": {"signs": {"source": "/srv/signs", **dataset}}}
    host.check(load(raw, stack_file=FILE), facts, FILE)


def refusal(facts: HostFacts, **dataset: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check(facts, **dataset)
    [problem] = caught.value.problems
    assert problem.advice
    return str(caught.value)


class TestOfASingleHost:
    def test_are_fine_where_they_can_be_read(self):
        check(HostFacts(folder=lambda _: OPEN))

    def test_must_be_there(self):
        text = refusal(HostFacts(folder=lambda _: None))
        assert f"{FILE}: cslr:platform.datasets.signs.source: there is no folder /srv/signs on this host" in text
        assert "sudo install -d -o 1000 -g 1000 /srv/signs" in text

    @pytest.mark.parametrize("found", [Folder(is_folder=False), Folder(is_folder=False, special="a socket")])
    def test_must_be_folders(self, found):
        assert "/srv/signs is a" in refusal(HostFacts(folder=lambda _: found))

    def test_must_be_readable(self):
        text = refusal(HostFacts(folder=lambda _: Folder(mode=0o700)))
        assert "/srv/signs cannot be read by user 1000, which ray-cpu runs as" in text
        assert "sudo setfacl -m u:1000:rx /srv/signs" in text

    def test_must_be_writable_only_where_they_are_written(self):
        text = refusal(HostFacts(folder=lambda _: OPEN), read_only=False)
        assert "/srv/signs cannot be written by user 1000" in text

    def test_may_not_lead_to_what_is_the_hosts_own(self):
        facts = HostFacts(folder=lambda _: OPEN, spellings=lambda path, _: (path, "/var/lib/docker/volumes"))
        text = refusal(facts)
        assert "/srv/signs leads to what is not for containers: /var/lib/docker/volumes is in" in text

    def test_may_not_be_dockers_wherever_that_is(self):
        facts = HostFacts(folder=lambda _: OPEN, docker_root="/srv", spellings=lambda path, _: (path,))
        assert "/srv/signs is in /srv, which holds the files of all containers" in refusal(facts)


class TestOfACluster:
    @staticmethod
    def refusal(**dataset: Any) -> str:
        settings = at("alpha", None, changed(datasets={"signs": {"source": "/srv/signs", **dataset}}))
        with pytest.raises(SettingsError) as caught:
            cluster.check(settings, HostFacts(folder=lambda _: None), ClusterFacts())
        return str(caught.value)

    def test_are_copied_from_a_host_that_has_them(self):
        text = self.refusal(hosts=["gamma", "alpha"])
        assert "cslr:cluster.datasets.signs.source: there is no folder /srv/signs on this host" in text
        assert "ws data sync signs --to alpha    # on gamma" in text

    def test_are_made_where_no_other_host_has_them(self):
        assert "sudo install -d -o 1000 -g 1000 /srv/signs" in self.refusal(hosts=["alpha"])

    def test_do_not_matter_to_hosts_that_do_not_hold_them(self):
        settings = at("alpha", None, changed(datasets={"signs": {"source": "/srv/signs", "hosts": ["gamma"]}}))
        cluster.check(settings, HostFacts(folder=lambda _: None), ClusterFacts())
