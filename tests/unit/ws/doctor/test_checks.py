"""`ws doctor`: it reports each precondition that is not met, with a remedy."""

import io
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from config.load import load
from config.matrix import MatrixSettings
from config.matrix_rules import select
from config.platform import PlatformSettings
from preflight import cluster, host
from preflight.build_host import BuildHost
from preflight.cluster_facts import ClusterFacts
from preflight.container_users import HostUsers
from preflight.host_facts import ContainerPort, HostFacts
from stack.base_age import BaseAge
from testing import lab_facts
from testing.lab import at, changed
from ws.doctor import checks
from ws.doctor import facts as doctor_facts
from ws.doctor.checks import State, rows
from ws.doctor.facts import Facts
from ws.doctor.view import table
from ws.setup.docker import DockerFacts
from ws.stack_settings import StackSettings

ENGINE = {"ServerVersion": "29.0.1", "Architecture": "x86_64", "DockerRootDir": "/var/lib/docker"}
SOUND = Facts(
    stack="dev",
    python=(3, 13, 2),
    host=DockerFacts(answers=True, root=True, debian=True, installed=True),
    engine=ENGINE,
    disk_free=100 * 10**9,
    debootstrap=True,
    settings=PlatformSettings(),
    host_facts=HostFacts(cpus=64, memory_bytes=2**38, docker_reachable=True),
    state_mode=0o700,
)
OLD_ENGINE = HostFacts(cpus=64, memory_bytes=2**38, docker_reachable=True, engine_version="26.1.5")
# what is wrong → (facts, the check that says so, state, part of the remedy)
FAULTS: dict[str, tuple[dict[str, Any], str, State, str]] = {
    "old Python": ({"python": (3, 9, 2)}, "Python", State.FAIL, "3.11"),
    "old bases": (
        {"bases": (BaseAge(tag="cslr/base:forky-1", made=date(2026, 1, 1)),), "today": date(2026, 3, 1)},
        "Age of bases",
        State.WARN,
        "--refresh-bases",
    ),
    "no Docker, but we may install it": (
        {"engine": None, "host": DockerFacts(root=True, debian=True)},
        "Docker Engine",
        State.FAIL,
        "`ws up` installs",
    ),
    "no Docker, and we may not": (
        {"engine": None, "host": DockerFacts(debian=True)},
        "Docker Engine",
        State.FAIL,
        "sudo",
    ),
    "old Docker": (
        {"engine": {**(SOUND.engine or {}), "ServerVersion": "19.03.8"}},
        "Docker Engine",
        State.FAIL,
        "20.10",
    ),
    "no way to a base image": (
        {"debootstrap": False, "host": DockerFacts(answers=True)},
        "Base images",
        State.FAIL,
        "install debootstrap",
    ),
    "debootstrap will be installed": ({"debootstrap": False}, "Base images", State.WARN, "`ws up`"),
    "disk full": ({"disk_free": 10**9}, "Disk", State.FAIL, "ws matrix --prune"),
    "plugins missing": (
        {"pulumi": Path("/usr/bin/pulumi"), "missing_plugins": ("pulumi-resource-docker",)},
        "Pulumi CLI",
        State.WARN,
        "plugin install",
    ),
    "secrets open to others": ({"state_mode": 0o755}, "State folder", State.WARN, "chmod"),
    "state of another user": ({"state_owned": False}, "State folder", State.FAIL, "run this as its owner"),
    "stack file wrong": (
        {"settings": None, "settings_error": "Pulumi.dev.yaml: redis.port: wrong.\n  Set it:"},
        "Stack file",
        State.FAIL,
        "Set it",
    ),
    "port in use": (
        {"host_facts": HostFacts(container_ports=(ContainerPort(container="web", address="0.0.0.0", port=8888),))},
        "Ports",
        State.FAIL,
        "ws set",
    ),
    "firewall off": (
        {"settings": load({"firewall": {"enabled": False}}, stack_file="f"), "host_facts": OLD_ENGINE},
        "Other machines",
        State.WARN,
        "iptables -I DOCKER-USER",
    ),
    "firewall gone": ({"deployed": True, "host_facts": OLD_ENGINE}, "Other machines", State.FAIL, "ws up -s dev"),
    "firewall unhealthy": (
        {"deployed": True, "firewall": "unhealthy", "host_facts": OLD_ENGINE},
        "Other machines",
        State.FAIL,
        "ws logs firewall -s dev",
    ),
    "firewall killed": ({"left_rules": ("gpu",)}, "Other machines", State.WARN, "ws down -s gpu"),
    "firewall of a stack without a file": (
        {"left_rules": ("old",)},
        "Other machines",
        State.WARN,
        "delete table inet cslr-old",
    ),
    "too little memory": ({"host_facts": HostFacts(memory_bytes=2**31)}, "CPUs, memory", State.FAIL, "ws set"),
    "a person with the containers' number": (
        {"users": HostUsers(names={1000: "alice"}, own=0)},
        "Containers' user",
        State.WARN,
        "",
    ),
    "GPU without runtime": (
        {
            "settings": PlatformSettings.model_validate({"gpu": {"enabled": True}}),
            "host_facts": HostFacts(docker_reachable=True),
        },
        "GPUs",
        State.FAIL,
        "nvidia-ctk",
    ),
}


def test_a_sound_host_has_nothing_to_say():
    found = rows(SOUND)
    assert {row.state for row in found} == {State.OK}
    assert not any(row.remedy for row in found)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_seen_by_its_check_alone_and_has_a_remedy(fault):
    fields, name, state, remedy = FAULTS[fault]
    found = [row for row in rows(replace(SOUND, **fields)) if row.state is not State.OK]
    assert {row.name for row in found} == {name}
    assert {row.state for row in found} == {state}
    assert remedy in "\n".join(row.remedy for row in found)


def test_every_check_of_the_program_is_made():
    assert {check.run for check in checks.HOST_CHECKS} == {*host.CHECKS}
    assert {run for check in checks.CLUSTER_CHECKS for run in check.run} == {*cluster.CHECKS}


@pytest.mark.parametrize("check", checks.HOST_CHECKS, ids=lambda check: check.title)
def test_every_check_says_what_is_fine(check):
    gpu = load({"gpu": {"enabled": True}}, stack_file="f")
    assert check.describe(gpu, SOUND.host_facts)


def test_the_table_shows_remedies_below_the_state():
    console = Console(file=io.StringIO(), width=120)
    console.print(table(rows(replace(SOUND, disk_free=0))))
    assert "free 20 GB" in console.file.getvalue()  # type: ignore[attr-defined]


class TestMatrix:
    """A stack that builds images is asked for what building needs, not for ports and folders."""

    TAGS = tuple((wanted, wanted.name) for wanted in select(MatrixSettings()))
    FACTS = replace(
        SOUND,
        stack="matrix",
        settings=None,
        matrix=MatrixSettings(),
        images=TAGS,
        build_host=BuildHost(processor="x86_64", docker_root="/var/lib/docker", free=10**12),
    )

    def test_is_sound_where_there_is_room(self):
        found = {row.name: row for row in rows(self.FACTS)}
        assert {row.state for row in found.values()} == {State.OK}
        assert found["Stack file"].detail == "Pulumi.matrix.yaml: 18 images to build"
        assert found["Room for images"].detail.startswith("18 of 18 images are missing, about ")
        assert found["Room for images"].detail.endswith("; 1000 GB free in /var/lib/docker")
        assert not {"Ports", "Disk"} & found.keys()

    def test_says_that_there_is_no_room_and_what_to_do(self):
        facts = replace(self.FACTS, build_host=replace(self.FACTS.build_host, free=10**9))
        row = next(row for row in rows(facts) if row.name == "Room for images")
        assert row.state is State.FAIL
        assert "ws matrix --prune" in row.remedy

    def test_collects_what_the_stack_file_selects(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr("stack.sources.reachable", lambda _url, **_: True)
        monkeypatch.setattr(doctor_facts, "reachable", lambda _url, **_: True)
        facts, everything = Facts.collect("matrix"), select(MatrixSettings(services=("*",)))
        assert (facts.settings, len(facts.images), facts.settings_error) == (None, len(everything), "")
        assert not list(tmp_path.rglob("sources.json"))


class TestCluster:
    """A host of a cluster is asked for what the other hosts demand of it, too."""

    FACTS = replace(SOUND, stack="alpha", settings=at("alpha"), host_facts=lab_facts.HOST, cluster=lab_facts.SOUND)

    def test_is_sound_where_hosts_agree(self):
        found = {row.name: row for row in rows(self.FACTS)}
        assert {row.state for row in found.values()} == {State.OK}
        assert found["Cluster"].detail == "alpha of lab (Pulumi.alpha.yaml)"
        assert found["Redis"].detail == "10.88.0.3:6381, with a replica at 10.88.0.2:6382"
        assert found["Other hosts"].detail == "beta, gamma"

    def test_has_a_row_for_each_way_in_which_they_do_not(self):
        facts = replace(self.FACTS, cluster=replace(lab_facts.SOUND, clock_ahead=9.0))
        [row] = [row for row in rows(facts) if row.state is not State.OK]
        assert (row.name, row.state) == ("Clock", State.FAIL)
        assert "hosts.alpha: the clock of alpha is 9.0 s ahead" in row.detail
        assert "timedatectl" in row.remedy

    def test_warns_of_what_stops_no_deployment(self):
        facts = replace(self.FACTS, settings=at("alpha", None, changed(redis={"host": "gamma"})))
        [row] = [row for row in rows(facts) if row.state is not State.OK]
        assert (row.name, row.state) == ("Redis", State.WARN)
        assert "single point" in row.detail

    def test_says_what_it_could_not_find_out(self):
        facts = replace(self.FACTS, cluster=ClusterFacts(silence="Connection refused"))
        found = {row.name: row for row in rows(facts)}
        assert {row.state for row in found.values()} == {State.OK}
        assert "does not answer yet" in found["Redis"].detail
        assert found["Versions"].detail == "not known: Redis does not answer"

    def test_is_asked_for_its_key(self):
        facts = replace(self.FACTS, cluster_error="Pulumi.alpha.yaml: cslr:clusterKey: is needed.\n  Copy it:")
        [row] = [row for row in rows(facts) if row.state is not State.OK]
        assert (row.name, row.state, row.remedy) == ("Cluster", State.FAIL, "  Copy it:")

    def test_collects_what_the_cluster_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        block = changed(hosts={"gamma": {"address": "192.0.2.1"}}, head_whitelist=None, redis={"host": "gamma"})
        (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
        (tmp_path / "Pulumi.gamma.yaml").write_text(yaml.safe_dump({"config": {"cslr:cluster": block}}))
        monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
        monkeypatch.setattr(ClusterFacts, "probe", lambda membership, **options: ClusterFacts(machine=membership.host))
        facts = doctor_facts.platform_facts(StackSettings.read("gamma", {}))
        assert facts["cluster"].machine == "gamma"
        assert not list(tmp_path.glob("cslr/**/*.key"))


class TestBases:
    def test_that_are_young_are_a_good_row(self):
        base = BaseAge(tag="cslr/base:forky-1", made=date(2026, 2, 1))
        (row,) = [one for one in rows(replace(SOUND, bases=(base,), today=date(2026, 3, 1))) if "Age" in one.name]
        assert (row.state, row.detail) == (State.OK, "28 days, of at most 30")
