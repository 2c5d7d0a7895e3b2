"""As policies of Pulumi, the rules find the same in what its engine hands over, and know the same of the stack."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import packages_distributions
from typing import Any

import pytest
import yaml
from pulumi_policy import EnforcementLevel, PolicyResourceOptions, ResourceValidationArgs
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY, deserialize_properties
from pulumi_policy.policy import PolicyCustomTimeouts
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from config.platform import PlatformSettings
from policy import surroundings
from policy.check import violations
from policy.declared import Surroundings
from policy.pack import policies
from policy.rules import RULES
from stack.identity import StackIdentity
from stack.pulumi_internals import Registered, Unknown
from stack.stack import Stack
from testing.harness import CONTAINER, PROJECT, quiet_host, stack_config
from tests.unit.policy.broken import AROUND, BROKEN, label
from tests.unit.policy.stacks import STACKS

PACK = PROJECT / "policy"
DIFFERENT = (
    "everything", "everything, before the first deployment", "cluster, alpha", "with TLS, open to other machines",
    "with Ray's own TLS", "image family",
)  # fmt: skip
OPTIONS = PolicyResourceOptions(
    protect=False, ignore_changes=[], delete_before_replace=None, aliases=[],
    custom_timeouts=PolicyCustomTimeouts(0, 0, 0), additional_secret_outputs=[],
)  # fmt: skip


def sent(value: Any) -> Any:
    """A property as the engine sends it: what is unknown as a text that says so."""
    if isinstance(value, dict):
        return {key: sent(item) for key, item in value.items()}
    if isinstance(value, list):
        return [sent(item) for item in value]
    return UNKNOWN_STRING_VALUE if isinstance(value, Unknown) else value


def secret(value: Any) -> dict[str, Any]:
    return {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": value}


def found(inputs: dict[str, Any], around: Surroundings, *, kind: str = CONTAINER, name: str = "x") -> Iterator[str]:
    """What the policies report of a resource."""
    props = unknown_checking_proxy(deserialize_properties(sent(inputs)))
    texts: list[str] = []
    for policy in policies(lambda: around):
        policy.validate(
            ResourceValidationArgs(kind, props, f"urn:{name}", name, OPTIONS, None), lambda text, _: texts.append(text)
        )
        yield from texts
        texts.clear()


@pytest.mark.parametrize(("rule", "change"), [row[:2] for row in BROKEN], ids=label)
def test_they_say_what_the_program_says(redis, rule, change):
    inputs = {key: value for key, value in (redis | change).items() if value is not None}
    said = [one.text for one in violations([Registered(type=CONTAINER, name="x", inputs=inputs)], AROUND)]
    assert list(found(inputs, AROUND)) == said != []


@pytest.mark.parametrize("place", [{"command": secret(["{}"])}, {"envs": [secret("A={}")]}], ids=str)
def test_what_is_marked_as_secret_is_looked_at(redis, place):
    ((key, value),) = place.items()
    value = yaml.safe_load(yaml.safe_dump(value).replace("{}", AROUND.secrets["redis-password"]))
    (text,) = found(redis | {key: value}, AROUND)
    assert "value of redis-password: against the rule no-secret-shown" in text


def test_a_component_asks_for_no_file_of_the_stack():
    """Components and the stack itself come before the program has made its secrets."""

    def unasked() -> Surroundings:
        raise AssertionError("asked")

    for policy in policies(unasked):
        props = unknown_checking_proxy({})
        policy.validate(ResourceValidationArgs("cslr:redis:Redis", props, "", "redis", OPTIONS, None), print)


def test_what_is_refused_is_mandatory_and_what_is_warned_of_is_not():
    for rule, policy in zip(RULES, policies(lambda: AROUND), strict=True):
        level = EnforcementLevel.ADVISORY if rule.advisory else EnforcementLevel.MANDATORY
        assert (policy.name, policy.enforcement_level) == (rule.name, level)


@pytest.mark.parametrize("name", DIFFERENT)
def test_of_a_stack_they_know_what_its_program_knows_and_find_nothing(tmp_path, monkeypatch, name):
    seen: list[Surroundings] = []
    monkeypatch.setattr("program.gate.enforce", lambda around, **_: seen.append(around))
    stack = STACKS[name]
    deployed, _ = stack.deploy(tmp_path)
    config = stack_config(
        stack.settings, stack=stack.name, key=stack.key, secrets=dict(stack.secrets), cluster=stack.cluster
    )
    with quiet_host(tmp_path):
        read = surroundings.read(
            Stack(
                identity=StackIdentity(project="cslr", stack=stack.name),
                config=lambda key: config.values.get(f"cslr:{key}"),
                dry_run=True,
                python="",
            )
        )
    (known,) = seen
    assert read.several_hosts == known.several_hosts
    assert read.own_variables == known.own_variables
    for service in known.settings.services():
        assert read.settings.bind_address(service) == known.settings.bind_address(service)
    if not stack.preview:  # which invents secrets
        assert replace(read, settings=PlatformSettings()) == replace(known, settings=PlatformSettings())
    for one in deployed.custom:
        assert list(found(one.inputs, read, kind=one.type, name=one.name)) == []


class TestFolder:
    def test_names_the_environment_of_the_program(self):
        options = yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text())["runtime"]["options"]
        program = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["runtime"]["options"]
        assert options == program | {"virtualenv": f"../{program['virtualenv']}"}

    def test_hides_no_module_of_others(self):
        """Pulumi starts the pack with this folder before all others: `resource` would be Python's no more."""
        others = {*sys.stdlib_module_names, *packages_distributions()}
        assert {path.stem for path in PACK.glob("[!_]*.py")} & others == set()
