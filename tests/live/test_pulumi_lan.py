"""A host of a cluster of several on both engines: containers on the host network, and without any. About a minute.

The host cannot lead and has no node, so that nothing of Ray starts: what is tested is what the engines make.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from entrypoints.ray.container import own_address
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack
from testing.live.pulumi_stack import MARKS, NOTHING_TO_CHANGE, differences, inspected

pytestmark = MARKS

ADDRESS = own_address(None) or "127.0.0.1"
CLUSTER: dict[str, Any] = {
    "name": "live",
    "hosts": {"live-lan": {"address": ADDRESS}, "elsewhere": {"address": "192.0.2.254"}},
    "head_whitelist": ["elsewhere"],
    "redis": {"host": "live-lan", "replica": "elsewhere", "port": 16385},
}
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-lan", "subnet": "10.226.0.0/24"},
    "health": {"enabled": False},
    "redis": {},
}
NETWORKS = {"redis": "cslr-live-lan", "ray-gateway": "host", "keeper": "none", "firewall": "host"}


@pytest.fixture(scope="module")
def live(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    settings = {**merged(SMALL, SETTINGS), "redis": {}}  # the port is the cluster's
    stack = LiveStack.make("live-lan", settings, tmp_path_factory.mktemp("lan"))
    stack.further_config["cslr:cluster"] = CLUSTER
    stack.configure()
    stack.remove()
    try:
        yield stack
    finally:
        stack.remove()


def test_every_container_is_on_its_network(left_by_embedded):
    found = {name: set(left_by_embedded[name]["NetworkSettings"]["Networks"]) for name in NETWORKS}
    assert found == {service: {network} for service, network in NETWORKS.items()}


def test_both_engines_leave_the_same(pulumi, left_by_embedded):
    assert differences(inspected(pulumi.live), left_by_embedded) == {}


@NOTHING_TO_CHANGE
def test_nothing_changes_without_a_reason(pulumi, arguments):
    pulumi.changes_nothing(*arguments)
