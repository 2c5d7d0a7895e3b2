"""Datasets in the settings: what a host is given, and one clear error for every mistake."""

from typing import Any

import pytest

from config.load import load
from config.problems import SettingsError
from config.yaml_file import InvalidYamlError, parse_yaml
from testing.lab import at, changed, membership_in

FILE = "Pulumi.dev.yaml"
KEY = f"{FILE}: cslr:platform.datasets"


def refusal(name: str, dataset: Any, **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load({"datasets": {name: dataset}, **more}, stack_file=FILE)
    [problem] = caught.value.problems
    assert problem.advice
    assert problem.commands
    return str(caught.value)


def cluster_refusal(**dataset: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        membership_in(changed(datasets={"signs": {"source": "/srv/signs", **dataset}}))
    return str(caught.value)


class TestOfASingleHost:
    def test_are_read_only_unless_said(self):
        settings = load({"datasets": {"signs": {"source": "/srv//signs/"}}}, stack_file=FILE)
        assert (settings.datasets["signs"].source, settings.datasets["signs"].read_only) == ("/srv/signs", True)

    def test_are_given_to_services_that_compute(self):
        settings = load({"datasets": {"signs": {"source": "/srv/signs"}}}, stack_file=FILE)
        given = {name for name in settings.services() if settings.datasets_of(name)}
        assert given == {"ray-cpu", "marimo"}

    @pytest.mark.parametrize("section", [None, {}])
    def test_may_be_none(self, section):
        assert load({"datasets": section}, stack_file=FILE).datasets == {}

    @pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "a:b", "-a", "a.b", "a" * 64, "zoë"])
    def test_have_names_that_are_paths_and_resources(self, name):
        assert "is not a valid name for a dataset" in refusal(name, {"source": "/srv/x"})

    def test_have_each_name_once(self):
        with pytest.raises(InvalidYamlError, match="the key 'signs' is there twice"):
            parse_yaml("datasets: {signs: {source: /a}, signs: {source: /b}}")

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("srv/signs", "is not an absolute path"),
            ("~/signs", "is not an absolute path"),
            ("/srv/../etc", "must be a plain absolute path"),
            ("/srv/a:b", "must be a plain absolute path"),
            ("/srv/a\nb", "must be a plain absolute path"),
            ("/srv/a,b", "has a character that paths of datasets cannot have"),
            ("/srv/it's", "has a character that paths of datasets cannot have"),
            ("/", "/ leads to the Docker socket"),
            ("/etc", "is this host's own configuration"),
            ("/etc/ssl", "is this host's own configuration"),
            ("/proc", "holds this host's processes"),
            ("/sys/x", "controls this host's kernel"),
            ("/var/lib/docker/volumes", "holds the files of all containers"),
            ("/var", "/var leads to the Docker socket"),
        ],
    )
    def test_are_plain_folders_that_the_host_does_not_depend_on(self, source, reason):
        text = refusal("signs", {"source": source})
        assert text.startswith(f"{KEY}.signs.source: ")
        assert reason in text
        assert "read_only" not in text

    def test_need_a_source(self):
        assert f"{KEY}.signs.source: is missing" in refusal("signs", {})

    def test_have_no_hosts(self):
        assert f"{KEY}.signs.hosts: unknown key" in refusal("signs", {"source": "/srv/x", "hosts": ["alpha"]})

    @pytest.mark.parametrize("target", ["/data", "/data/signs", "/data/signs/train"])
    def test_are_not_hidden_by_a_volume(self, target):
        volumes = [{"source": "mine", "target": target}]
        text = refusal("signs", {"source": "/srv/x"}, marimo={"volumes": volumes})
        assert f"cslr:platform.marimo.volumes[0].target: {target} is taken by the dataset signs" in text

    def test_leave_other_targets_to_volumes(self):
        volumes = [{"source": "mine", "target": "/data/other"}]
        load({"datasets": {"signs": {"source": "/srv/x"}}, "marimo": {"volumes": volumes}}, stack_file=FILE)


class TestOfACluster:
    def test_are_on_all_hosts_unless_said(self):
        block = changed(datasets={"a": {"source": "/srv/a"}, "b": {"source": "/srv/b", "hosts": ["gamma"]}})
        assert {host: set(at(host, None, block).datasets) for host in ("alpha", "gamma")} == {
            "alpha": {"a"},
            "gamma": {"a", "b"},
        }

    def test_are_not_declared_by_a_host(self):
        with pytest.raises(
            SettingsError, match=r"platform\.datasets: has no meaning on a host of the cluster lab"
        ) as caught:
            at("alpha", {"datasets": {"signs": {"source": "/srv/x"}}})
        assert "Set datasets in " in str(caught.value) or "cslr:cluster.datasets" in str(caught.value)

    def test_are_on_hosts_of_the_cluster(self):
        text = cluster_refusal(hosts=["alpha", "gama"])
        assert "cslr:cluster.datasets.signs.hosts[1]: 'gama' is not a host of this cluster" in text
        assert "gamma" in text

    def test_are_on_each_host_once(self):
        assert "datasets.signs.hosts[1]: alpha is listed twice" in cluster_refusal(hosts=["alpha", "alpha"])

    def test_are_on_some_host(self):
        assert "datasets.signs.hosts: it is empty, so no host holds signs" in cluster_refusal(hosts=[])

    def test_are_no_folders_of_the_system(self):
        assert "datasets.signs.source: /etc/ssl is in /etc" in cluster_refusal(source="/etc/ssl")
