"""Arguments and environment of `ray start`."""

from typing import Any

import pytest

from config.ports import BRIDGE_RAY_PORTS, HEAD_FLAGS, HOST_RAY_PORTS
from contracts.document import SETTINGS_VARIABLE
from contracts.gpus import ALL_GPUS, NO_GPUS, Gpus
from contracts.ray_memory import object_store
from contracts.ray_node import NodeConfig
from entrypoints.ray import command
from entrypoints.ray.command import start_arguments


def node_with(**changes: Any) -> NodeConfig:
    return NodeConfig(**{"name": "ray-cpu", "memory": 8 * 1024**3, "ports": BRIDGE_RAY_PORTS, **changes})


class TestMemory:
    def test_the_object_store_is_a_share_of_the_memory(self, capsys):
        gigabyte = 1024**3
        store, tasks = command.split_memory(12 * gigabyte, 8 * gigabyte)
        assert (store, tasks) == (3 * gigabyte, 7 * gigabyte)  # and 2 for the node's own processes
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(("memory", "store"), [(2, 0.4), (6, 1.2), (16, 4.2), (96, 28.2)])
    def test_a_node_s_own_processes_have_theirs_first(self, memory, store):
        assert object_store(memory * 1024**3) == pytest.approx(store * 1024**3, rel=0.01)

    def test_a_small_shared_memory_caps_it_and_names_the_size_to_set(self, capsys):
        store, _ = command.split_memory(10 * 1024**3, 1024**3)
        assert store == int(1024**3 * 0.95)
        assert "shm_size 2587m" in capsys.readouterr().out

    def test_docker_s_default_of_64_mib_still_starts_ray(self, capsys):
        store, _ = command.split_memory(8 * 1024**3, 64 * 1024**2)
        assert store >= 75 * 1024**2
        assert "warning" in capsys.readouterr().out


class TestArguments:
    @pytest.mark.parametrize("ports", [BRIDGE_RAY_PORTS, *HOST_RAY_PORTS.values()])
    def test_a_worker_gets_no_option_of_a_head(self, ports):
        arguments = start_arguments(node_with(ports=ports), "127.0.0.2:6379")
        given = {argument.partition("=")[0] for argument in arguments}
        assert "--address=127.0.0.2:6379" in arguments
        assert given.isdisjoint({"--head", "--dashboard-host", *HEAD_FLAGS.values()})
        assert given > set(ports) - set(HEAD_FLAGS.values())

    def test_a_head_gets_every_port(self):
        given = {argument.partition("=")[0] for argument in start_arguments(node_with(), None)}
        assert given > {"--head", *BRIDGE_RAY_PORTS}
        assert "--address" not in given

    def test_the_address_is_given_to_ray_where_it_is_known(self):
        assert "--node-ip-address=10.0.0.1" in start_arguments(node_with(address="10.0.0.1"), None)
        assert not any("--node-ip-address" in argument for argument in start_arguments(node_with(), None))

    def test_a_node_offers_each_of_its_datasets(self):
        arguments = start_arguments(node_with(datasets=("signs",)), None)
        assert '--resources={"ray-cpu": 1, "dataset:signs": 1000000}' in arguments

    def test_a_node_says_which_host_it_is_on(self):
        arguments = start_arguments(node_with(name="alpha-ray-cpu", host="alpha"), None)
        assert "--labels=cslr.node=alpha-ray-cpu,cslr.host=alpha" in arguments
        assert '--resources={"alpha-ray-cpu": 1}' in arguments

    @pytest.mark.parametrize(
        ("gpus", "flag"), [(Gpus(devices=("0", "1")), ["--num-gpus=2"]), (ALL_GPUS, []), (NO_GPUS, ["--num-gpus=0"])]
    )
    def test_ray_counts_gpus_only_where_it_is_left_to_it(self, gpus, flag):
        arguments = start_arguments(node_with(gpus=gpus), None)
        assert [argument for argument in arguments if argument.startswith("--num-gpus")] == flag


class TestEnvironment:
    def test_only_the_head_talks_to_redis(self):
        head = command.head_environment({"A": "1"}, "redis:6379", "lab-1", "ray-7", "secret")
        assert head["RAY_REDIS_ADDRESS"] == "redis:6379"
        assert head["RAY_external_storage_namespace"] == "lab-1"
        assert command.worker_environment({"A": "1"}) == {"A": "1", "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}

    def test_ray_and_its_tasks_do_not_see_the_settings_of_the_program(self):
        for environment in (
            command.worker_environment({SETTINGS_VARIABLE: "{}"}),
            command.head_environment({SETTINGS_VARIABLE: "{}"}, "redis:6379", "lab-1", "ray-7", "secret"),
        ):
            assert SETTINGS_VARIABLE not in environment
