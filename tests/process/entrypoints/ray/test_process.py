"""Ray's processes on a node: what it offers, what `ray start` is told, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from config.ports import BRIDGE_RAY_PORTS, HEAD_FLAGS, HOST_RAY_PORTS
from contracts.document import SETTINGS_VARIABLE
from contracts.gpus import ALL_GPUS, NO_GPUS, Gpus
from contracts.ray_memory import object_store
from contracts.ray_node import NodeConfig
from entrypoints.ray import command, container, launcher, supervision
from entrypoints.ray.command import start_arguments
from testing.harness import PROJECT

ROOT = PROJECT


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

    @pytest.mark.parametrize(
        ("file", "text"), [("memory.max", "1000"), ("memory.max", "max"), ("memory/memory.limit_in_bytes", "1000")]
    )
    def test_the_cgroup_limits_the_memory(self, tmp_path, file, text):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text + "\n")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert container.container_memory(tmp_path) == (1000 if text == "1000" else total)

    def test_the_own_address_is_never_the_loopback(self):
        assert container.own_address("127.0.0.1") is None


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


class TestVersions:
    @pytest.mark.parametrize(
        ("torch", "cuda"), [("2.10.0+cu128", "12.8"), ("2.13.0+cu130", "13.0"), ("2.10.0+cpu", ""), ("2.10.0", "")]
    )
    def test_the_cuda_that_torch_was_built_for(self, torch, cuda):
        assert container.cuda_of(torch) == cuda

    def test_python_is_known_to_the_patch(self):
        assert container.software_versions()["python"].count(".") == 2


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


def supervise(script: str, end: str = "None", *, can_drain: bool = True) -> subprocess.Popen[str]:
    """Run ``supervise`` on a shell script, stopped by SIGTERM, in a process of its own."""
    program = (
        "import signal, subprocess, sys; from entrypoints.ray.supervision import End, Stop, adopt_orphans, supervise;"
        "stop = Stop();"
        "signal.signal(signal.SIGTERM, stop.set); print('ready', flush=True);"
        f"adopt_orphans(); process = subprocess.Popen(['sh', '-c', {script!r}], start_new_session=True);"
        f"sys.exit(supervise(process, stop, lambda: {end}, 0.1, lambda: {can_drain}))"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
def raylet(tmp_path):
    """A `sleep` that is called raylet: the name of a process, as the kernel has it, is that of its program."""
    (tmp_path / "raylet").symlink_to("/bin/sleep")
    return tmp_path / "raylet"


class TestSupervision:
    def test_the_exit_code_of_ray_is_passed_on(self):
        assert supervise("exit 7").wait(10) == 7

    def test_a_ray_that_ends_by_itself_is_a_failure(self):
        assert supervise("exit 0").wait(10) == 1

    def test_a_stop_is_clean_and_leaves_no_process_behind(self, tmp_path):
        # One grandchild hides in a session of its own and ignores SIGTERM; Ray's exit code after SIGTERM is 1.
        hidden = f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done"
        node = supervise(f'trap "exit 1" TERM; setsid sh -c "{hidden.replace("$", chr(92) + "$")}" & sleep 60 & wait')
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()

    @pytest.mark.parametrize("at_once", [False, True])
    def test_a_reason_to_end_ends_it_with_a_drain_or_at_once(self, at_once):
        script = "trap 'echo drained; exit 3' TERM; while true; do sleep 0.1; done"
        node = supervise(script, end=f"End('another node is head now', {at_once})")
        output = node.communicate(timeout=10)[0]
        assert node.returncode == 1
        assert "another node is head now: stopping" in output
        assert ("drained" in output) is not at_once

    def test_the_end_of_the_raylet_ends_it_without_a_drain(self, raylet):
        # SIGTERM would begin one that does not end before this test does.
        node = supervise(f"trap 'sleep 60' TERM; {raylet} 1; while true; do sleep 0.1; done")
        output = node.communicate(timeout=20)[0]
        assert node.returncode == 1
        assert "this node's raylet has ended: stopping" in output

    def test_after_the_end_of_the_raylet_ray_has_its_last_words(self, raylet):
        node = supervise(f"{raylet} 1; sleep 1; echo the raylet was killed; exit 7")
        output = node.communicate(timeout=20)[0]
        assert node.returncode == 7
        assert "the raylet was killed\n" in output

    def test_a_stop_after_the_end_of_the_raylet_waits_for_nothing(self, raylet, tmp_path):
        node = supervise(f"trap 'sleep 60' TERM; {raylet} 1; touch {tmp_path}/ended; while true; do sleep 0.1; done")
        while not (tmp_path / "ended").exists():
            time.sleep(0.05)
        node.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0

    def test_without_a_head_a_stop_waits_for_no_drain(self):
        node = supervise("trap 'sleep 60' TERM; while true; do sleep 0.1; done", can_drain=False)
        assert node.stdout
        assert node.stdout.readline() == "ready\n"
        node.send_signal(signal.SIGTERM)
        output = node.communicate(timeout=15)[0]
        assert node.returncode == 0
        assert "nothing can be drained" in output

    def test_the_spared_are_not_ended(self):
        program = (
            "import subprocess; from entrypoints.ray.supervision import descendants, end_descendants; import os;"
            "spared, other = (subprocess.Popen(['sleep', '60']) for _ in range(2));"
            "end_descendants(spared={spared.pid}); print(descendants(os.getpid()) == [spared.pid]); spared.kill()"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
        assert ended.stdout == "True\n"


class TestStop:
    @pytest.mark.timeout(60, method="thread")  # the other method is the signal that this test needs
    def test_it_can_be_set_by_a_signal_that_interrupts_the_waiting(self):
        stop = supervision.Stop()
        former = signal.signal(signal.SIGALRM, stop.set)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            began = time.monotonic()
            assert stop.wait(20)
            assert time.monotonic() - began < 10
            assert stop.wait(20)
            assert stop.is_set()
        finally:
            signal.signal(signal.SIGALRM, former)

    def test_without_one_the_waiting_ends_by_itself(self):
        assert not supervision.Stop().wait(0.01)


class TestStandingBy:
    def test_without_an_order_it_ends(self):
        process = launcher.prepare(os.environ)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0

    def test_the_order_takes_the_place_of_the_environment_and_arguments(self):
        process = launcher.prepare(os.environ)
        launcher.begin(process, ["--help"], dict(os.environ) | {"COLUMNS": "80"})
        assert process.wait(60) == 0
        assert process.stdin
        assert process.stdin.closed

    def test_an_order_to_a_process_that_has_ended_is_no_error(self):
        process = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        process.wait()
        launcher.begin(process, ["--head"], {})
