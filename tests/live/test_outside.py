"""Ports of a stack that another machine of the same network segment reaches; a network namespace plays the machine.

Docker before 28 forwards what such a machine sends to a container's address, and to 127.0.0.1 at this host's hardware
address. Needs root; leaves no namespace. About two minutes.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from preflight.host_facts import HostFacts
from preflight.outside import docker_is_closed
from stack.programs import run_module
from testing import tcp_probe
from testing.live.deployment import LiveStack, deployed, wait_until
from ws import firewall

pytestmark = pytest.mark.live

STACK = "live-outside"
NAMESPACE, CABLE = "cslr-outside", "cslr-outside0"
HERE, THERE = "10.222.1.1", "10.222.1.2"
SUBNET = "10.218.0.0/24"
REDIS, HEALTH = 24381, 24888
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-outside", "subnet": SUBNET},
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": REDIS},
    "health": {"port": HEALTH},
}
INSIDE = {"redis": 6379, "health": 8888}  # what containers listen on
ON_THE_LOOPBACK = [("127.0.0.1", port) for port in (REDIS, HEALTH)]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Neighbour:
    """Another machine on a cable of its own, whose user sends what they like to this host."""

    def reaches(self, *targets: tuple[str, int]) -> list[tuple[str, int]]:
        """Those of the addresses and ports that answer."""
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", tcp_probe.SOURCE, json.dumps(targets)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        return tcp_probe.answered(run.stdout)


@pytest.fixture(scope="module")
def neighbour(docker_engine: None, iproute: Path) -> Iterator[Neighbour]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a namespace of the network")
    remove()
    try:
        ip("netns", "add", NAMESPACE)
        ip("link", "add", CABLE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    except subprocess.CalledProcessError as error:
        remove()
        pytest.skip(f"no namespace of the network can be made here: {error.stderr.strip()}")
    try:
        ip("address", "add", f"{HERE}/24", "dev", CABLE)
        ip("link", "set", CABLE, "up")
        ip("-n", NAMESPACE, "address", "add", f"{THERE}/24", "dev", "eth0")
        ip("-n", NAMESPACE, "link", "set", "eth0", "up")
        ip("-n", NAMESPACE, "route", "add", SUBNET, "via", HERE)
        # What it sends to 127.0.0.1 goes out on the cable: its own loopback stays down.
        everywhere = "net.ipv4.conf.all.route_localnet=1"
        subprocess.run(["ip", "netns", "exec", NAMESPACE, "sysctl", "-qw", everywhere], check=True)
        ip("-n", NAMESPACE, "route", "add", "127.0.0.1", "via", HERE, "src", THERE)
        yield Neighbour()
    finally:
        remove()


def remove() -> None:
    """Also what a killed run left; the cable goes with the namespace."""
    with contextlib.suppress(subprocess.CalledProcessError):
        ip("netns", "delete", NAMESPACE)


@pytest.fixture(scope="module")
def stack(neighbour: Neighbour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    if docker_is_closed(HostFacts(engine_version=docker.from_env().version()["Version"])):
        pytest.skip("Docker 28 and newer keeps other machines from containers by itself")
    with deployed(STACK, SETTINGS, tmp_path_factory.mktemp("outside")) as made:
        yield made


@pytest.fixture
def addresses(stack) -> list[tuple[str, int]]:
    return addresses_of(stack)


def addresses_of(stack: LiveStack) -> list[tuple[str, int]]:
    """Of the containers, with the ports that they listen on."""
    (network,) = stack.networks()
    return [
        (stack.container(service).attrs["NetworkSettings"]["Networks"][network]["IPAddress"], port)
        for service, port in INSIDE.items()
    ]


@pytest.fixture
def targets(addresses) -> list[tuple[str, int]]:
    return [*addresses, *ON_THE_LOOPBACK]


def is_closed(neighbour: Neighbour, targets: list[tuple[str, int]]) -> bool:
    return neighbour.reaches(*targets) == []


def test_containers_go_on_as_before(stack, addresses):
    """They reach each other, this host and what is beyond it."""
    code, said = stack.exec("health", "python3", "-c", tcp_probe.SOURCE, json.dumps(addresses))
    assert (code, json.loads(said)) == (0, [list(address) for address in addresses])


class TestNeighbour:
    def test_reaches_nothing_that_is_published_on_the_loopback(self, neighbour, stack, targets):
        assert neighbour.reaches(*targets) == []

    def test_would_reach_all_of_it_without_the_firewall(self, neighbour, stack, targets):
        """Else the test above says nothing. A stop removes the rules, a start sets them."""
        stack.container("firewall").stop(timeout=15)
        assert neighbour.reaches(*targets) == targets
        stack.container("firewall").start()
        wait_until(lambda: is_closed(neighbour, targets), "the rules after a start", 30)

    def test_is_kept_out_again_when_somebody_removed_the_rules(self, neighbour, stack, targets):
        stack.exec("firewall", "nft", "delete", "table", "inet", f"cslr-{STACK}")
        wait_until(lambda: is_closed(neighbour, targets), "the rules after their removal", 30)
        _, said = stack.exec("firewall", *run_module("entrypoints.firewall", "health"))
        assert "set again 1 times" in said

    def test_is_kept_out_by_a_firewall_that_was_killed(self, neighbour, stack, targets):
        stack.container("firewall").kill()
        assert neighbour.reaches(*targets) == []
        assert STACK in firewall.left()
        said = stack.ws("doctor").stdout
        assert f"the firewall of the stack {STACK} was killed" in " ".join(said.split())
        stack.container("firewall").start()
        wait_until(lambda: STACK not in firewall.left(), "the start of the firewall", 30)

    def test_reaches_what_is_published_for_it(self, neighbour, stack, targets):
        stack.configure({"network": {"bind_address": HERE}})
        assert stack.up().ok
        assert neighbour.reaches(*[(HERE, REDIS), (HERE, HEALTH)]) == [(HERE, REDIS), (HERE, HEALTH)]
        assert neighbour.reaches(*targets) == []

    def test_reaches_everything_where_it_is_allowed_to(self, neighbour, stack):
        stack.configure({"firewall": {"allow": [THERE]}})
        assert stack.up().ok
        addresses = addresses_of(stack)
        assert neighbour.reaches(*addresses) == addresses


def test_nothing_is_left_when_the_stack_is_down_even_after_a_kill(stack):
    stack.container("firewall").kill()
    down = stack.ws("down")
    assert "Removed the rules of a firewall that was killed" in down.stdout
    assert STACK not in firewall.left()
    assert stack.up().ok
    assert stack.ws("down").returncode == 0
    assert STACK not in firewall.left()
