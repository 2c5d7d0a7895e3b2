"""The traps of the Docker provider, one test each, named by the issue where there is one.

"upstream" is kreuzwerker/terraform-provider-docker, which pulumi-docker wraps.
"""

import re
from typing import Any, cast

import pulumi
import pulumi_docker
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.docker import (
    MEBIBYTE,
    REPLACE_ON_CHANGES,
    ContainerSpec,
    Healthcheck,
    cpu_quota,
    declared_gpus,
    duration,
    run_container,
)
from components.network import RayNetwork
from contracts.gpus import ALL_GPUS
from embedded_engine.container_body import seconds
from embedded_engine.resources.container import Container
from stack.http_proxy import HttpProxy
from stack.identity import StackIdentity
from testing.harness import CLUSTER, CONTAINER, LOGIN, NETWORK, VOLUME, Deployed, deploy, merged, stack_settings

# Go's time.Duration.String for whole seconds: no empty unit in front, none left out behind, nothing above 59.
CANONICAL = re.compile(r"([1-9]\d*h[1-5]?\dm|([1-9]|[1-5]\d)m)?[1-5]?\ds", re.ASCII)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory) -> Deployed:
    """A stack that uses every feature of the factory: GPUs, shared memory, several ports, volumes."""
    more = {
        "redis": {"env": {"ZONE": "b", "ALPHA": "a"}, "volumes": [{"source": "old", "target": "/backups"}]},
        "metrics": {"grafana": {"enabled": True}},
    }
    optional = ("exporter", "metrics", "queue", "transcription", "transcription_frontend")
    off_by_default = {name: {"enabled": True} for name in optional}
    settings = merged(stack_settings("gpu"), {"gpu": {"devices": [2, 0]}}, off_by_default, LOGIN, more)
    return deploy(settings, state_home=tmp_path_factory.mktemp("state"), stack="gpu")


@pytest.fixture(scope="module")
def lan(tmp_path_factory) -> Deployed:
    """A host of a cluster of several hosts: with containers on the host network."""
    settings = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}
    return deploy(settings, state_home=tmp_path_factory.mktemp("lan"), stack="beta", cluster=CLUSTER)


ON_THE_BRIDGE = (
    "redis",
    "postgres",
    "mlflow",
    "health",
    "ray-cpu",
    "ray-gpu",
    "marimo",
    "queue",
    "devel",
    "transcription",
    "transcription-frontend",
    "exporter",
    "alertmanager",
    "redis-exporter",
    "postgres-exporter",
    "prometheus",
    "grafana",
)
ON_THE_HOST = ("ray-gateway", "ray-head", "ray-cpu", "ray-gpu")


ALL = (*(("gpu", s) for s in (*ON_THE_BRIDGE, "keeper", "firewall")), *(("lan", s) for s in ON_THE_HOST))


@pytest.fixture(params=ALL, ids=str)
def inputs(request) -> dict[str, Any]:
    """The inputs of each container."""
    stack, service = request.param
    found: dict[str, Any] = request.getfixturevalue(stack).containers[service].inputs
    return found


def read_back_cpus(nano: int) -> str:
    """CPUs as the provider reads them back: upstream's nanoInt64ToDecimalString in Python."""
    decimals = f"{nano // 10**9}.{nano % 10**9:09d}"
    return f"{nano / 10**9:.1f}" if decimals.count("0") == 9 else decimals.rstrip("0")


class TestFalseDiffs:
    """What a second `up` would show as changed although nothing was."""

    def test_network_mode_is_explicit(self, gpu, lan):  # pulumi-docker#1272
        assert {s: c.inputs["networkMode"] for s, c in gpu.containers.items()} == {
            **dict.fromkeys(ON_THE_BRIDGE, "bridge"),
            "keeper": "none",
            "firewall": "host",
        }
        assert {s for s, c in lan.containers.items() if c.inputs["networkMode"] == "host"} == {*ON_THE_HOST, "firewall"}

    def test_swap_is_set_beside_memory(self, inputs):
        """Left out, the daemon sets it to twice the memory, and every refresh shows that."""
        assert inputs["memorySwap"] == inputs["memory"]

    def test_published_port_has_address_and_protocol(self, inputs):
        assert all({"ip", "protocol", "internal", "external"} == set(port) for port in inputs.get("ports", []))

    def test_ports_are_sorted_as_they_are_read_back(self, inputs):
        internal = [port["internal"] for port in inputs.get("ports", [])]
        assert internal == sorted(internal)

    def test_environment_is_sorted(self, inputs):
        assert inputs["envs"] == sorted(inputs["envs"])

    def test_mounts_are_sorted(self, inputs):
        targets = [mount["target"] for mount in inputs["mounts"]]
        assert targets == sorted(targets)

    def test_labels_are_sorted(self, inputs):
        names = [label["label"] for label in inputs["labels"]]
        assert names == sorted(names)

    def test_log_driver_and_its_options_are_explicit(self, inputs):  # upstream before 4.1
        assert inputs["logDriver"] == "json-file"
        assert inputs["logOpts"]

    def test_capabilities_are_named_as_the_daemon_returns_them(self, inputs):
        assert inputs["capabilities"]["drops"] == ["ALL"]
        assert inputs["capabilities"].get("adds", ["CAP_NET_ADMIN"]) == ["CAP_NET_ADMIN"]

    def test_ipc_mode_of_another_container_is_never_used(self, inputs):  # pulumi-docker#1354
        assert "ipcMode" not in inputs

    def test_there_is_one_network(self, inputs):  # pulumi-docker#1651
        assert len(inputs.get("networksAdvanced", [])) == (1 if inputs["networkMode"] == "bridge" else 0)

    def test_volumes_made_elsewhere_are_not_compared_by_label(self, gpu):
        for volume in gpu.of_type(VOLUME).values():
            assert volume.ignore_changes == ("labels",)


class TestHostNetwork:
    """On the network of the host, and without any."""

    @pytest.fixture(params=[*(("lan", s) for s in ON_THE_HOST), ("gpu", "keeper"), ("gpu", "firewall")], ids=str)
    def beside(self, request) -> Any:
        stack, service = request.param
        return request.getfixturevalue(stack).containers[service].inputs

    def test_publishes_nothing(self, beside):
        """The provider reads no ports back there, and replaces the container to have them."""
        assert not beside.get("ports")

    def test_joins_no_other_network(self, beside):
        """Docker refuses that once the container is made."""
        assert "networksAdvanced" not in beside

    def test_own_name_needs_no_resolver(self, lan):
        """Docker answers for it on the bridge alone."""
        for service in ON_THE_HOST:
            assert lan.containers[service].inputs["hosts"] == [{"host": service, "ip": "10.88.0.2"}]

    def test_names_are_sorted(self):
        """The provider compares a set, the embedded engine a list."""
        names = [entry["host"] for entry in hosts_of({"zeta": "10.0.0.1", "alpha": "10.0.0.2"})]
        assert names == ["alpha", "zeta"]


def hosts_of(hosts: dict[str, str]) -> list[dict[str, str]]:
    """What the factory declares for these names."""
    declared: dict[str, Any] = {}

    def record(_: str, **inputs: Any) -> None:
        declared.update(inputs)

    spec = ContainerSpec(
        service="one",
        image="image",
        command=("true",),
        healthcheck=Healthcheck(command=("true",)),
        cpus=1,
        memory=MEBIBYTE,
        user="1000:1000",
        network="host",
        hosts=hosts,
    )
    identity = StackIdentity(project="cslr", stack="dev")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.docker.docker.Container", record)
        run_container(
            "one",
            spec,
            identity=identity,
            network=cast(RayNetwork, None),
            proxy=HttpProxy(url=None, near=()),
            opts=pulumi.ResourceOptions(),
        )
    return [{"host": entry.host, "ip": entry.ip} for entry in declared["hosts"]]


class TestDurations:
    """The daemon answers with Go's form; another one is a difference on each run."""

    @given(st.integers(min_value=0, max_value=10**6))
    @example(59)
    @example(60)
    @example(3600)
    def test_is_the_form_that_is_read_back(self, total):
        assert CANONICAL.fullmatch(duration(total))

    @given(st.integers(min_value=0, max_value=10**6))
    def test_keeps_its_length(self, total):
        assert seconds(duration(total)) == total

    def test_minute_is_not_sixty_seconds(self):
        assert (duration(60), duration(90), duration(3600)) == ("1m0s", "1m30s", "1h0m0s")

    def test_every_healthcheck_uses_it(self, inputs):
        check = inputs["healthcheck"]
        for key in ("interval", "timeout", "startPeriod"):
            assert CANONICAL.fullmatch(check[key])


class TestCpus:
    """Settings allow hundredths."""

    @pytest.mark.parametrize(
        ("cpus", "text"), [(1, "1.0"), (2, "2.0"), (0.5, "0.5"), (1.25, "1.25"), (10, "10."), (16, "16.0")]
    )
    def test_is_what_was_seen_on_the_provider(self, cpus, text):
        assert cpu_quota(cpus) == text

    @given(st.integers(min_value=1, max_value=409_600))
    @example(5)
    @example(1)
    @example(1005)
    def test_is_the_limit_that_was_meant(self, hundredths):
        assert round(float(cpu_quota(hundredths / 100)) * 100) == hundredths

    @given(st.integers(min_value=1, max_value=409_600))
    def test_is_the_form_that_is_read_back(self, hundredths):
        read_back = read_back_cpus(hundredths * 10**7)
        assume(round(float(read_back) * 100) == hundredths)  # the provider cannot tell 0.05 from 0.1
        assert cpu_quota(hundredths / 100) == read_back


class TestChangesThatWouldDoNothing:
    """The provider records these, but updates no container with them: only a replacement does."""

    @pytest.mark.parametrize(
        "name",
        [
            "healthcheck",  # upstream #988
            "tmpfs",
            "init",
            "mounts",
            "capabilities",
            "securityOpts",
            "memorySwap",
        ],
    )
    def test_replace_the_container(self, gpu, name):
        for container in gpu.containers.values():
            assert name in container.replace_on_changes

    def test_are_spelled_as_the_provider_spells_its_inputs(self):
        """A misspelled name would be ignored without a word."""
        known = {camel(name) for name in pulumi_docker.ContainerArgs.__init__.__annotations__}
        assert set(REPLACE_ON_CHANGES) <= known

    def test_image_is_an_id_so_that_a_rebuilt_one_replaces(self, inputs):  # pulumi-docker#872
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", inputs["image"])


class TestReplacement:
    def test_frees_name_and_ports_first(self, gpu):  # pulumi-docker#1356
        assert all(container.delete_before_replace for container in gpu.of_type(CONTAINER).values())

    def test_frees_the_networks_name_first(self, gpu):
        assert gpu.of_type(NETWORK)["network"].delete_before_replace

    def test_container_depends_on_its_network(self, gpu):
        """Else a replaced network "has active endpoints"."""
        assert all("network" in gpu.needs(gpu.containers[service]) for service in ON_THE_BRIDGE)

    def test_of_one_takes_no_other_along(self, gpu, lan):
        """Deleted before its replacement, a container takes those along whose inputs are made of its outputs."""
        for deployed in (gpu, lan):
            containers = deployed.of_type(CONTAINER).values()
            urns = {container.urn for container in containers}
            assert {c.name: c.input_dependencies & urns for c in containers if c.input_dependencies & urns} == {}

    def test_keeps_volumes(self, gpu):
        assert all(volume.retain_on_delete for volume in gpu.of_type(VOLUME).values())


class TestStopping:
    def test_grace_of_a_removal_is_that_of_a_stop(self, inputs):
        """Left out, the provider kills at once."""
        assert inputs["destroyGraceSeconds"] == inputs["stopTimeout"] >= 20

    def test_ray_has_time_to_drain(self, gpu):
        assert gpu.containers["ray-cpu"].inputs["stopTimeout"] == 60

    def test_postgres_does_not_wait_for_its_clients(self, gpu):
        assert gpu.containers["postgres"].inputs["stopSignal"] == "SIGINT"


class TestReadiness:
    def test_wait_has_a_deadline_beyond_the_start_period(self, inputs):
        """The provider's default of 60 s is shorter than Ray's start."""
        assert inputs["wait"] is True
        assert inputs["waitTimeout"] > seconds(inputs["healthcheck"]["startPeriod"])

    def test_healthcheck_is_no_shell_string(self):
        """The provider splits none, and words with blanks stay whole."""
        check = Healthcheck(command=("a b", "$(c)"))
        assert check.words[-2:] == ("a b", "$(c)")
        assert check.declare().tests == ["CMD", *check.words]

    def test_stopped_container_is_started_again(self, inputs):
        assert inputs["mustRun"] is True
        assert inputs["restart"] == "unless-stopped"


class TestGpus:
    """`gpus` loses every device but the first of a list, and conflicts with `deviceRequests`."""

    def test_are_asked_for_by_device_requests(self, gpu):
        node = gpu.containers["ray-gpu"].inputs
        assert node["deviceRequests"] == [
            {"driver": "nvidia", "count": 0, "deviceIds": ["0", "2"], "capabilities": ["gpu"]}
        ]
        assert all("gpus" not in container.inputs for container in gpu.containers.values())

    def test_all_of_them_are_minus_one(self):
        request = declared_gpus(ALL_GPUS)
        assert (request.count, request.device_ids, request.driver) == (-1, [], "nvidia")


class TestUnits:
    def test_memory_and_shared_memory_are_mebibytes(self, gpu):
        node = gpu.containers["ray-gpu"].inputs
        assert node["memory"] == 16 * 1024
        assert node["shmSize"] == int(14 * 1024 * 0.3 / 0.95 + 16 * 1024 * 0.15)
        assert isinstance(node["memory"], (int, float))

    def test_tmpfs_is_bounded_in_bytes(self, inputs):
        assert re.fullmatch(r"rw,(no)?exec,nosuid,nodev,mode=1777,size=\d+", inputs["tmpfs"]["/tmp"])
        user = inputs["user"].partition(":")[0]
        assert inputs["tmpfs"]["/run/state"] == f"rw,noexec,nosuid,nodev,mode=1777,uid={user},size=1048576"
        assert set(inputs["tmpfs"]) == {"/tmp", "/run/state"}


class TestBothEngines:
    def test_embedded_one_knows_every_input(self, inputs):
        assert set(inputs) <= Container.inputs

    def test_embedded_one_knows_no_input_that_nobody_uses(self, gpu, lan):
        used = {name for c in (*gpu.containers.values(), *lan.containers.values()) for name in c.inputs}
        assert used == Container.inputs


def camel(name: str) -> str:
    """Pulumi's spelling of a Python argument."""
    first, *others = name.split("_")
    return first + "".join(part.title() for part in others)
