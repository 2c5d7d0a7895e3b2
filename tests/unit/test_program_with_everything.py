"""The whole program with everything that a stack file can ask for at once: people's notebooks, own Dockerfiles,
datasets, a place for checkpoints, and all services that are off by default; on one host and on several.
"""

import pytest
import yaml

from config.notation import listed_as
from config.services import SERVICES
from testing.compose_schema import check
from testing.harness import (
    CLUSTER,
    IMAGE,
    PROJECT,
    Deployed,
    deploy,
    platform_settings,
    quiet_host,
    stack_config,
)
from tests.unit.everything import EVERYTHING, HELD_BY_ALPHA, NOTEBOOKS, PEOPLE, SECRETS, SINGLE
from ws.display import PlainDisplay
from ws.generate.files import compose_text
from ws.generate.program import declared
from ws.terminal import err


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> Deployed:
    return deploy(SINGLE, state_home=tmp_path_factory.mktemp("state"), secrets=SECRETS)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> dict[str, Deployed]:
    home = tmp_path_factory.mktemp("state")
    return {
        host: deploy(EVERYTHING, state_home=home, stack=host, cluster=HELD_BY_ALPHA, secrets=SECRETS)
        for host in CLUSTER["hosts"]
    }


def images(deployed: Deployed) -> set[str]:
    return {name for name in deployed.of_type(IMAGE) if name.startswith("own-")}


class TestOneHost:
    def test_runs_every_service_and_everybodys_notebooks(self, single):
        assert set(single.containers) >= NOTEBOOKS
        assert {listed_as(name) for name in single.containers} == set(SERVICES) - {
            "redis-replica", "ray-gateway", "ray-head", "grafana", "tls",
        }  # fmt: skip

    def test_notebooks_share_the_image_of_a_node_with_the_same_dockerfile(self, single):
        assert len(images(single)) == 2  # the GPU node has no PyTorch
        ran = {single.containers[name].inputs["image"] for name in (*NOTEBOOKS, "ray-cpu")}
        assert len(ran) == 1

    def test_notebooks_have_what_the_nodes_have(self, single):
        for name in (*NOTEBOOKS, "ray-cpu", "ray-gpu"):
            container = single.containers[name]
            assert container.mounts["/data/phoenix"]["readOnly"] is True
            assert container.env["CSLR_CHECKPOINTS"] == "s3://bucket/lab"
        assert all("/run/secrets/env/HF_TOKEN" in single.containers[name].mounts for name in NOTEBOOKS)

    def test_no_secret_of_anybody_is_in_what_engines_keep_of_a_container(self, single):
        tokens = single.generated_secrets()
        assert {f"marimo-token-{name}" for name in PEOPLE} <= set(tokens)
        kept = str([container.inputs for container in single.containers.values()])
        assert not [name for name, token in tokens.items() if token in kept]

    def test_is_written_for_compose_the_same_each_time(self, tmp_path):
        def written() -> str:
            with quiet_host(tmp_path):
                found = declared(PROJECT, stack_config(SINGLE, secrets=SECRETS), PlainDisplay(err), build=False)
            return compose_text(found, platform_settings(SINGLE), PROJECT / "_build/compose.yaml")

        text = written()
        content = yaml.safe_load(text)
        check(content)
        names = [name for name in content["services"] if name in NOTEBOOKS]
        assert names == sorted(NOTEBOOKS)
        assert written() == text


class TestSeveralHosts:
    def test_each_has_everybody_named_in_its_stack_file_and_its_own_tokens(self, hosts):
        assert all(set(deployed.containers) >= NOTEBOOKS for deployed in hosts.values())
        assert len({deployed.generated_secrets()["marimo-token-zoe"] for deployed in hosts.values()}) == len(hosts)

    def test_datasets_are_in_the_notebooks_of_their_hosts(self, hosts):
        held = {
            host: {name for name in NOTEBOOKS if "/data/phoenix" in deployed.containers[name].mounts}
            for host, deployed in hosts.items()
        }
        assert held == {"alpha": NOTEBOOKS, "beta": set(), "gamma": set()}

    def test_head_runs_the_image_of_the_nodes(self, hosts):
        containers = hosts["alpha"].containers
        assert len({containers[name].inputs["image"] for name in ("ray-head", "ray-cpu", "marimo-zoe")}) == 1


def test_preview_of_everything_writes_nothing(tmp_path):
    deploy(SINGLE, state_home=tmp_path, preview=True, secrets=SECRETS)
    assert not list(tmp_path.iterdir())
