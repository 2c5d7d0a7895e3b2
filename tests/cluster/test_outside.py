"""A LAN machine outside the cluster reaches the ports that people use, and none of Ray's own."""

import json
import sys
import time
import warnings
from collections.abc import Iterator

import pytest

from config.ports import GATEWAY_PORTS, HEAD_FLAGS, HOST_RAY_PORTS
from stack.programs import run_module
from testing import tcp_probe
from testing.cluster.cluster import REDIS_HOST, REDIS_PORT, Cluster
from testing.cluster.hosts import Host, run
from testing.live.deployment import wait_until

pytestmark = pytest.mark.cluster

PEOPLES = (GATEWAY_PORTS["dashboard"], GATEWAY_PORTS["client"])
HEADS = tuple(HOST_RAY_PORTS["ray-head"][flag] for flag in HEAD_FLAGS.values())
GCS = HOST_RAY_PORTS["ray-head"][HEAD_FLAGS["gcs"]]
NODES = tuple(HOST_RAY_PORTS["ray-cpu"][flag] for flag in ("--node-manager-port", "--object-manager-port"))
# Ray takes this one apart before it looks at a token, and aborts.
MESSAGE = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    call = channel.stream_stream(
        "/ray.rpc.syncer.RaySyncer/StartSync", request_serializer=bytes, response_deserializer=bytes
    )
    try:
        list(call(iter([b""]), timeout=5))
    except grpc.RpcError as error:
        print(error.code().name)
"""


def outside(cluster: Cluster, source: str, *arguments: str) -> str:
    """What a Python program says that runs on the LAN and on no host."""
    enter = ("nsenter", f"--net=/run/netns/{cluster.lan.namespace}")
    return run(*enter, sys.executable, "-c", source, *arguments)


def reached(cluster: Cluster, *targets: tuple[str, int]) -> list[tuple[str, int]]:
    """Those of the addresses and ports that answer there."""
    return tcp_probe.answered(outside(cluster, tcp_probe.SOURCE, json.dumps(targets)))


def wait_for_all(cluster: Cluster, *targets: tuple[str, int]) -> None:
    """Until all of them answer there: the GCS of a new head answers some seconds before its dashboard does."""
    wait_until(lambda: reached(cluster, *targets) == [*targets], f"an answer of each of {targets}", 60)


def ipv6_of(host: Host) -> str:
    """The address that each interface gives itself."""
    said = run("ip", "-n", host.namespace, "-6", "-json", "address", "show", "dev", "eth0", "scope", "link")
    return f"{json.loads(said)[0]['addr_info'][0]['local']}%lan"


def gcs_of(cluster: Cluster, host: Host) -> set[int]:
    """The process of the GCS on a host, if it leads."""
    processes = host.processes(cluster.container(host.name, "ray-head"))
    return {pid for pid, command in processes.items() if "gcs_server" in command.partition(" ")[0]}


@pytest.fixture
def leader(cluster: Cluster) -> Host:
    return cluster.hosts[cluster.leader()]


@pytest.fixture
def open_leader(cluster: Cluster, leader: Host) -> Iterator[Host]:
    """The host of the head without its firewall."""
    container = cluster.container(leader.name, "firewall")
    container.stop(timeout=15)
    yield leader
    container.start()
    # A port that does not answer in time proves no rule.
    health = list(run_module("entrypoints.firewall", "health"))
    wait_until(lambda: container.exec_run(health).exit_code == 0, "the rules after a start", 30)
    assert not reached(cluster, (leader.address, NODES[0]))


def test_reaches_what_people_use_on_every_host(cluster: Cluster):
    targets = [(host.address, port) for host in cluster.hosts.values() for port in PEOPLES]
    wait_for_all(cluster, *targets)


def test_reaches_no_port_of_ray_and_no_redis(cluster: Cluster, leader: Host):
    nodes = [(host.address, port) for host in cluster.hosts.values() for port in NODES]
    head = [(leader.address, port) for port in HEADS]
    assert reached(cluster, *nodes, *head, (cluster.hosts[REDIS_HOST].address, REDIS_PORT)) == []


def test_reaches_none_over_ipv6_either(cluster: Cluster, leader: Host):
    assert reached(cluster, *[(ipv6_of(leader), port) for port in (*HEADS, *NODES)]) == []


def test_would_reach_them_without_the_firewall(cluster: Cluster, open_leader: Host):
    """Else the tests above say nothing."""
    wait_for_all(cluster, *[(open_leader.address, port) for port in (*HEADS, *NODES)])
    wait_for_all(cluster, (ipv6_of(open_leader), NODES[0]))


def test_cannot_end_the_head_by_a_message(cluster: Cluster, leader: Host):
    # One that arrives ends it each time, as the test below shows. A machine that stands still for some seconds also
    # makes an agent start another GCS, but hardly twice.
    if not outlives_the_message(cluster, leader):
        warnings.warn(f"another GCS runs on {leader.name}:\n{cluster.logs('ray-head', 'firewall')}", stacklevel=1)
        assert outlives_the_message(cluster, cluster.hosts[cluster.leader()]), cluster.logs("ray-head", "firewall")


def outlives_the_message(cluster: Cluster, leader: Host) -> bool:
    """Whether the same GCS runs after the message was sent to it, and to the raylet."""
    before = gcs_of(cluster, leader)
    assert before
    for port in (GCS, NODES[0]):
        assert outside(cluster, MESSAGE, f"{leader.address}:{port}").split() in (["UNAVAILABLE"], ["DEADLINE_EXCEEDED"])
    time.sleep(5)
    return gcs_of(cluster, leader) == before


def test_could_end_it_without_the_firewall(cluster: Cluster, open_leader: Host):
    """A fault of Ray's (2.60). When this fails, Ray has fixed it, and the docs no longer need to mention it."""
    before = gcs_of(cluster, open_leader)
    assert outside(cluster, MESSAGE, f"{open_leader.address}:{GCS}").split() == ["UNAVAILABLE"]
    # Its agent starts another in the same epoch, or another host leads.
    wait_until(lambda: not gcs_of(cluster, open_leader) & before, "the end of the GCS", 30)
    assert cluster.leader() in cluster.hosts


def test_one_that_joins_reaches_them_and_nothing_else_is_replaced(cluster: Cluster, leader: Host):
    """A host more in the block: the others' firewalls let it in, and no node of theirs ends."""
    stack = cluster.stacks[leader.name]
    before = stack.ids()
    config = stack.folder / "cluster.yaml"
    original = config.read_text()
    config.write_text(original.replace("hosts:\n", "hosts:\n  delta: {address: 10.88.0.254}\n"))
    try:
        cluster.up(leader.name)
        after = stack.ids()
        assert {service for service in after if after[service] != before[service]} == {"firewall"}
        assert reached(cluster, (leader.address, NODES[0]), (leader.address, GCS)) != []
    finally:
        config.write_text(original)
        cluster.up(leader.name)
    assert reached(cluster, (leader.address, NODES[0])) == []
