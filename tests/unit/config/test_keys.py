"""Unknown keys are refused, since Pulumi ignores them."""

import pytest

from config import schema
from config.keys import KNOWN, check
from config.problems import SettingsError
from ws import stack_settings


def refusal(*keys: str) -> str:
    """What is said of a stack file with these keys."""
    with pytest.raises(SettingsError) as caught:
        check(keys, stack_file="Pulumi.lab.yaml")
    return str(caught.value)


def test_known_are_the_keys_that_editors_know():
    assert set(KNOWN) == set(schema.stack_schema()["properties"]["config"]["properties"])


def test_all_known_keys_and_those_of_providers_pass():
    check([*KNOWN, "docker:host", "pulumi:tags", "docker:platform-of-mine"], stack_file="f")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("cslr:platfrom", "cslr:platform"),
        ("cslr:Cluster", "cslr:cluster"),
        ("cslr:redis_password", "cslr:redisPassword"),
        ("clsr:platform", "cslr:platform"),
    ],
)
def test_a_misspelt_key_is_named_with_what_was_meant(key, meant):
    assert refusal("cslr:host", key) == (
        f"Pulumi.lab.yaml: {key}: unknown key.\n  Did you mean {meant}? Rename {key} in the file."
    )


def test_every_strange_key_is_named():
    said = refusal("cslr:xyzzy", "cslr:platfrom")
    assert said.startswith("Pulumi.lab.yaml: cslr:platfrom, cslr:xyzzy: unknown keys")
    assert "Remove cslr:xyzzy; known here: cslr:platform, " in said


def test_ws_refuses_before_it_reads_the_settings(monkeypatch, tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    (tmp_path / "Pulumi.lab.yaml").write_text("config: {platfrom: {redis: {port: 1}}}\n")
    monkeypatch.setattr(stack_settings, "FOLDER", tmp_path)
    configured = stack_settings.StackSettings.read("lab", {})
    for name in ("platform", "builds", "matrix"):
        with pytest.raises(SettingsError, match="Did you mean cslr:platform"):
            getattr(configured, name)
