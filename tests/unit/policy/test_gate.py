"""What breaks a rule is refused while the program declares it, and nothing is made of it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pulumi_docker as docker
import pytest

from embedded_engine.changes import ProgramError
from policy import check, rules
from testing.harness import CONTAINER, LOGIN, PLATFORM, Recorder, deploy, merged, stack_settings
from tests.unit.everything import SINGLE

SMALL = {name: {"enabled": False} for name in ("postgres", "mlflow", "marimo", "exporter")}
SHOWN = "a-secret-of-ours-7f3a"


@pytest.fixture
def run(tmp_path) -> Callable[..., Any]:
    """Deploys a small stack."""

    def run(settings: dict[str, Any] | None = None, **options: Any) -> Any:
        return deploy(merged(SMALL, settings or {}), state_home=tmp_path, **options)

    return run


@pytest.fixture
def writable(monkeypatch):
    """The factory makes containers with a writable root."""
    made = docker.Container

    def weaker(*args: Any, **inputs: Any) -> Any:
        return made(*args, **inputs | {"read_only": False})

    monkeypatch.setattr(docker, "Container", weaker)


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """What the engine was told to make."""
    told: list[str] = []
    make = Recorder._make

    def noted(self, wanted):
        if wanted.type == CONTAINER:
            told.append(wanted.inputs["hostname"])
        return make(self, wanted)

    monkeypatch.setattr(Recorder, "_make", noted)
    return told


def test_a_preview_names_everything_at_once(run, writable):
    with pytest.raises(ProgramError) as error:
        run(preview=True)
    first, *lines = str(error.value).splitlines()
    assert first.endswith("refuse what the program declares. Nothing was changed.")
    assert {line.split(":")[0].strip() for line in lines} >= {"redis", "ray-cpu", "health", "keeper"}
    (redis,) = [line for line in lines if line.startswith("  redis:")]
    rule = next(rule for rule in rules.RULES if rule.name == "read-only-root")
    for text in ("writable root", rule.name, rule.statement, rule.reason, rule.remedy):
        assert text in redis


def test_without_a_preview_no_container_is_made(run, writable, made):
    with pytest.raises(ProgramError, match=r"It was not made\.\n  .*: writable root: against the rule read-only-root"):
        run()
    assert made == []


@pytest.mark.parametrize("preview", [True, False])
def test_a_secret_that_the_platform_shows_is_refused(run, monkeypatch, preview):
    monkeypatch.setattr("stack.state.HostFiles.generated", lambda self, name: f"{SHOWN}-{name}")
    labels = docker.ContainerLabelArgs
    monkeypatch.setattr(
        docker, "ContainerLabelArgs", lambda label, value: labels(label=label, value=f"{SHOWN}-redis-password")
    )
    with pytest.raises(ProgramError, match="value of redis-password: against the rule no-secret-shown") as error:
        run(preview=preview)
    assert SHOWN not in str(error.value)


class TestWhatTheStackFileSays:
    def test_is_warned_of_and_not_refused(self, run, caplog):
        caplog.set_level(logging.WARNING, logger="cslr.program")
        env = {"HF_TOKEN": "hf_0123456789", "URL": "https://wandb-0123456789@example.org", "REDIS": "chosen-Password"}
        run(
            {"ray": {"cpu": {"env": env}, "env_secrets": ["WANDB_API_KEY"]}},
            secrets={"envSecrets": '{"WANDB_API_KEY": "wandb-0123456789"}', "redisPassword": "chosen-Password"},
        )
        assert "ray-cpu: value of WANDB_API_KEY: against the rule own-secret-shown" in caplog.text
        assert "ray-cpu: value of redis-password: against the rule own-secret-shown" in caplog.text
        assert "HF_TOKEN looks like a secret" in caplog.text
        assert "wandb-0123456789" not in caplog.text

    def test_nor_is_a_secret_of_the_platform_in_its_env(self, run, monkeypatch, caplog):
        monkeypatch.setattr("stack.state.HostFiles.generated", lambda self, name: f"{SHOWN}-{name}")
        run({"ray": {"cpu": {"env": {"URL": f"http://{SHOWN}-ray-token@ray"}}}})
        assert "ray-cpu: value of ray-token: against the rule own-secret-shown" in caplog.text

    def test_quiet_where_there_is_nothing_to_say(self, run, caplog):
        run(secrets={"redisPassword": "chosen-Password"})
        assert "rule" not in caplog.text


def test_the_image_family_is_judged_too(tmp_path, monkeypatch):
    never = replace(
        rules.RULES[0], name="never", look=lambda resource, _: iter([f"{resource.type}"]), containers_only=False,
        exemptions=(),
    )  # fmt: skip
    monkeypatch.setattr(check, "RULES", (never,))
    with pytest.raises(ProgramError, match="docker:index/image:Image: against the rule never"):
        deploy(stack_settings("matrix", "cslr:matrix"), state_home=tmp_path, stack="matrix", key="cslr:matrix",
               preview=True)  # fmt: skip


def test_all_secrets_of_a_stack_are_looked_for(tmp_path, monkeypatch):
    """Also those that are made from others, and the notebooks' of each person."""
    known: list[Any] = []

    def violations(_: object, around: Any) -> tuple[()]:
        known.append(around)
        return ()

    monkeypatch.setattr("policy.gate.violations", violations)
    deploy(merged(SINGLE, LOGIN, {"marimo": {"users": {"zoe": {}}}}), state_home=tmp_path, key=PLATFORM,
           secrets={"envSecrets": '{"HF_TOKEN": "x"}', "rayToken": "chosen-Token"})  # fmt: skip
    around = known[0]
    names = {*around.secrets, *around.own_secrets}
    assert names >= {
        "redis-password", "postgres-password", "ray-token", "marimo-token", "marimo-token-zoe", "redis-reader",
        "redis-agent", "postgres-queue", "postgres-mlflow", "postgres-monitor",
        "transcription-token", "grafana-password", "grafana-secret-key", "HF_TOKEN",
    }  # fmt: skip
    assert around.own_secrets["ray-token"] == "chosen-Token"
