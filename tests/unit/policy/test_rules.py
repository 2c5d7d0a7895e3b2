"""Each rule finds what breaks it: a good container of a whole stack, with one thing changed for the worse."""

import re
from typing import Any

import pytest

from embedded_engine.registration import Registration
from policy.check import Violation, violations
from policy.resource import Resource, Surroundings
from policy.rules import RULES
from stack.pulumi_internals import Unknown
from testing.harness import COMMAND, CONTAINER, platform_settings
from tests.unit.policy.stacks import STACKS

PASSWORD = "redis-Password-7f3a"
UNKNOWN = Unknown()  # type: ignore[no-untyped-call]
DIGEST = "sha256:" + "0" * 64


def mount(source: str, target: str, *, read_only: bool = True, kind: str = "bind") -> dict[str, Any]:
    return {"mounts": [{"type": kind, "source": source, "target": target, "readOnly": read_only}]}


def tmpfs(options: str) -> dict[str, Any]:
    return {"tmpfs": {"/cache": options}}


def port(ip: str | None) -> dict[str, Any]:
    return {"ports": [{"internal": 6379.0, "external": 6381.0, **({"ip": ip} if ip is not None else {})}]}


# Rule, what a container says instead (None: nothing), what is found.
BROKEN: list[tuple[str, dict[str, Any], list[str]]] = [
    ("user-not-root", {"user": "0:0"}, ["user 0:0"]),
    ("user-not-root", {"user": "00"}, ["user 00"]),
    ("user-not-root", {"user": "root"}, ["user root"]),
    ("user-not-root", {"user": "redis"}, ["user redis"]),
    ("user-not-root", {"user": None}, ["user None"]),
    ("no-capabilities", {"capabilities": None}, ["Docker's default capabilities"]),
    ("no-capabilities", {"capabilities": {"drops": ["CAP_CHOWN"]}}, ["Docker's default capabilities"]),
    ("no-capabilities", {"capabilities": {"drops": ["ALL"], "adds": ["CAP_NET_ADMIN"]}}, ["CAP_NET_ADMIN"]),
    ("no-new-privileges", {"securityOpts": None}, ["no no-new-privileges:true"]),
    ("no-new-privileges", {"securityOpts": ["no-new-privileges:false"]},
     ["no no-new-privileges:true", "no-new-privileges:false"]),
    ("no-new-privileges", {"securityOpts": ["no-new-privileges:true", "seccomp=unconfined"]}, ["seccomp=unconfined"]),
    ("unprivileged", {"privileged": True}, ["privileged"]),
    ("unprivileged", {"devices": [{"hostPath": "/dev/sda"}]}, ["devices"]),
    ("unprivileged", {"groupAdds": ["docker"]}, ["groupAdds"]),
    ("unprivileged", {"usernsMode": "host"}, ["usernsMode"]),
    ("unprivileged", {"cgroupParent": "/"}, ["cgroupParent"]),
    ("own-namespaces", {"networkMode": "host"}, ["networkMode host"]),
    ("own-namespaces", {"networkMode": "container:keeper"}, ["networkMode container:keeper"]),
    ("own-namespaces", {"networkMode": None}, ["networkMode None"]),
    ("own-namespaces", {"pidMode": "host"}, ["pidMode host"]),
    ("own-namespaces", {"ipcMode": "host"}, ["ipcMode host"]),
    ("own-namespaces", {"ipcMode": "shareable"}, ["ipcMode shareable"]),
    ("own-namespaces", {"cgroupnsMode": "host"}, ["cgroupnsMode host"]),
    ("own-namespaces", {"networksAdvanced": None}, ["Docker's default bridge"]),
    ("private-mounts", {"mounts": [{"type": "bind", "source": "/mnt", "target": "/x", "readOnly": True,
                                    "bindOptions": {"propagation": "rshared"}}]}, ["/x is rshared"]),
    ("gpus-where-used", {"deviceRequests": [{"count": -1, "capabilities": ["gpu"]}]}, ["GPUs"]),
    ("gpus-where-used", {"deviceRequests": [{"capabilities": ["disk"]}]}, ["devices other than GPUs"]),
    ("gpus-where-used", {"gpus": "all"}, ["GPUs"]),
    ("read-only-root", {"readOnly": False}, ["writable root"]),
    ("read-only-root", {"readOnly": None}, ["writable root"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,nodev"), ["/cache without size"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,nodev,size=0"), ["/cache without size"]),
    ("tmpfs-options", tmpfs("rw,exec,nodev,size=1m"), ["/cache without nosuid", "/cache without noexec"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,size=1m"), ["/cache without nodev"]),
    ("tmpfs-options", {"tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=1m"}}, ["/tmp without noexec"]),
    ("no-docker-socket", mount("/var/run/docker.sock", "/x"), ["Docker socket at /x"]),
    ("no-docker-socket", mount("/srv/engine.sock", "/x"), ["Docker socket at /x"]),  # wherever it is here
    ("no-docker-socket", mount("/srv/other.sock", "/run/docker.sock"), ["Docker socket at /run/docker.sock"]),
    ("no-docker-socket", mount("/srv/x/../../run/docker.sock", "/x"), ["Docker socket at /x"]),
    ("no-docker-socket", mount("/", "/host"), ["Docker socket at /host"]),
    ("no-host-folders", mount("/etc", "/x", read_only=False),
     ["/etc is this host's own configuration"]),
    ("no-host-folders", mount("/proc/1/root", "/x"),
     ["/proc/1/root is in /proc, which holds this host's processes, and through them all of its files (read-only)"]),
    ("no-host-folders", mount("/boot", "/x"), ["/boot is what this host starts from (read-only)"]),
    ("own-files-read-only", mount("/state/dev/programs/0/x.py", "/x", read_only=False), ["/x is writable"]),
    ("own-files-read-only", mount("data", "/run/secrets/x", read_only=False, kind="volume"),
     ["/run/secrets/x is writable"]),
    ("own-files-read-only", mount("/srv/x", "/run/cslr/x.py", read_only=False), ["/run/cslr/x.py is writable"]),
    ("secrets-as-files", {"envs": ["HF_TOKEN=hf_0123456789"]}, ["variable HF_TOKEN"]),
    ("secrets-as-files", {"envs": ["PGPASSWORD=/run/secretsx/file"]}, ["variable PGPASSWORD"]),
    ("no-secret-shown", {"envs": [f"URL=redis://:{PASSWORD}@redis"]}, ["value of redis-password"]),
    ("no-secret-shown", {"command": ["--requirepass", PASSWORD]}, ["value of redis-password"]),
    ("no-secret-shown", {"labels": [{"label": PASSWORD, "value": ""}]}, ["value of redis-password"]),
    ("own-secret-shown", {"envs": ["URL=https://a-door-of-ours@example.org"]}, ["value of DOOR"]),
    ("own-secret-shown", {"labels": [{"label": "x", "value": "a-door-of-ours"}]}, ["value of DOOR"]),
    ("fixed-image", {"image": "redis:8"}, ["image redis:8"]),
    ("fixed-image", {"image": "redis@sha256:0123"}, ["image redis@sha256:0123"]),
    ("fixed-image", {"image": None}, ["image None"]),
    ("limits", {"memory": None, "memorySwap": None}, ["no limit of memory", "swap beyond the limit of memory"]),
    ("limits", {"memorySwap": -1.0}, ["swap beyond the limit of memory"]),
    ("limits", {"cpus": None}, ["no limit of CPUs"]),
    ("limits", {"cpus": "0.0"}, ["no limit of CPUs"]),
    ("published-as-asked", port("0.0.0.0"), ["port 6381 on 0.0.0.0"]),
    ("published-as-asked", port("192.168.1.7"), ["port 6381 on 192.168.1.7"]),
    ("published-as-asked", port(None), ["port 6381 on every address"]),
    ("published-as-asked", {"publishAllPorts": True}, ["all ports of the image"]),
    ("log-limit", {"logDriver": None}, ["log without a limit"]),
    ("log-limit", {"logOpts": {"max-file": "3"}}, ["log without a limit"]),
    ("restarts", {"restart": "no"}, ["restart no"]),
    ("restarts", {"restart": None}, ["restart None"]),
    ("health-check", {"healthcheck": None}, ["no health check"]),
    ("health-check", {"healthcheck": {"tests": ["NONE"]}}, ["no health check"]),
]  # fmt: skip


AROUND = Surroundings(
    settings=platform_settings({}),
    state="/state/dev",
    socket="/srv/engine.sock",
    secrets={"redis-password": PASSWORD},
    own_secrets={"DOOR": "a-door-of-ours", "SHORT": "1"},
)


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> dict[str, Any]:
    deployed, _ = STACKS["dev"].deploy(tmp_path_factory.mktemp("state"))
    return deployed.containers["redis"].inputs | mount("/state/dev/secrets/0/password", "/run/secrets/redis-password")


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


def label(value: object) -> str:
    """The same in each process that collects the tests: without addresses of objects."""
    return re.sub(r"<[^>]* at 0x[0-9a-f]+>", "unknown", str(value))[:60]


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
