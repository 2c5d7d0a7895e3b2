"""MLflow's logins: who gets which password as a file, and that nothing changes without them."""

import json

import pytest

from testing.harness import Deployed, deploy, merged
from tests.unit.everything import SECRETS, SINGLE

ADMIN, SERVICE = "/run/secrets/mlflow-admin-password", "/run/secrets/mlflow-password"
RIGHTS = "/run/cslr/mlflow_rights.py"  # MLflow's cache of rights
ON = {"mlflow": {"logins": True}}


@pytest.fixture(scope="module")
def on(home) -> Deployed:
    return deploy(merged(SINGLE, ON), state_home=home, secrets=SECRETS)


def having(deployed: Deployed, target: str) -> set[str]:
    return {name for name, container in deployed.containers.items() if target in container.mounts}


def test_without_logins_no_container_has_a_password(off):
    assert having(off, ADMIN) == having(off, SERVICE) == set()
    assert json.loads(off.verification_spec)["mlflow_published"]["logins"] is False


def test_only_mlflow_has_the_password_of_its_admin(on):
    assert having(on, ADMIN) == {"mlflow"}


def test_what_logs_to_mlflow_has_the_password_of_the_platform(on):
    expected = {"mlflow", "health", "queue", "transcription", "devel"}
    assert expected <= having(on, SERVICE)
    assert {name for name in on.containers if name.startswith(("ray-cpu", "marimo"))} <= having(on, SERVICE)
    assert having(on, SERVICE).isdisjoint({"redis", "postgres", "exporter", "prometheus", "keeper", "firewall"})


def test_the_verification_is_given_it_too(on):
    spec = json.loads(on.verification_spec)
    assert spec["secrets"]["mlflow_password"]
    assert spec["mlflow_published"]["logins"] is True


def test_nothing_but_mounts_of_secrets_and_mlflows_cache_is_another(off, on):
    for name, container in on.containers.items():
        before = off.containers[name]
        assert container.env == before.env, name
        assert {
            key: value for key, value in container.mounts.items() if key not in (ADMIN, SERVICE, RIGHTS)
        } == before.mounts
