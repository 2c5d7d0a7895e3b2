"""The JSON schema and the key reference match the models and are up to date."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from config import reference, schema
from config.cluster import ClusterSettings
from config.cluster_file import parse
from config.explain import keys
from config.keys import SECRETS
from config.load import load
from config.matrix import MatrixSettings
from config.platform import PlatformSettings
from config.problems import dotted
from config.project import FOLDER
from config.services import MLflowSettings, ServiceSettings
from preflight import cluster as cluster_checks
from stack import secrets

STACK_FILES = [
    FOLDER / name for name in ("Pulumi.dev.yaml", "Pulumi.gpu.yaml", "Pulumi.matrix.yaml")
]  # not those of a user


def read(name: str) -> Any:
    """A YAML file at the top of the repository."""
    return yaml.safe_load((FOLDER / name).read_text())


def is_accepted(stack: object) -> bool:
    """Whether an editor would find nothing wrong with a stack file."""
    return bool(jsonschema.Draft7Validator(schema.stack_schema()).is_valid(stack))


class TestGeneratedFiles:
    @pytest.mark.parametrize("file", sorted(schema.contents()), ids=lambda file: file.name)
    def test_are_as_new_as_the_models(self, file):
        assert file.read_text() == schema.contents()[file], "run: python -m config.schema"

    def test_the_reference_is_what_the_models_give(self):
        assert reference.REFERENCE_FILE.read_text() == reference.reference(), "run: python -m config.reference"


class TestSchema:
    def test_is_a_valid_schema(self):
        jsonschema.Draft7Validator.check_schema(schema.stack_schema())

    @pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
    def test_accepts_every_stack_file_of_the_repository(self, file):
        stack = read(file.name)
        assert is_accepted(stack)
        ((key, value),) = stack["config"].items()
        schema.KEYS[key].model_validate(value)

    @pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
    def test_is_named_in_the_first_line_of_every_stack_file(self, file):
        assert file.read_text().startswith(f"# yaml-language-server: $schema={schema.SCHEMA_FILE.name}\n")

    def test_accepts_all_defaults_as_they_are_written(self):
        for key, model in schema.KEYS.items():
            assert is_accepted({"config": {key: model().model_dump(mode="json")}})

    @pytest.mark.parametrize(
        "platform",
        [
            {"redis": {"memroy": "1g"}},
            {"redis": {"memory": "lots"}},
            {"images": {"torch": "gpu"}},
            {"redis": {"port": 0}},
        ],
    )
    def test_refuses_what_the_models_refuse(self, platform):
        assert not is_accepted({"config": {"cslr:platform": platform}})

    @pytest.mark.parametrize("matrix", [{"phases": [5]}, {"platforms": ["linux/riscv64"]}, {"tarsets": []}])
    def test_refuses_what_the_model_of_the_matrix_refuses(self, matrix):
        assert not is_accepted({"config": {"cslr:matrix": matrix}})

    def test_describes_every_key(self):
        for name, definition in schema.stack_schema()["$defs"].items():
            for key, node in definition["properties"].items():
                assert "$ref" in node or node.get("description"), f"{name}.{key}"
            assert definition["description"]

    def test_shows_quantities_as_people_write_them(self):
        definition = schema.stack_schema()["$defs"]["RedisSettings"]
        assert definition["properties"]["memory"]["default"] == "512m"

    def test_knows_the_secrets_that_the_program_reads(self):
        assert set(SECRETS) == {f"cslr:{key}" for key in secrets.SECRETS.values()}


class TestSchemaOfAClusterFile:
    EXAMPLE = FOLDER / "cluster.example.yaml"

    def is_accepted(self, block: object) -> bool:
        own = {"$defs": schema.stack_schema()["$defs"], "$ref": schema.cluster_schema()["$ref"].partition(".json")[2]}
        return bool(jsonschema.Draft7Validator(own).is_valid(block))

    def test_is_named_in_the_first_line_of_the_example(self):
        first = self.EXAMPLE.read_text().partition("\n")[0]
        assert first == f"# yaml-language-server: $schema={schema.CLUSTER_SCHEMA_FILE.name}"

    def test_stands_on_that_of_stack_files(self):
        assert schema.cluster_schema()["$ref"] == f"{schema.SCHEMA_FILE.name}#/$defs/ClusterSettings"

    def test_accepts_the_example_as_the_model_does(self):
        block = read(self.EXAMPLE.name)
        assert self.is_accepted(block)
        cluster = parse(block, file=self.EXAMPLE.name, key="")
        assert cluster_checks.single_point(cluster) is None
        assert cluster.redis.host not in cluster.candidates

    def test_refuses_what_the_model_refuses(self):
        assert not self.is_accepted({"name": "lab", "redis": {"host": "alpha"}})
        assert not self.is_accepted(read(self.EXAMPLE.name) | {"head": "alpha"})

    @pytest.mark.parametrize(
        ("value", "accepted"), [("cluster.yaml", True), ({"name": "lab"}, False), (3, False), ("alpha", False)]
    )
    def test_is_one_of_two_that_a_stack_file_may_have(self, value, accepted):
        assert is_accepted({"config": {"cslr:cluster": value, "cslr:host": "alpha"}}) == accepted
        assert is_accepted({"config": {"cslr:cluster": read(self.EXAMPLE.name)}})


class TestReference:
    def test_lists_every_key_of_a_cluster(self):
        chapter = reference.reference().partition("## A host of a cluster")[2].partition("\n## ")[0]
        plain = {dotted(path) for path in keys(ClusterSettings)} - {"redis", "mlflow"}
        assert all(f"| `{key}` |" in chapter for key in (*plain, "hosts.NAME.address", "mlflow.host", "mlflow.port"))
        assert all(
            f"`{key}`" in chapter for key in ("cslr:cluster", "cslr:host", "cslr:clusterKey", "ray.head_whitelist")
        )

    def test_lists_every_key(self):
        text = reference.reference()
        common = set(reference.COMMON_KEYS) & set(ServiceSettings.model_fields)
        sections = {path[:n] for path in keys(PlatformSettings) for n in range(1, len(path))}
        for path in keys(PlatformSettings):
            if path not in sections and not common & set(map(str, path)):
                assert f"| `{dotted(path)}` |" in text
        assert all(f"| `{key}" in text for key in common)

    def test_lists_every_key_of_a_matrix(self):
        chapter = reference.reference().partition("`cslr:matrix`")[2]
        assert all(f"`{key}`" in chapter for key in MatrixSettings.model_fields)


class TestProjectFile:
    PROJECT = read("Pulumi.yaml")

    def test_declares_the_key_with_a_description_and_a_default(self):
        declared = self.PROJECT["config"]["cslr:platform"]
        assert declared["type"] == "object"
        assert declared["description"]
        assert declared["default"] == {}

    def test_does_not_declare_the_optional_secrets(self):
        """Pulumi demands a value for every declared key, and refuses a plain default for a secret one."""
        assert not set(SECRETS) & set(self.PROJECT["config"])

    def test_uses_the_environment_that_make_sets_up(self):
        assert self.PROJECT["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}


class TestStackFiles:
    def test_of_a_host_without_gpu_shows_the_defaults_and_has_logins(self):
        settings = load(read("Pulumi.dev.yaml")["config"]["cslr:platform"], stack_file="Pulumi.dev.yaml")
        assert settings == PlatformSettings(mlflow=MLflowSettings(logins=True))

    def test_of_the_matrix_selects_the_whole_family_and_all_services(self):
        settings = MatrixSettings.model_validate(read("Pulumi.matrix.yaml")["config"]["cslr:matrix"])
        assert settings == MatrixSettings(services=("*",))

    def test_of_a_host_with_gpu_runs_the_gpu_node(self):
        settings = load(read("Pulumi.gpu.yaml")["config"]["cslr:platform"], stack_file="Pulumi.gpu.yaml")
        assert settings.gpu.enabled
        assert settings.mlflow.logins
        assert "ray-gpu" in settings.ray_nodes
