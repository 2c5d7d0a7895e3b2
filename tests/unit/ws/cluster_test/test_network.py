"""The containers of the cluster test: what they are given, and what is said where Docker refuses them."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from docker.errors import APIError

from stack.identity import StackIdentity
from stack.secrets import SECRETS_TARGET
from verification.spec import Client, SecretFiles, VerificationSpec
from ws.cluster_test import network as of_docker
from ws.cluster_test.network import CLIENT, GIVEN, LABEL, WORKER, tokens
from ws.errors import WsError

IDENTITY = StackIdentity(project="cslr", stack="dev")


def spec(tmp_path: Path) -> VerificationSpec:
    token = tmp_path / "ray-token"
    token.write_text("secret")
    client = Client(image="cslr/ray-lean:1", program="/p/verify_cluster.py", with_python="/p/with_python.sh")
    return VerificationSpec(
        project="cslr", stack="dev", network="n", client=client, secrets=SecretFiles(ray_token=str(token))
    )


@pytest.fixture
def engine() -> Any:
    engine = Mock()
    engine.containers.list.return_value = []
    engine.networks.list.return_value = []
    return engine


@pytest.fixture
def network(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return of_docker.TestNetwork(
        engine=engine, identity=IDENTITY, subnet="172.30.0.0/24", spec=spec(tmp_path), say=lambda _text: None
    )


def test_both_are_hardened_and_in_the_test_s_network_alone(network, engine):
    network.up("no reason")
    made = [call.kwargs for call in engine.containers.create.call_args_list]
    assert [one["hostname"] for one in made] == [CLIENT, WORKER]
    for one in made:
        assert one["network"] == "cslr-dev-cluster-test"
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        assert one["mem_limit"] == one["memswap_limit"]
        assert (one["nano_cpus"], one["pids_limit"]) == (10**9, 512)
        assert set(one["labels"]) == {LABEL, GIVEN}  # no engine takes them for the stack's
        assert one["labels"][LABEL] == "cslr-dev"


def test_only_the_client_has_a_token(network, engine):
    network.up("no reason")
    client, worker = [call.kwargs for call in engine.containers.create.call_args_list]
    assert f"{SECRETS_TARGET}/ray-token" in {mount["Target"] for mount in client["mounts"]}
    assert worker["mounts"] == []


def test_that_run_with_an_earlier_token_are_not_of_this_stack_any_more(network, engine, tmp_path):
    network.up("no reason")
    made = [Mock(labels=call.kwargs["labels"]) for call in engine.containers.create.call_args_list]
    for container, name in zip(made, (CLIENT, WORKER), strict=True):
        container.name = f"cslr-dev-{name}"
    engine.containers.list.return_value = made
    assert network.is_of("no reason")
    assert not network.is_of("another reason")
    (tmp_path / "new").mkdir()
    assert not replace(network, spec=spec(tmp_path / "new")).is_of("no reason")


def test_its_tokens_are_those_that_the_stack_has(tmp_path):
    assert tokens(spec(tmp_path)) == {"ray_token": Path("/run/secrets/ray-token")}


def test_a_subnet_in_use_is_said_with_the_key(network, engine):
    refused = Mock(status_code=403)
    engine.networks.create.side_effect = APIError("no", refused, "Pool overlaps with other one on this address space")
    with pytest.raises(WsError) as error:
        network.up("no reason")
    assert "the test network 172.30.0.0/24 is in use on this host" in str(error.value)
    assert "ws set cluster_test.subnet 172.31.200.0/24 -s dev" in str(error.value)


def test_any_other_refusal_is_docker_s_own_words(network, engine):
    engine.containers.create.side_effect = APIError("no", Mock(status_code=404), "No such image: cslr/ray-lean:1")
    with pytest.raises(WsError, match="Docker refuses the test network or its containers: No such image"):
        network.up("no reason")
