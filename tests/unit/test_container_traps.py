"""The traps of the Docker provider, one test each, named by the issue where there is one.

"upstream" is kreuzwerker/terraform-provider-docker, which pulumi-docker wraps.
"""

import re
from typing import Any

import pulumi_docker
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.docker import REPLACE_ON_CHANGES, GpuRequest, Healthcheck, cpu_quota, duration
from engine.resources.container import Container, seconds
from tests.harness import CONTAINER, NETWORK, VOLUME, Deployed, deploy, merged, stack_settings

# Go's time.Duration.String for whole seconds: no empty unit in front, none left out behind, nothing above 59.
CANONICAL = re.compile(r"([1-9]\d*h[1-5]?\dm|([1-9]|[1-5]\d)m)?[1-5]?\ds", re.ASCII)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory) -> Deployed:
    """A stack that uses every feature of the factory: GPUs, shared memory, several ports, volumes."""
    more = {"redis": {"env": {"ZONE": "b", "ALPHA": "a"}, "volumes": [{"source": "old", "target": "/backups"}]}}
    settings = merged(stack_settings("gpu"), {"gpu": {"devices": [2, 0]}}, more)
    return deploy(settings, state_home=tmp_path_factory.mktemp("state"), stack="gpu")


@pytest.fixture(params=["redis", "postgres", "mlflow", "health", "ray-cpu", "ray-gpu", "marimo"])
def inputs(request, gpu) -> dict[str, Any]:
    """The inputs of each container."""
    found: dict[str, Any] = gpu.containers[request.param].inputs
    return found


def read_back_cpus(nano: int) -> str:
    """CPUs as the provider reads them back: upstream's nanoInt64ToDecimalString in Python."""
    decimals = f"{nano // 10**9}.{nano % 10**9:09d}"
    return f"{nano / 10**9:.1f}" if decimals.count("0") == 9 else decimals.rstrip("0")


class TestFalseDiffs:
    """What a second `up` would show as changed although nothing was."""

    def test_network_mode_is_explicit(self, inputs):  # pulumi-docker#1272
        assert inputs["networkMode"] == "bridge"

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
        assert inputs["capabilities"] == {"drops": ["ALL"]}

    def test_ipc_mode_of_another_container_is_never_used(self, inputs):  # pulumi-docker#1354
        assert "ipcMode" not in inputs

    def test_there_is_one_network(self, inputs):  # pulumi-docker#1651
        assert len(inputs["networksAdvanced"]) == 1

    def test_volumes_made_elsewhere_are_not_compared_by_label(self, gpu):
        for volume in gpu.of_type(VOLUME).values():
            assert volume.ignore_changes == ("labels",)


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
        assert all("network" in gpu.needs(container) for container in gpu.containers.values())

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
        assert Healthcheck(command=("sh", "-c", "true")).declare().tests == ["CMD", "sh", "-c", "true"]

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
        request = GpuRequest(devices=None).declare()
        assert (request.count, request.device_ids, request.driver) == (-1, [], "nvidia")


class TestUnits:
    def test_memory_and_shared_memory_are_mebibytes(self, gpu):
        node = gpu.containers["ray-gpu"].inputs
        assert node["memory"] == 16 * 1024
        assert node["shmSize"] == int(16 * 1024 * 0.33)
        assert isinstance(node["memory"], (int, float))

    def test_tmpfs_is_bounded_in_bytes(self, inputs):
        assert re.fullmatch(r"rw,exec,nosuid,nodev,mode=1777,size=\d+", inputs["tmpfs"]["/tmp"])
        assert set(inputs["tmpfs"]) == {"/tmp"}


class TestBothEngines:
    def test_embedded_one_knows_every_input(self, inputs):
        assert set(inputs) <= Container.inputs

    def test_embedded_one_knows_no_input_that_nobody_uses(self, gpu):
        used = {name for container in gpu.containers.values() for name in container.inputs}
        assert used == Container.inputs


def camel(name: str) -> str:
    """Pulumi's spelling of a Python argument."""
    first, *others = name.split("_")
    return first + "".join(part.title() for part in others)
