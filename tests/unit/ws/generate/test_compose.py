"""The Compose file of a stack: the same containers as the program declares, and a text that says so."""

from typing import Any, ClassVar

import pytest
import yaml

from embedded_engine.resources.container import Container
from stack.owner import RECORD
from testing.compose_schema import check
from testing.harness import (
    CLUSTER,
    LOGIN,
    PROJECT,
    deploy,
    merged,
    platform_settings,
    quiet_host,
    stack_config,
    stack_settings,
)
from ws.display import PlainDisplay
from ws.generate import compose, files, text
from ws.generate.program import Declared, declared
from ws.terminal import err

GPUS = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}
OPTIONAL: dict[str, Any] = {  # the services that are off by default
    **{name: {"enabled": True} for name in ("exporter", "metrics", "queue", "transcription", "transcription_frontend")},
    **LOGIN,
}
GRAFANA = {"enabled": True, "grafana": {"enabled": True}}  # the service with a user of its own
# Of a container, for engines alone: how long `up` waits for it, and that it must run.
ENGINES_ALONE = {"destroyGraceSeconds", "mustRun", "wait", "waitTimeout"}


@pytest.fixture
def declare(tmp_path):
    """What the program declares for some settings."""

    def run(settings, **more):
        with quiet_host(tmp_path):
            return declared(PROJECT, stack_config(settings, **more), PlainDisplay(err), build=False)

    return run


@pytest.fixture
def written(declare):
    """The file as Compose would read it, from its text."""

    def run(settings, **more):
        content = yaml.safe_load(_text(declare(settings, **more), settings))
        check(content)
        return content

    return run


def _text(found: Declared, settings: dict[str, Any]) -> str:
    about = {"redis": "Redis."}
    return text.render(compose.compose_file(found), header=files.header(found, PROJECT / "_build/x.yaml"), about=about)


INPUTS: dict[str, Any] = dict(  # noqa: C408 - a line for each would be long
    image="i", name="n", hostname="h", entrypoints=["e"], command=[], user="1:1", envs=[], labels=[], ports=[],
    mounts=[], networksAdvanced=[], networkMode="host", hosts=[], cpus="1.0", memory=1.0, memorySwap=1.0,
    tmpfs={}, capabilities={"drops": []}, securityOpts=[], init=True, restart="no", stopSignal="SIGTERM",
    stopTimeout=1.0, logDriver="json-file", logOpts={}, readOnly=True,
    healthcheck={"tests": [], "interval": "1s", "timeout": "1s", "startPeriod": "1s", "retries": 1.0},
)  # fmt: skip


class TestContainers:
    def test_are_those_of_the_program_in_the_order_that_they_start_in(self, written, tmp_path):
        wanted = deploy(stack_settings("dev"), state_home=tmp_path).containers
        services = written(stack_settings("dev"))["services"]
        assert set(services) == set(wanted)
        names = list(services)
        for name, service in services.items():
            assert all(names.index(other) < names.index(name) for other in service.get("depends_on", {}))

    @pytest.mark.parametrize(("stack", "further"), [("dev", {}), ("gpu", {}), ("dev", OPTIONAL)], ids=str)
    def test_have_the_same_limits_checks_environment_and_mounts(self, stack, further, written, tmp_path):
        settings = merged(stack_settings(stack), further)
        wanted = deploy(settings, state_home=tmp_path).containers
        services = written(settings)["services"]
        for name, resource in wanted.items():
            service, inputs = services[name], resource.inputs
            assert service["container_name"] == inputs["name"]
            assert service["mem_limit"] == service["memswap_limit"] == f"{inputs['memory']:.0f}m"
            assert service["cpus"] == float(inputs["cpus"])
            assert service["user"] == inputs["user"]
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service.get("cap_add", []) == (inputs["capabilities"].get("adds") or [])
            assert [service["entrypoint"], service["command"]] == [inputs["entrypoints"], inputs["command"]]
            check = [word.replace("$$", "$") for word in service["healthcheck"]["test"]]
            assert check == inputs["healthcheck"]["tests"]
            environment = {key: value.replace("$$", "$") for key, value in service["environment"].items()}
            assert environment == resource.env
            secrets = {f"/run/secrets/{one['target']}" for one in service.get("secrets", [])}
            assert {one["target"] for one in service.get("volumes", [])} | secrets == set(resource.mounts)

    def test_every_input_of_a_container_has_its_place(self):
        class Read(dict[str, Any]):
            asked: ClassVar[set[str]] = set()

            def __getitem__(self, key):
                self.asked.add(key)
                return super().__getitem__(key)

            def get(self, key, default=None):
                self.asked.add(key)
                return super().get(key, default)

        inputs = Read(INPUTS)
        compose.service_of(inputs, {}, {}, {})
        assert Container.inputs - ENGINES_ALONE == inputs.asked

    def test_are_the_same_in_whatever_order_the_engine_tells_of_a_map(self):
        maps = {"logOpts": {"max-size": "10m", "max-file": "3"}, "tmpfs": {"/tmp": "size=1m", "/run": "size=1m"}}
        turned = {key: dict(reversed(value.items())) for key, value in maps.items()}
        first, second = (compose.service_of({**INPUTS, **one}, {}, {}, {}) for one in (maps, turned))
        assert repr(first) == repr(second)

    def test_images_built_here_are_named_by_their_tags_and_asked_of_no_registry(self, written):
        redis = written(stack_settings("dev"))["services"]["redis"]
        assert redis["image"].startswith("cslr/redis:")
        assert redis["pull_policy"] == "never"

    def test_a_pulled_image_may_be_fetched(self, written):
        settings = {"redis": {"image": {"source": "pull", "reference": "redis:8"}}}
        redis = written(settings)["services"]["redis"]
        assert (redis["image"], redis["pull_policy"]) == ("redis:8", "missing")

    def test_gpus_are_reserved(self, written):
        service = written(stack_settings("gpu"))["services"]["ray-gpu"]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "capabilities": ["gpu"], "count": "all"}

    def test_chosen_gpus_are_reserved_by_their_ids(self, written):
        settings = {**GPUS, "gpu": {"enabled": True, "devices": [0, 2]}}
        service = written(settings)["services"]["ray-gpu"]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == ["0", "2"]
        assert "count" not in device

    def test_a_new_volume_is_given_to_its_user_first(self, written):
        settings = {"ray": {"cpu": {"volumes": [{"source": "corpus", "target": "/corpus"}]}}}
        file = written(settings)
        owner = file["services"]["corpus-owner"]
        assert owner["entrypoint"][-3:] == ["1000", "1000", "/corpus"]
        assert owner["volumes"][0]["source"] == "corpus"
        assert (owner["restart"], owner["network_mode"], owner["cap_add"]) == ("no", "none", ["CAP_CHOWN"])
        assert file["services"]["ray-cpu"]["depends_on"]["corpus-owner"] == {
            "condition": "service_completed_successfully"
        }
        assert file["volumes"]["corpus"] == {"name": "corpus"}

    def test_of_a_cluster_are_on_the_network_of_the_host(self, written):
        file = written({}, stack="alpha", cluster=CLUSTER)
        gateway = file["services"]["ray-gateway"]
        assert gateway["network_mode"] == "host"
        assert "networks" not in gateway
        assert gateway["extra_hosts"] == ["ray-gateway=10.88.0.1"]


class TestSecrets:
    def test_are_files_and_in_no_text(self, declare, tmp_path):
        found = declare(stack_settings("dev"))
        content = _text(found, stack_settings("dev"))
        folder = tmp_path / "cslr/cslr/dev"
        values = {path.name: path.read_text() for path in (folder / "generated").iterdir()}
        assert {"redis-password", "ray-token"} <= set(values)
        assert [name for name, value in values.items() if value in content] == []
        files_of = yaml.safe_load(content)["secrets"]
        for name, one in files_of.items():
            assert (folder / one["file"]).is_file(), name
        assert (folder / files_of["ray-token"]["file"]).read_text() == values["ray-token"]

    def test_of_people_keep_their_names_when_others_come(self, written):
        secrets = {
            people: written({**OPTIONAL, "marimo": {"users": people}, "metrics": GRAFANA})["secrets"]
            for people in (("ann",), ("ann", "ben"))
        }
        first, both = secrets.values()
        assert {name: both.get(name) for name in first} == first
        assert both.keys() - first.keys() == {"marimo-token-ben"}
        assert len({one["file"] for one in both.values()}) == len(both)

    def test_of_a_service_with_a_user_of_its_own_rename_no_others(self, written):
        before = written({})["services"]["ray-cpu"]["secrets"]
        file = written({"mlflow": {"user": "2000:2000"}})
        assert file["services"]["ray-cpu"]["secrets"] == before
        own = {one["target"]: one["source"] for one in file["services"]["mlflow"]["secrets"]}
        assert own["postgres-mlflow"] == "postgres-mlflow-2000"
        assert "postgres-mlflow" in {one["source"] for one in file["services"]["postgres"]["secrets"]}


class TestText:
    def test_says_the_same_as_the_values_do(self, declare):
        found = declare(stack_settings("gpu"))
        file = compose.compose_file(found)
        read = yaml.safe_load(_text(found, stack_settings("gpu")))
        assert {key: read[key] for key in file.as_dict()} == text.escaped(file.as_dict())

    def test_a_dollar_sign_is_not_a_variable(self, written):
        settings = {"health": {"env": {"PRICE": "5$ or ${HOME}"}}}
        assert written(settings)["services"]["health"]["environment"]["PRICE"] == "5$$ or $${HOME}"

    def test_is_the_same_each_time(self, declare):
        settings = stack_settings("dev")
        assert _text(declare(settings), settings) == _text(declare(settings), settings)

    def test_names_the_commands(self, declare):
        found = declare(stack_settings("dev"))
        content = _text(found, {})
        assert "#   docker compose -f _build/x.yaml up -d --wait\n#   ws test --stack dev\n" in content

    def test_each_service_says_what_it_is(self, declare):
        settings = platform_settings({})
        content = files.compose_text(declare({}), settings, PROJECT / "_build/compose.yaml")
        assert "\n\n  # Redis, which keeps the Ray cluster's state.\n  redis:\n    <<: *every-service\n" in content


class TestProgram:
    def test_leaves_the_record_of_the_owner_alone(self, declare, tmp_path):
        declare(stack_settings("dev"))
        assert not (tmp_path / "cslr/cslr/dev" / RECORD).exists()

    def test_tells_what_the_verification_expects(self, declare):
        found = declare(stack_settings("dev"))
        assert found.verification
        assert found.verification.client.image.startswith("cslr/ray")
        assert found.verification.client.image in found.images
