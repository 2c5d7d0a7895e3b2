"""The Compose file of the cluster test: what the client checks, and what it is given for that."""

import pytest
import yaml

from contracts.cluster_test import ClusterTestSettings
from contracts.document import SETTINGS_VARIABLE, load
from testing.compose_schema import check
from testing.harness import PROJECT, platform_settings, quiet_host, stack_config
from ws.display import PlainDisplay
from ws.generate import cluster_test
from ws.generate.program import declared
from ws.terminal import err

HOST = "192.0.2.7"


@pytest.fixture
def written(tmp_path):
    def run(settings):
        with quiet_host(tmp_path):
            found = declared(PROJECT, stack_config(settings), PlainDisplay(err), build=False)
            assert found.verification
            parsed = platform_settings(settings)
            content = cluster_test.text_of(found, found.verification, parsed, "_build/x.yaml", (HOST,))
        file = yaml.safe_load(content)
        check(file)
        return file

    return run


def checks(file) -> ClusterTestSettings:
    environment = file["services"]["test-ray-client"]["environment"]
    return load(ClusterTestSettings, environment[SETTINGS_VARIABLE].replace("$$", "$"))


def test_is_a_network_of_its_own_with_two_containers(written):
    file = written({"cluster_test": {"subnet": "172.30.7.0/24"}})
    assert set(file["services"]) == {"test-ray-client", "test-ray-worker"}
    assert file["networks"]["default"]["ipam"]["config"] == [{"subnet": "172.30.7.0/24"}]
    assert file["name"] == "cslr-dev-cluster-test"
    for service in file["services"].values():
        assert service["mem_limit"] == service["memswap_limit"] == "2048m"
        assert (service["cpus"], service["pids_limit"]) == (1, 512)


def test_an_open_stack_is_checked_at_its_ports(written):
    found = checks(written({"network": {"bind_address": "0.0.0.0"}}))
    assert ("mlflow", HOST, 5000) in {(door.service, door.host, door.port) for door in found.open}
    assert found.ray_client == f"ray://{HOST}:10001"
    assert ("172.28.0.10", 6379) in {(door.host, door.port) for door in found.closed}


def test_a_stack_of_this_host_alone_must_not_answer(written):
    found = checks(written({}))
    assert found.open == ()
    assert (HOST, 5000) in {(door.host, door.port) for door in found.closed}


def test_only_the_client_has_the_tokens_of_users(written):
    file = written({})
    services = file["services"]
    assert services["test-ray-client"]["secrets"] == ["marimo-token", "ray-token"]
    assert "secrets" not in services["test-ray-worker"]
    assert set(file["secrets"]) == {"marimo-token", "ray-token"}


def test_the_worker_says_why_it_does_not_join(written):
    command = written({})["services"]["test-ray-worker"]["command"]
    assert "no other machine reaches" in command[-1]
