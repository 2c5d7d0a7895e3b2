"""`ws doctor`: each precondition that is not met is seen, and comes with a remedy."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.build_host import BuildHost
from components.host_facts import ContainerPort, HostFacts
from components.matrix_settings import MatrixSettings
from components.selection import select
from components.settings import PlatformSettings
from ws import doctor
from ws.doctor import Facts, State
from ws.setup.docker import Host

ENGINE = {"ServerVersion": "29.0.1", "Architecture": "x86_64", "DockerRootDir": "/var/lib/docker"}
SOUND = Facts(
    stack="dev",
    python=(3, 13, 2),
    host=Host(answers=True, root=True, debian=True, installed=True),
    engine=ENGINE,
    disk_free=100 * 10**9,
    debootstrap=True,
    settings=PlatformSettings(),
    host_facts=HostFacts(cpus=64, memory_bytes=2**38, docker_reachable=True),
    state_mode=0o700,
)
# what is wrong → (facts, the check that says so, state, part of the remedy)
FAULTS: dict[str, tuple[dict[str, Any], str, State, str]] = {
    "old Python": ({"python": (3, 9, 2)}, "Python", State.FAIL, "3.11"),
    "no Docker, but we may install it": (
        {"engine": None, "host": Host(root=True, debian=True)},
        "Docker Engine",
        State.FAIL,
        "`ws up` installs",
    ),
    "no Docker, and we may not": ({"engine": None, "host": Host(debian=True)}, "Docker Engine", State.FAIL, "sudo"),
    "old Docker": (
        {"engine": {**(SOUND.engine or {}), "ServerVersion": "19.03.8"}},
        "Docker Engine",
        State.FAIL,
        "20.10",
    ),
    "no way to a base image": (
        {"debootstrap": False, "host": Host(answers=True)},
        "Base images",
        State.FAIL,
        "install debootstrap",
    ),
    "debootstrap will be installed": ({"debootstrap": False}, "Base images", State.WARN, "`ws up`"),
    "disk full": ({"disk_free": 10**9}, "Disk", State.FAIL, "docker image prune"),
    "plugins missing": (
        {"pulumi": Path("/usr/bin/pulumi"), "missing_plugins": ("pulumi-resource-docker",)},
        "Pulumi CLI",
        State.WARN,
        "plugin install",
    ),
    "secrets open to others": ({"state_mode": 0o755}, "State folder", State.WARN, "chmod"),
    "state of another user": ({"state_owned": False}, "State folder", State.FAIL, "chown"),
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
        "config set",
    ),
    "too little memory": ({"host_facts": HostFacts(memory_bytes=2**31)}, "CPUs, memory", State.FAIL, "config set"),
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
    found = doctor.rows(SOUND)
    assert {row.state for row in found} == {State.OK}
    assert not any(row.remedy for row in found)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_seen_by_its_check_alone_and_has_a_remedy(fault):
    fields, name, state, remedy = FAULTS[fault]
    found = [row for row in doctor.rows(replace(SOUND, **fields)) if row.state is not State.OK]
    assert {row.name for row in found} == {name}
    assert {row.state for row in found} == {state}
    assert remedy in "\n".join(row.remedy for row in found)


def test_the_table_shows_remedies_below_the_state():
    console = Console(file=io.StringIO(), width=120)
    console.print(doctor.table(doctor.rows(replace(SOUND, disk_free=0))))
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
        build_host=BuildHost(processor="x86_64", place="/var/lib/docker", free=10**12),
    )

    def test_is_sound_where_there_is_room(self):
        found = {row.name: row for row in doctor.rows(self.FACTS)}
        assert {row.state for row in found.values()} == {State.OK}
        assert found["Stack file"].detail == "Pulumi.matrix.yaml: 18 images of the family"
        assert found["Room for images"].detail.startswith("18 of 18 images are missing, about ")
        assert found["Room for images"].detail.endswith("; 1000 GB free in /var/lib/docker")
        assert not {"Ports", "Disk"} & found.keys()

    def test_says_that_there_is_no_room_and_what_to_do(self):
        facts = replace(self.FACTS, build_host=replace(self.FACTS.build_host, free=10**9))
        row = next(row for row in doctor.rows(facts) if row.name == "Room for images")
        assert row.state is State.FAIL
        assert "ws matrix --prune" in row.remedy

    def test_collects_what_the_stack_file_selects(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr("components.sources.reachable", lambda _url, **_: True)
        monkeypatch.setattr(doctor, "reachable", lambda _url, **_: True)
        facts = Facts.collect("matrix")
        assert (facts.settings, len(facts.images), facts.settings_error) == (None, 18, "")
        assert not list(tmp_path.rglob("sources.json"))
