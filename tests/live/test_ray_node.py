"""entrypoints/ray/node.py with the real Ray and the real Redis, as in a container: own network, processes, /dev/shm.

Needs no Docker but root, for the namespaces. About a minute.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.ports import BRIDGE_RAY_PORTS
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.ray_node import GuardSettings, NodeConfig, NodeSettings
from contracts.redis import RedisAccess
from coordination.redis_users import HEAD_RIGHTS
from testing.live.deployment import wait_until
from testing.redis_pair import is_written

ROOT = Path(__file__).parents[2]
PROGRAM = ("-m", "entrypoints.ray.node")
PASSWORD = "redis-password-of-the-test"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, for network and process namespaces"),
    pytest.mark.usefixtures("redis_server", "iproute", "process_list"),
]

# PID 1 of the namespaces, in the place of Docker's init. The bridge has an address and, like Docker's, a default route.
# Ready is when Redis answers: before that its process does not yet have its own title, by which a test knows it again.
NAMESPACE = """
set -e
ip link set lo up
ip link add br0 type bridge && ip addr add 10.77.0.2/24 dev br0 && ip link set br0 up
ip link add v0 type veth peer name v1 && ip link set v0 master br0 up && ip link set v1 up
ip route add default via 10.77.0.1
mount -t tmpfs -o size=1g shm /dev/shm
sleep infinity & # so that the end of Redis is not that of the namespaces
redis-server "$FOLDER/redis.conf" >"$FOLDER/redis.log" &
until redis-cli -p 7379 ping >"$FOLDER/ping" 2>&1; do sleep 0.05; done
export REDIS_PORT=7379
sh "$ROOT/entrypoints/redis/users.sh" "$FOLDER/redis-password" test $RIGHTS "(+del ~DUMMY)" &
touch "$FOLDER/ready"
wait
"""


@dataclass
class Container:
    """The namespaces, and how to run a program in them."""

    folder: Path
    init: int  # process id of PID 1, as seen from outside

    @property
    def settings(self) -> NodeSettings:
        return NodeSettings(
            node=NodeConfig(name="ray-cpu", memory=2 * 1024**3, ports=BRIDGE_RAY_PORTS),
            guard=GuardSettings(service="ray-cpu", token_file=self.folder / "token"),
            redis=RedisAccess(
                addresses=("10.77.0.2:7379",), password_file=self.folder / "redis-password", namespace="test"
            ),
            candidates=("ray-cpu", "ray-gpu"),
        )

    def start(self, *command: str | Path, **options) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.folder),
            "RAY_TMPDIR": str(self.folder),
            SETTINGS_VARIABLE: dump(self.settings),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
        }
        enter = ["nsenter", f"--target={self.init}", "--net", "--mount", "--pid", f"--wd={ROOT}", "--"]
        return subprocess.Popen([*enter, *command], env=environment, text=True, **options)

    def output(self, *command: str | Path) -> tuple[int, str]:
        process = self.start(*command, stdout=subprocess.PIPE)
        output = process.communicate(timeout=90)[0]
        return process.returncode, output

    def processes(self) -> dict[int, str]:
        """Every process in the namespaces: process id as seen inside → command line."""
        lines = self.output("ps", "-eo", "pid=,args=", "-ww")[1].splitlines()
        return {int(pid): arguments for pid, arguments in (line.split(maxsplit=1) for line in lines)}


@pytest.fixture
def container():
    # Not tmp_path: Ray's sockets need a short path (at most 107 bytes).
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/cslr-ray-XXXX"], text=True).strip())
    (folder / "redis.conf").write_text(
        f"port 7379\nrequirepass {PASSWORD}\nsave ''\nappendonly yes\nappendfsync everysec\ndir {folder}\n"
    )
    (folder / "redis-password").write_text(PASSWORD + "\n")
    (folder / "token").write_text("f" * 64)
    rights = " ".join(right for right, _ in HEAD_RIGHTS if " " not in right)
    environment = {**os.environ, "FOLDER": str(folder), "ROOT": str(ROOT), "RIGHTS": rights}
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    process = subprocess.Popen([*unshare, "sh", "-c", NAMESPACE], env=environment)
    try:
        deadline = time.monotonic() + 10
        while not (folder / "ready").exists():
            assert process.poll() is None, "the namespaces could not be made"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        init = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        yield Container(folder, init)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def healthy_node(container: Container) -> subprocess.Popen[str]:
    """Start the node, which becomes head, and wait until it says that it is healthy; its output is in node.log."""
    deadline = time.monotonic() + 120
    with (container.folder / "node.log").open("w") as log:
        node = container.start(sys.executable, *PROGRAM, stdout=log, stderr=subprocess.STDOUT)
    while True:
        code, reason = container.output(sys.executable, *PROGRAM, "health")
        if code == 0:
            return node
        assert node.poll() is None, (container.folder / "node.log").read_text()
        assert time.monotonic() < deadline, reason
        time.sleep(0.5)


RUN_A_TASK = """
import os, ray
ray.init("ray://10.77.0.2:10001", logging_level="ERROR")
environment = ray.get(ray.remote(resources={"ray-cpu": 1})(lambda: dict(os.environ)).remote())
print(ray.nodes()[0]["NodeManagerAddress"], ray.nodes()[0]["Labels"]["cslr.node"])
print(environment)
"""


def test_a_head_gets_healthy_hides_the_password_and_stops_without_a_trace(container):
    before = set(container.processes().values())
    node = healthy_node(container)

    code, output = container.output(sys.executable, "-c", RUN_A_TASK)
    assert code == 0
    assert output.startswith("10.77.0.2 ray-cpu\n")

    processes = container.processes()
    assert any("gcs_server" in arguments for arguments in processes.values())
    assert not [arguments for arguments in processes.values() if PASSWORD in arguments]
    logs = [path for path in container.folder.rglob("*") if path.is_file() and path.parent != container.folder]
    assert logs
    assert not [path for path in logs if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in output + (container.folder / "node.log").read_text()

    supervisor = next(pid for pid, arguments in processes.items() if arguments.endswith("entrypoints.ray.node"))
    container.output("kill", f"-{signal.SIGTERM}", str(supervisor))
    assert node.wait(60) == 0
    left = {arguments for arguments in container.processes().values() if not arguments.startswith("ps ")}
    assert left <= before
    keys = container.output("redis-cli", "-p", "7379", "-a", PASSWORD, "--no-auth-warning", "--scan")[1].split()
    assert "cslr:test:lease" not in keys


def test_a_head_goes_on_while_its_redis_is_restarted(container):
    node = healthy_node(container)
    gcs = number_of(container, "gcs_server")
    wait_until(lambda: is_written(persistence(container)), "that Redis has written its data")
    container.output("kill", "-KILL", str(number_of(container, "redis-server")))
    time.sleep(6)  # a GCS gives up after some 4 s
    restart_redis(container)
    wait_for_log(container, "knows again now")
    assert number_of(container, "gcs_server") == gcs
    assert node.poll() is None


def test_a_head_whose_redis_lost_its_data_ends_for_docker_to_start_it_anew(container):
    node = healthy_node(container)
    container.output("kill", "-KILL", str(number_of(container, "redis-server")))
    shutil.rmtree(container.folder / "appendonlydir")
    restart_redis(container)
    assert node.wait(25) == 1
    assert "lost its data" in (container.folder / "node.log").read_text()


def persistence(container: Container) -> str:
    """What Redis says of its append-only file."""
    command = ("redis-cli", "-p", "7379", "-a", PASSWORD, "--no-auth-warning", "info", "persistence")
    return container.output(*command)[1].replace("\n", "\r\n")


def number_of(container: Container, program: str) -> int:
    """The process id of a program, as seen inside."""
    return next(pid for pid, words in container.processes().items() if program in words.split()[0])


def restart_redis(container: Container) -> None:
    container.start("redis-server", container.folder / "redis.conf", stdout=subprocess.DEVNULL)


def wait_for_log(container: Container, text: str) -> None:
    deadline = time.monotonic() + 40
    while text not in (log := (container.folder / "node.log").read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.2)
