"""The table of secrets: it knows every file in /run/secrets, and who has which."""

import json

import pytest

from stack.secrets import SECRETS, SECRETS_TARGET
from testing.harness import CLUSTER, deploy, merged
from testing.stack_files import configured
from tests.unit.everything import EVERYTHING, HELD_BY_ALPHA, SINGLE
from tests.unit.everything import SECRETS as CONFIGURED
from ws.errors import WsError
from ws.secrets.catalogue import CLUSTER_KEY, ROWS, Secret, secrets_of

WITH_GRAFANA = {"metrics": {"grafana": {"enabled": True}}}
PERSON = "config:\n  cslr:platform:\n    marimo: {users: [ben]}\n    ray: {env_secrets: [HF_TOKEN]}\n"


def named(text: str = "config: {}\n") -> dict[str, Secret]:
    return {one.name: one for one in secrets_of(configured(text))}


def test_every_secret_of_the_platform_has_a_row():
    assert ROWS.keys() == SECRETS.keys()


ALONE, IN_CLUSTER = merged(SINGLE, WITH_GRAFANA), merged(EVERYTHING, WITH_GRAFANA)


@pytest.mark.parametrize(
    ("raw", "stack", "cluster"), [(ALONE, "dev", None), (IN_CLUSTER, "gamma", HELD_BY_ALPHA)], ids=["alone", "cluster"]
)
def test_every_file_with_a_secret_that_a_container_gets_is_of_one_in_the_table(raw, stack, cluster, tmp_path):
    found = deploy(raw, state_home=tmp_path, stack=stack, cluster=cluster, secrets=CONFIGURED)
    known = secrets_of(configured(json.dumps({"config": {"cslr:platform": raw}})))
    files = [
        (service, target)
        for service, container in found.containers.items()
        for target in container.mounts
        if target.startswith(f"{SECRETS_TARGET}/")
    ]
    assert len(files) > len(SECRETS)
    assert not [place for place in files if not any(one.is_mounted_at(*place) for one in known)]


class TestNotebooks:
    def test_of_a_person_have_a_token_of_their_own(self):
        of_all, of_ben = named(PERSON)["marimo-token"], named(PERSON)["marimo-token-ben"]
        place = f"{SECRETS_TARGET}/marimo-token"
        assert of_ben.is_mounted_at("marimo-ben", place)
        assert not of_all.is_mounted_at("marimo-ben", place)
        assert not of_ben.is_mounted_at("health", place)
        assert of_all.is_mounted_at("health", place)

    def test_that_nobody_has_of_their_own_share_it(self):
        assert named()["marimo-token"].is_mounted_at("marimo", f"{SECRETS_TARGET}/marimo-token")


def test_a_variable_is_named_as_it_is_and_never_made():
    one = named(PERSON)["HF_TOKEN"]
    assert (one.key, one.generated) == ("cslr:envSecrets.HF_TOKEN", False)
    assert one.is_mounted_at("ray-cpu", f"{SECRETS_TARGET}/env/HF_TOKEN")
    assert not one.is_mounted_at("ray-cpu", f"{SECRETS_TARGET}/HF_TOKEN")


def test_only_a_stack_of_a_cluster_has_its_key():
    assert CLUSTER_KEY not in named()
    assert CLUSTER_KEY in named(f"config:\n  cslr:host: gamma\n  cslr:cluster: {json.dumps(CLUSTER)}\n")


def test_a_stack_that_only_builds_has_none():
    with pytest.raises(WsError, match="only builds images"):
        named("config:\n  cslr:matrix: {}\n")


def test_the_key_of_mlflows_gateway_is_of_mlflow_alone_and_keeps_former_ones():
    key = named()["mlflow-gateway-key"]
    assert (key.key, key.generated, key.keeps_former) == ("", True, True)
    assert key.is_mounted_at("mlflow", f"{SECRETS_TARGET}/mlflow-gateway-key")
    assert "mlflow-gateway-key" not in named("config:\n  cslr:platform:\n    mlflow: {enabled: false}\n")
