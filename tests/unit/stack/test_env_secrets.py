"""Secrets that programs find as environment variables: from config or a file to a container, and no further."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.keys import refuse_encrypted
from config.load import load
from config.problems import SettingsError
from config.stack_file import encrypted_paths
from embedded_engine.program import ProgramError
from stack.env_secrets import looks_secret
from testing.harness import Deployed, deploy, merged, stack_settings
from ws.config.keys import Key

TOKEN = "hf_" + "x" * 30
ASKED: dict[str, Any] = {"ray": {"env_secrets": ["HF_TOKEN"]}, "marimo": {"env_secrets": ["HF_TOKEN", "WANDB_API_KEY"]}}
GIVEN = {"envSecrets": json.dumps({"HF_TOKEN": TOKEN, "WANDB_API_KEY": "w" * 40})}
MOUNTED = "/run/secrets/env/"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state"


def deployed(home: Path, given: dict[str, str] | None = None, **options: Any) -> Deployed:
    return deploy(merged(stack_settings("dev"), ASKED), state_home=home, secrets=given or GIVEN, **options)


def files(found: Deployed) -> dict[str, dict[str, str]]:
    """Service → variable → the file that it comes from."""
    return {
        service: {
            target.removeprefix(MOUNTED): mount["source"]
            for target, mount in container.mounts.items()
            if target.startswith(MOUNTED)
        }
        for service, container in found.containers.items()
    }


class TestWayToAContainer:
    def test_only_who_asked_is_given_it(self, home):
        given = {service: set(names) for service, names in files(deployed(home)).items() if names}
        assert given == {"ray-cpu": {"HF_TOKEN"}, "marimo": {"HF_TOKEN", "WANDB_API_KEY"}}

    @pytest.mark.parametrize("preview", [False, True])
    def test_no_value_is_in_what_an_engine_is_told(self, home, preview):
        found = deployed(home, preview=preview)
        said = json.dumps([[vars(one) for one in found.resources.values()], found.outputs], default=str)
        assert TOKEN not in said
        assert "w" * 40 not in said
        assert not any("HF_TOKEN" in container.env for container in found.containers.values())

    def test_its_file_is_the_users_alone_and_holds_nothing_else(self, home):
        path = Path(files(deployed(home))["marimo"]["HF_TOKEN"])
        assert path.read_text() == TOKEN
        assert path.stat().st_mode & 0o077 == 0 or os.getuid() != 0

    def test_another_value_changes_exactly_the_containers_that_use_it(self, home):
        before = deployed(home).containers
        after = deployed(home, {"envSecrets": json.dumps({"HF_TOKEN": TOKEN, "WANDB_API_KEY": "another"})}).containers
        assert {name for name in after if after[name].inputs != before[name].inputs} == {"marimo"}

    def test_a_file_of_this_host_will_do(self, home):
        folder = home / "cslr" / "cslr" / "dev" / "env-secrets"
        folder.mkdir(parents=True)
        (folder / "HF_TOKEN").write_text(f"{TOKEN}\n")
        (folder / "WANDB_API_KEY").write_text("w")
        found = files(deployed(home, {"envSecrets": "{}"}))
        assert Path(found["ray-cpu"]["HF_TOKEN"]).read_text() == TOKEN

    def test_one_without_a_value_is_refused_with_both_ways(self, home):
        with pytest.raises(ProgramError) as refused:
            deployed(home, {"envSecrets": json.dumps({"HF_TOKEN": TOKEN})})
        text = str(refused.value)
        assert "cslr:platform.marimo.env_secrets[1]: WANDB_API_KEY has no value" in text
        assert "ws set envSecrets.WANDB_API_KEY -s dev" in text
        assert "env-secrets/WANDB_API_KEY" in text
        assert "HF_TOKEN" not in text

    def test_a_preview_elsewhere_needs_no_value(self, home):
        assert deployed(home, {"envSecrets": "{}"}, preview=True).containers


class TestNames:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"ray": {"env_secrets": ["RAY_AUTH_TOKEN"]}}, "RAY_AUTH_TOKEN is set by the platform"),
            *(
                ({"ray": {"env_secrets": [name]}}, f"{name} is a variable that programs are started by")
                for name in ("PATH", "IFS", "LD_PRELOAD", "PYTHONPATH")
            ),
            ({"ray": {"env_secrets": ["A", "A"]}}, "A is listed twice"),
            (
                {"ray": {"env_secrets": ["A"], "cpu": {"env": {"A": "1"}}}},
                "A is in ray.cpu.env.A as well, in clear",
            ),
            ({"marimo": {"env_secrets": ["1A"]}}, "is not a valid name for an environment variable"),
            ({"marimo": {"env_secrets": {"A": "value"}}}, "cslr:platform.marimo.env_secrets"),
        ],
    )
    def test_that_cannot_be_are_refused(self, settings, words):
        with pytest.raises(SettingsError, match=words.replace(".", r"\.")):
            load(settings, stack_file="Pulumi.dev.yaml")

    @pytest.mark.parametrize(
        "name",
        ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "openai_apikey"],
    )
    def test_that_look_like_a_secret_are_told(self, name):
        assert looks_secret(name)

    @pytest.mark.parametrize(
        "name", ["TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD", "SECRETARY", "PATH", "X_TOKEN_FILE"]
    )
    def test_that_only_resemble_one_are_not(self, name):
        assert not looks_secret(name)


class TestEncryptedSettings:
    @pytest.mark.parametrize("key", ["platform", "matrix", "cluster"])
    def test_are_refused_since_they_end_in_the_clear(self, key):
        with pytest.raises(SettingsError) as refused:
            refuse_encrypted(
                [f"cslr:{key}", "cslr:rayToken"],
                stack_file="Pulumi.dev.yaml",
                stack="dev",
                encrypted=[f"cslr:{key}.redis.env.X", "cslr:rayToken"],
            )
        text = str(refused.value)
        assert f"Pulumi.dev.yaml: cslr:{key}.redis.env.X: has an encrypted value" in text
        assert "ws set envSecrets.HF_TOKEN -s dev" in text

    def test_secrets_of_their_own_are_not(self):
        refuse_encrypted(["cslr:rayToken", "cslr:envSecrets"], stack_file="Pulumi.dev.yaml", stack="dev")

    def test_by_the_program_before_anything_is_declared(self, home, monkeypatch):
        monkeypatch.setattr("pulumi.runtime.config.is_config_secret", lambda key: key == "cslr:platform")
        with pytest.raises(ProgramError, match="cslr:platform: has an encrypted value"):
            deploy({}, state_home=home)

    def test_are_found_in_the_file_wherever_they_are(self, tmp_path):
        file = tmp_path / "Pulumi.dev.yaml"
        secret = {"secure": "v1:a:b"}
        settings = {"redis": {"env": {"X": secret}}, "marimo": {"volumes": [{"source": secret}]}}
        file.write_text(yaml.safe_dump({"config": {"cslr:platform": settings, "cslr:rayToken": secret}}))
        assert list(encrypted_paths(file)) == [
            "cslr:platform.marimo.volumes[0].source", "cslr:platform.redis.env.X", "cslr:rayToken",
        ]  # fmt: skip
        assert list(encrypted_paths(tmp_path / "none.yaml")) == []


class TestPlainText:
    """A value that anyone reads who reads the stack file."""

    @pytest.fixture
    def warned(self, home, monkeypatch):
        """Gives a function that says what a deployment warns of."""

        def of(**options: Any) -> list[str]:
            said: list[str] = []
            monkeypatch.setattr("pulumi.warn", said.append)
            deploy(merged(stack_settings("dev"), ASKED), state_home=home, **options)
            return [text for text in said if "in plain text" in text]

        return of

    def test_is_warned_of_with_the_command_that_encrypts(self, warned):
        (text,) = warned(plain=GIVEN)
        assert text.startswith("Pulumi.dev.yaml: cslr:envSecrets: is in plain text.")
        assert text.endswith("ws set envSecrets.NAME -s dev")

    def test_is_not_what_is_encrypted(self, warned):
        assert warned(secrets=GIVEN) == []


class TestWsSet:
    def test_asks_for_a_value_and_shows_none(self):
        assert Key.parse("envSecrets.HF_TOKEN").is_secret
        assert Key.parse("cslr:envSecrets.HF_TOKEN").short == "envSecrets.HF_TOKEN"

    def test_of_names_needs_no_secrecy(self):
        assert not Key.parse("ray.env_secrets").is_secret
