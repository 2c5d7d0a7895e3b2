"""Each rule finds what breaks it: a good container of a whole stack, with one thing changed for the worse."""

import re
from typing import Any

import pytest

from embedded_engine.registration import Registration
from policy.check import Violation, violations
from policy.declared import Resource, Surroundings
from policy.rules import RULES
from testing.harness import COMMAND, CONTAINER, platform_settings
from tests.unit.policy.broken import AROUND, BROKEN, DIGEST, PASSWORD, UNKNOWN, label, mount, port
from tests.unit.policy.stacks import STACKS


def found(
    inputs: dict[str, Any], around: Surroundings = AROUND, *, kind: str = CONTAINER, name: str = "redis-container"
) -> list[Violation]:
    """What the rules find in a resource as the embedded engine knows it."""
    known = {key: value for key, value in inputs.items() if value is not None}
    registered = Registration(
        urn=f"urn:{name}", type=kind, name=name, inputs=known, recorded={}, dependencies=(), retain_on_delete=False
    )
    return list(violations([registered], around))


def test_a_good_container_breaks_none(redis):
    assert found(redis) == []


@pytest.mark.parametrize(("rule", "change", "expected"), BROKEN, ids=label)
def test_a_worse_one_breaks_exactly_that_rule(redis, rule, change, expected):
    assert [(one.rule.name, one.found) for one in found(redis | change)] == [(rule, text) for text in expected]


def test_every_rule_can_fail():
    assert {rule for rule, _, _ in BROKEN} == {rule.name for rule in RULES}


def test_what_a_container_does_not_say_counts_as_the_worst(redis):
    broken = {one.rule.name for one in found({"hostname": "redis"})}
    assert broken == {
        "user-not-root", "no-capabilities", "no-new-privileges", "own-namespaces", "read-only-root", "fixed-image",
        "limits", "log-limit", "restarts", "health-check",
    }  # fmt: skip


def test_secrets_are_looked_for_in_every_resource():
    (one,) = found({"environment": {"PASSWORD": PASSWORD}}, kind=COMMAND, name="verification")
    assert (one.rule.name, one.resource) == ("no-secret-shown", "verification")


def test_messages_say_where_what_why_and_the_remedy_and_no_secret(redis):
    (one,) = found(redis | {"command": [PASSWORD]})
    assert one.text.startswith("redis: value of redis-password: against the rule no-secret-shown. No secret that")
    assert one.text.endswith(f"{one.rule.reason} {one.rule.remedy}")
    assert PASSWORD not in one.text + repr(AROUND)


@pytest.mark.parametrize("folder", ["/home/ann/state/cslr/cslr/other/secrets", "/state/dev/../../home/ann/state/cslr"])
def test_files_of_another_stack_are_found(redis, monkeypatch, folder):
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ann/state")
    (one,) = found(redis | mount(folder, "/x"))
    assert one.rule.name == "no-host-folders"
    assert "holds the secrets of all stacks" in one.found


class TestWhatIsFine:
    @pytest.mark.parametrize(
        "change",
        [
            {"image": UNKNOWN},  # in a preview of what is not built yet
            {"image": f"registry.example.org/redis@{DIGEST}"},
            {"envs": ["RAY_AUTH_TOKEN_PATH=/run/secrets/ray-token", "HF_TOKEN=/run/secrets/hf", "HF_TOKEN="]},
            {"envs": [UNKNOWN]},
            {"envs": ["DEBUG=1"]},  # although somebody's secret is 1
            {"mounts": [{"type": "volume", "source": UNKNOWN, "target": "/data", "readOnly": False}]},
            port("127.0.0.2"),
            mount("/etc/ssl/certs", "/certs"),
            mount("/srv/datasets", "/data/x", read_only=False),
        ],
        ids=label,
    )
    def test_is_not_found(self, redis, change):
        assert found(redis | change) == []

    def test_a_port_where_the_stack_file_opens_it(self, redis):
        opened = Surroundings(settings=platform_settings({"network": {"bind_address": "192.168.1.7"}}))
        assert found(redis | port("192.168.1.7"), opened) == []
        assert [one.found for one in found(redis | port("192.168.1.8"), opened)] == ["port 6381 on 192.168.1.8"]


class TestExemptions:
    def test_are_of_the_service_alone(self, redis):
        root = redis | {"user": "0:0"}
        assert found(root | {"hostname": "firewall"}) == []
        assert [one.found for one in found(root | {"hostname": "firewall-2"})] == ["user 0:0"]

    def test_of_notebooks_are_those_of_every_person(self, redis):
        folder = mount("/state/dev/home", "/home/cslr", read_only=False)
        assert found(redis | folder | {"hostname": "marimo-zoe"}) == []
        assert found(redis | folder | {"hostname": "mlflow"})

    def test_of_programs_in_tmp_are_of_what_runs_peoples_code(self, redis):
        tmp = {"tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=1m"}}
        assert found(redis | tmp | {"hostname": "ray-cpu"}) == []
        assert found(redis | tmp | {"hostname": "marimo-zoe"}) == []
        for service in ("ray-gateway", "mlflow", "transcription", "exporter"):
            assert [one.found for one in found(redis | tmp | {"hostname": service})] == ["/tmp without noexec"]

    def test_of_a_cluster_are_not_those_of_a_single_host(self, redis):
        node = redis | {"hostname": "ray-cpu", "networkMode": "host"}
        alpha = STACKS["cluster, alpha"].surroundings()
        assert found(node, alpha) == []
        assert [one.found for one in found(node)] == ["networkMode host"]

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_have_reasons_and_so_has_the_rule(self, rule):
        for sentence in (rule.statement, rule.reason, rule.remedy):
            assert re.fullmatch(r"[A-Z`].*\.", sentence)
        assert all(exemption.reason for exemption in rule.exemptions)

    def test_names_of_rules_are_unique(self):
        assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_resource_is_named_by_its_service():
    assert Resource(type=CONTAINER, name="x-container", inputs={"hostname": "x"}).label == "x"
    assert Resource(type=COMMAND, name="verification", inputs={}).label == "verification"
