"""Docker objects beside the inputs that they were made with, field by field."""

import json
from typing import Any, ClassVar

import pytest

from embedded_engine.comparison import container, drifted_fields, made_with, network, volume
from embedded_engine.labels import INPUTS_LABEL
from testing.harness import CLUSTER, LOGIN, Deployed, deploy, merged, stack_settings
from testing.inspection import IMAGE, inspected

OPTIONAL = {name: {"enabled": True} for name in ("exporter", "queue", "transcription", "transcription_frontend")}


@pytest.fixture(scope="module")
def gpu(tmp_path_factory) -> Deployed:
    settings = merged(stack_settings("gpu"), {"gpu": {"devices": [2, 0]}}, OPTIONAL, LOGIN)
    return deploy(settings, state_home=tmp_path_factory.mktemp("state"), stack="gpu")


@pytest.fixture(scope="module")
def lan(tmp_path_factory) -> Deployed:
    settings = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}, "exporter": {"enabled": True}}
    return deploy(settings, state_home=tmp_path_factory.mktemp("lan"), stack="beta", cluster=CLUSTER)


@pytest.fixture
def redis(gpu):
    return gpu.containers["redis"].inputs


def lines(inputs: dict[str, Any], found: dict[str, Any], image: dict[str, Any] | None = IMAGE) -> list[str]:
    return [f"{one.field}: {one.difference}" for one in container(inputs, found, image)]


class TestAsMade:
    @pytest.mark.parametrize("embedded", [True, False])
    def test_no_container_of_any_service_differs(self, gpu, lan, embedded):
        for stack in (gpu, lan):
            for service, resource in stack.containers.items():
                assert lines(resource.inputs, inspected(resource.inputs, embedded=embedded)) == [], service

    def test_an_image_that_is_not_known_yet_is_not_compared(self, redis):
        assert lines({**redis, "image": object()}, inspected(redis)) == []

    def test_an_image_that_is_gone_does_not_make_its_variables_and_volumes_a_difference(self, redis):
        assert lines(redis, inspected(redis), image=None) == []


class TestChanged:
    @pytest.mark.parametrize(
        ("key", "value", "line"),
        [
            ("Memory", 64 * 1024**2, "→ 64m"),
            ("NanoCpus", 250_000_000, "→ 0.25"),
            ("RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}, "restart: unless-stopped → no"),
            ("CpusetCpus", "0", "CPU set: null → 0"),
            ("PidsLimit", 100, "process limit: null → 100"),
            ("Privileged", True, "privileged: null → true"),
            ("ReadonlyRootfs", False, "read-only: true → false"),
            ("CapAdd", ["CAP_SYS_ADMIN"], "added capabilities: + CAP_SYS_ADMIN"),
        ],
    )
    def test_limits_and_rights(self, redis, key, value, line):
        found = inspected(redis)
        found["HostConfig"][key] = value
        (told,) = lines(redis, found)
        assert told.endswith(line)

    def test_state(self, redis):
        found = inspected(redis)
        found["State"]["Status"] = "exited"
        assert lines(redis, found) == ["state: running → exited"]

    def test_image(self, redis):
        assert lines(redis, {**inspected(redis), "Image": "sha256:two"})[0].startswith("image: ")

    def test_variables_by_name_alone_for_a_value_may_be_a_secret(self, redis):
        found = inspected(redis)
        kept = found["Config"]["Env"] = [*found["Config"]["Env"], "HF_TOKEN=hunter2", "HF_HOME=/hunter2"]
        declared = {**redis, "envs": [*redis["envs"], "HF_HOME=/cache", "LANG=C=1"]}
        told = lines(declared, found)
        assert told == ["env: HF_HOME has another value", "env: HF_TOKEN was added", "env: LANG is missing"]
        assert lines({**redis, "envs": kept}, found) == []

    def test_health_checks_whose_times_are_readable(self, redis):
        found = inspected(redis)
        found["Config"]["Healthcheck"] = {**found["Config"]["Healthcheck"], "Interval": 1_500_000_000}
        assert lines(redis, found) == ["health check: Interval: 3 s → 1.5 s"]

    def test_mounts_also_those_that_are_added(self, redis):
        found = inspected(redis)
        found["Mounts"].append({"Type": "bind", "Source": "/etc", "Destination": "/host", "RW": True})
        assert lines(redis, found) == ["mounts: + /etc → /host"]

    def test_ports(self, redis):
        found = inspected(redis)
        found["HostConfig"]["PortBindings"] = {}
        assert [line.partition(" ")[0] for line in lines(redis, found)] == ["ports:"]

    def test_labels(self, redis):
        found = inspected(redis)
        found["Config"]["Labels"]["cslr.stack"] = "other"
        assert lines(redis, found) == ["labels: cslr.stack: gpu → other"]

    def test_a_network_that_it_was_cut_from(self, redis):
        found = inspected(redis)
        (name,) = found["NetworkSettings"]["Networks"]
        found["NetworkSettings"]["Networks"] = {}
        assert lines(redis, found) == [f"networks: - {name} as ray-redis, redis"]

    def test_a_name_that_it_lost_in_its_network(self, redis):
        found = inspected(redis)
        (network,) = found["NetworkSettings"]["Networks"].values()
        network["Aliases"] = ["0123456789ab"]
        (name,) = found["NetworkSettings"]["Networks"]
        assert lines(redis, found) == [f"networks: {name} as ray-redis, redis → {name}"]

    def test_a_network_that_somebody_connected(self, redis):
        found = inspected(redis)
        found["NetworkSettings"]["Networks"]["bridge"] = {"Aliases": None, "IPAMConfig": None}
        assert lines(redis, found) == ["networks: + bridge"]


class TestInShort:
    def test_names_the_fields_without_the_state_that_stands_beside_them(self, redis):
        found = inspected(redis)
        found["HostConfig"]["Memory"] = found["HostConfig"]["MemorySwap"] = 64 * 1024**2
        found["State"]["Status"] = "exited"
        assert drifted_fields(found) == ("memory", "memory with swap")

    def test_what_pulumi_made_has_nothing_to_compare_with(self, redis):
        found = inspected(redis, embedded=False)
        found["HostConfig"]["Memory"] = 1
        assert drifted_fields(found) == ()

    def test_what_another_version_made_with_other_inputs_is_left_alone(self):
        assert made_with({INPUTS_LABEL: json.dumps({"image": "sha256:one"})}) is None


class TestNetworkAndVolume:
    NETWORK: ClassVar[dict[str, Any]] = {
        "name": "cslr-dev",
        "driver": "bridge",
        "ipamConfigs": [{"subnet": "10.1.0.0/24", "ipRange": "10.1.0.128/25", "gateway": "10.1.0.1"}],
        "labels": [{"label": "cslr.stack", "value": "dev"}],
    }
    FOUND: ClassVar[dict[str, Any]] = {
        "Name": "cslr-dev",
        "Driver": "bridge",
        "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "IPRange": "10.1.0.128/25", "Gateway": "10.1.0.1"}]},
        "Labels": {"cslr.stack": "dev", "com.example": "x"},
    }

    def test_as_made(self):
        assert list(network(self.NETWORK, self.FOUND)) == []

    def test_another_subnet(self):
        found = {**self.FOUND, "IPAM": {"Config": [{"Subnet": "10.2.0.0/24", "Gateway": "10.1.0.1"}]}}
        assert [one.field for one in network(self.NETWORK, found)] == ["subnet"]

    def test_a_volume_of_another_driver(self):
        inputs = {"name": "cslr-dev-redis", "driver": "local", "labels": []}
        assert list(volume(inputs, {"Driver": "local"})) == []
        assert [one.difference for one in volume(inputs, {"Driver": "nfs"})] == ["local → nfs"]
