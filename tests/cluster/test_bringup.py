"""A cluster comes up whatever comes first: exactly one head, and every node joins."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from testing.cluster.cluster import NAMES, REDIS_HOST, Cluster
from testing.cluster.faults import told, wipe_redis
from testing.cluster.form import BRINGUPS

pytestmark = pytest.mark.cluster

RAY = ("ray-gateway", "ray-head", "ray-cpu")
LISTED_SECONDS = 180.0


def test_deployed_at_the_same_moment_every_host_is_healthy_and_one_leads(cluster: Cluster):
    assert cluster.leader() in ("alpha", "beta")
    assert {name: stack.unhealthy() for name, stack in cluster.stacks.items()} == {name: {} for name in NAMES}


def test_in_any_order_and_at_the_same_moment_there_is_one_head_and_all_nodes_join(
    cluster: Cluster, draw: random.Random
):
    for number in range(BRINGUPS):
        order = draw.sample(list(cluster.hosts), len(cluster.hosts))
        with told(cluster, "all of Ray taken down", hosts=order, data="lost"):
            take_down(cluster)
            start(cluster, order, pause=draw.uniform(0, 8) if number % 2 else 0.0)
        with cluster.observed():
            settled = cluster.settle(time.monotonic())
        assert not cluster.violations(settled["time"] - LISTED_SECONDS), cluster.logs()


def take_down(cluster: Cluster) -> None:
    """Ends all of Ray, everywhere and at once, and forgets what Redis knows."""
    ray = [cluster.container(name, service) for name in NAMES for service in cluster.services(name, *RAY)]
    redis = cluster.container(REDIS_HOST, "redis")
    with ThreadPoolExecutor(len(ray) + 1) as pool:
        list(pool.map(lambda container: container.kill(), [*ray, redis]))
    wipe_redis(cluster)


def start(cluster: Cluster, order: list[str], pause: float) -> None:
    """Starts the hosts' containers again, in this order, each that many seconds after the one before."""
    for name in order:
        for service in cluster.services(name, "redis", *RAY):
            cluster.container(name, service).start()
        time.sleep(pause)
