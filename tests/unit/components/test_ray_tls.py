"""Ray's own TLS: who gets the certificate and is told of it, and that nothing changes without."""

import json
from pathlib import Path

import pytest

from config.load import load
from config.problems import SettingsError
from contracts.ray_tls import FILES, environment
from embedded_engine.changes import ProgramError
from testing.harness import CLUSTER, Deployed, deploy, merged
from tests.unit.everything import SECRETS, SINGLE

ON = {"ray": {"tls": True}}
TARGETS = {f"/run/secrets/{name}" for name in FILES}


@pytest.fixture(scope="module")
def on(home) -> Deployed:
    return deploy(merged(SINGLE, ON), state_home=home, secrets=SECRETS)


def users(deployed: Deployed) -> set[str]:
    return {name for name, one in deployed.containers.items() if one.mounts.keys() & TARGETS}


def test_what_talks_to_ray_by_grpc_has_the_certificate(on):
    expected = {name for name in on.containers if name.startswith(("ray-", "marimo"))} | {"devel"}
    assert users(on) == expected
    for name in expected:
        container = on.containers[name]
        assert container.mounts.keys() >= TARGETS, name
        assert environment().items() <= container.env.items(), name


def test_nothing_else_is_another(off, on):
    assert users(off) == set()
    for name, container in on.containers.items():
        before = off.containers[name]
        assert {key: value for key, value in container.env.items() if key not in environment()} == before.env, name
        assert {key: value for key, value in container.mounts.items() if key not in TARGETS} == before.mounts, name


def test_the_verification_shows_it_too(off, on):
    assert json.loads(off.verification_spec)["secrets"]["ray_certificate"] == {}
    given = json.loads(on.verification_spec)["secrets"]["ray_certificate"]
    assert {name: Path(path).name for name, path in given.items()} == {name: name for name in FILES}


def test_a_second_deployment_mounts_the_same(home, on):
    again = deploy(merged(SINGLE, ON), state_home=home, secrets=SECRETS)
    assert {name: one.mounts for name, one in again.containers.items()} == {
        name: one.mounts for name, one in on.containers.items()
    }


class TestRefused:
    def test_in_a_cluster_of_several_hosts(self, tmp_path):
        with pytest.raises(ProgramError, match=r"ray\.tls: Ray's TLS is for a stack on one host") as refused:
            deploy(ON, state_home=tmp_path, stack="alpha", cluster=CLUSTER)
        assert "ws unset ray.tls -s alpha" in str(refused.value)

    def test_with_a_head_elsewhere(self):
        with pytest.raises(SettingsError, match=r"ray\.tls: the head at 10\.0\.0\.7:6379 \(ray\.head_address\)"):
            load({"ray": {"tls": True, "head_address": "10.0.0.7:6379"}}, stack_file="f")

    @pytest.mark.parametrize("name", environment())
    def test_a_variable_that_would_contradict_it(self, name):
        with pytest.raises(SettingsError, match=f"{name}.* set by the platform"):
            load({"ray": {"cpu": {"env": {name: "0"}}}}, stack_file="f")
