"""`ws up --rolling` on the host that leads: a driver on another host loses nothing, a node that fails comes back, and
what begins on a node in its drain is not ended.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from testing.cluster.cluster import REDIS_HOST, SETTINGS, Cluster, lines
from testing.cluster.form import in_the_long_form
from testing.harness import merged
from testing.live.deployment import wait_until

pytestmark = [pytest.mark.cluster, in_the_long_form]

# Tasks of which every tenth leaves its result, 1 MB, on its node. It ends once it is told to, and all are done.
DRIVER = """
import json, os, time, ray
ray.init("127.0.0.2:6379", log_to_driver=False, logging_level="ERROR")

@ray.remote
def work(number):
    time.sleep(0.2)
    return number, b"x" * (1_000_000 if number % 10 == 0 else 1)

print("began", flush=True)
kept, seen, number = [], [], 0
while not os.path.exists("/tmp/enough"):
    some = [work.remote(number + one) for one in range(10)]
    number += 10
    ray.wait(some, num_returns=len(some))
    kept.append(some[0])
    seen += [one for one, _ in ray.get(some[1:])]
seen += [one for one, data in ray.get(kept) if len(data) == 1_000_000]
print(json.dumps({"tasks": number, "lost": sorted(set(range(number)) - set(seen)), "all": len(seen)}), flush=True)
"""
# Holds the drain of the node that is its argument, until it is told to end.
TASK = """
import os, sys, time, ray
ray.init("127.0.0.2:6379", log_to_driver=False, logging_level="ERROR")

@ray.remote(resources={sys.argv[1]: 0.001})
def hold():
    while not os.path.exists("/tmp/over"):
        time.sleep(0.1)

print("began", flush=True)
ray.get(hold.remote())
print("{}", flush=True)
"""
ENOUGH = ["touch", "/tmp/enough"]
MEMORY = {"ray": {"cpu": {"memory": "2100m"}, "head": {"memory": "2100m"}}}


class Driver:
    """A driver in the worker's container of a host, from its start to its result."""

    def __init__(self, cluster: Cluster, host: str, source: str = DRIVER, *words: str) -> None:
        self._command = ["sh", "/run/cslr/with_python.sh", "-c", source, *words]
        self._container = cluster.container(host, "ray-cpu")
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: bool(self._lines), "a driver that has begun", 120)

    def _run(self) -> None:
        answer = self._container.exec_run(self._command, stream=True, workdir="/tmp")
        self._lines += lines(cast("Iterator[bytes]", answer.output))  # list's += takes them as they come

    def result(self) -> dict[str, Any]:
        self._container.exec_run(ENOUGH)
        self._thread.join(180)
        self._container.exec_run(["rm", *ENOUGH[1:]])
        results = [line for line in self._lines if line.startswith("{")]  # Ray's own lines are between them
        assert results, "\n".join(self._lines[-20:])
        found: dict[str, Any] = json.loads(results[-1])
        return found


def roll(cluster: Cluster, host: str, settings: dict[str, Any], drain: str = "60s") -> tuple[int, str]:
    """`ws up --rolling` with other settings."""
    stack = cluster.stacks[host]
    stack.configure(settings)
    done = stack.ws("up", "--rolling", "--drain", drain, "--engine", "embedded")
    return done.returncode, done.stdout


@pytest.fixture
def leader(cluster: Cluster) -> Iterator[str]:
    """The host that leads; in the end its stack is as it was."""
    host = cluster.leader()
    yield host
    cluster.stacks[host].configure()
    cluster.up(host)


def test_the_leading_hosts_nodes_are_replaced_one_by_one_and_nothing_is_lost(cluster: Cluster, leader: str):
    before = cluster.stacks[leader].ids()
    driver = Driver(cluster, REDIS_HOST)
    code, output = roll(cluster, leader, MEMORY)
    result = driver.result()
    assert code == 0, output
    after = cluster.stacks[leader].ids()
    assert {service for service in after if after[service] != before[service]} == {"ray-cpu", "ray-head"}
    assert output.index(f"{leader}-ray-cpu: verified") < output.index(f"{leader}-ray-head: drained")
    assert cluster.leader() != leader
    assert (result["lost"], result["all"]) == ([], result["tasks"])
    assert result["tasks"] > 0


def test_a_node_whose_replacement_fails_gets_its_container_back(cluster: Cluster, leader: str):
    stack, stop = cluster.stacks[leader], threading.Event()
    before = stack.container("ray-cpu")

    def remove_its_successor() -> None:
        def there() -> bool:
            found = stack.containers().get("ray-cpu")
            if found is not None and found.id != before.id:
                found.remove(force=True)
                return True
            return stop.is_set()

        wait_until(there, "a successor", 300)

    thread = threading.Thread(target=remove_its_successor, daemon=True)
    thread.start()
    try:
        code, output = roll(cluster, leader, merged(SETTINGS, MEMORY))
    finally:
        stop.set()
        thread.join()
    assert code == 1, output
    assert f"Stopped at {leader}-ray-cpu, node 1 of 2" in output
    assert "It runs as before again" in output
    now = stack.container("ray-cpu")
    for part in ("Config", "HostConfig"):
        assert now.attrs[part] == before.attrs[part] | ({"Image": before.attrs["Image"]} if part == "Config" else {})
    assert state(cluster, f"{leader}-ray-cpu") == "alive"


def test_a_driver_that_begins_in_the_drain_is_not_ended_unasked(cluster: Cluster, leader: str):
    node, drivers = f"{leader}-ray-cpu", list[Driver]()
    task = Driver(cluster, REDIS_HOST, TASK, node)

    def begin() -> None:
        wait_until(lambda: state(cluster, node) == "draining", "a drain", 120)
        drivers.append(Driver(cluster, leader))

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    code, output = roll(cluster, leader, MEMORY, "40s")
    thread.join()
    assert code == 1, output
    assert f"{node} still runs, and gets no new work: 1 driver would end" in output
    assert state(cluster, node) == "draining"
    result = drivers[0].result()
    assert (result["lost"], result["all"]) == ([], result["tasks"])
    cluster.container(leader, "ray-cpu").exec_run(["touch", "/tmp/over"])
    assert task.result() == {}
    cluster.ws(leader, "node", "resume", node)


def state(cluster: Cluster, node: str) -> str:
    """Of a node, as `ws node list` says."""
    listed = json.loads(cluster.ws(node.partition("-")[0], "node", "list", "--json"))["nodes"]
    return next(str(one["state"]) for one in listed if one["node"] == node)
