"""The preflight's facts about the cluster of lab.py when everything works."""

from typing import Any

from coordination.membership import ClusterState, HeadState, MemberState
from preflight.cluster_facts import ClusterFacts
from preflight.host_facts import DockerNetwork, HostFacts

VERSIONS = {"cuda": "13.1.1", "python": "3.14", "ray": "2.60.0"}
MACHINE = "machine-of-alpha"
HOST = HostFacts(
    stack="alpha",
    cpus=64,
    memory_bytes=2**38,
    addresses=frozenset({"127.0.0.1", "10.88.0.1", "192.0.2.7"}),
    docker_reachable=True,
    docker_networks=(DockerNetwork(name="bridge", subnets=("172.17.0.0/16",)),),
)


def member(host: str, address: str, *, age: float = 1.0, blind: int = 0, **facts: Any) -> MemberState:
    """What a host reported last."""
    said = VERSIONS | {"subnet": "172.28.0.0/16", "stack": host, "nodes": ["ray-cpu"], "machine": f"machine-of-{host}"}
    return MemberState(
        host=host,
        address=address,
        candidate=True,
        sees=7,
        blind=blind,
        age=age,
        maintenance=False,
        held_down=0.0,
        facts=said | facts,
    )


BETA, GAMMA = member("beta", "10.88.0.2"), member("gamma", "10.88.0.3")


def state(*members: MemberState, head: str = "beta", **versions: str) -> ClusterState:
    leader = HeadState(host=head, epoch=7, ready=True, gcs="", client="", dashboard="", remaining=5.0)
    return ClusterState(
        namespace="cslr-lab",
        epoch=7,
        incarnation="x",
        leader=leader if head else None,
        members=members or (BETA, GAMMA),
        maintenance=(),
        draining=(),
        versions={"ray": "2.60.0", "python": "3.14.2", "cuda": "13.0", "host": head} | versions,
        history=(),
        uptime=1000.0,
        hold=0.0,
        handover="",
    )


SOUND = ClusterFacts(
    machine=MACHINE, sources={"beta": "10.88.0.1", "gamma": "10.88.0.1"}, clock_ahead=0.01, state=state()
)
