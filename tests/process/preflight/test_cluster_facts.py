"""The preflight's facts from a real Redis, and from ports that are open, closed, or behind a firewall."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.cluster import Membership
from config.cluster_file import parse
from coordination.lease import Lease, Member
from coordination.redis_client import Address, RedisLink
from preflight import cluster_facts
from preflight.cluster_facts import ClosedPort, ClusterFacts
from testing.servers import free_port, server_process

PASSWORD = "a-password-of-redis"


@pytest.fixture(scope="module")
def redis_port(redis_server: Path) -> Iterator[int]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
    with server_process([str(redis_server), *options], port):
        yield port


def membership(port: int) -> Membership:
    """Two hosts on this machine: addresses of the loopback, which no stack file could have."""
    block = {
        "name": "lab",
        "hosts": {"alpha": {"address": "10.88.0.1"}, "beta": {"address": "10.88.0.2"}},
        "redis": {"host": "alpha", "port": port},
    }
    cluster = parse(block, file="cluster.yaml", key="")
    addresses = {"alpha": "127.0.0.1", "beta": "127.0.0.3"}
    hosts = {name: host.model_copy(update={"address": addresses[name]}) for name, host in cluster.hosts.items()}
    return Membership(cluster=cluster.model_copy(update={"hosts": hosts}), host="alpha", file="cluster.yaml", key="")


def probe(port: int, password: str = PASSWORD) -> ClusterFacts:
    return ClusterFacts.probe(membership(port), machine="m", password=password)


@pytest.fixture
def lease(redis_port) -> Iterator[Lease]:
    link = RedisLink([Address("127.0.0.1", redis_port)], PASSWORD)
    link.command("FLUSHALL")
    yield Lease(link, membership(redis_port).namespace)
    link.close()


def report(lease: Lease, host: str = "beta", address: str = "127.0.0.3", **facts: object) -> None:
    lease.report(Member(host=host, address=address, candidate=True, sees=0, blind=0, facts=facts))


class TestRedis:
    def test_that_is_down_says_why(self):
        facts = probe(free_port())
        assert "refused" in facts.silence
        assert (facts.state, facts.refusal, facts.up) == (None, "", ())

    def test_with_another_password_refuses(self, redis_port):
        facts = probe(redis_port, "another-password")
        assert "WRONGPASS" in facts.refusal
        assert "another-password" not in facts.refusal

    def test_that_is_fresh_knows_nobody(self, lease, redis_port):
        facts = probe(redis_port)
        assert (facts.silence, facts.refusal, facts.up) == ("", "", ())
        assert facts.state

    def test_tells_who_is_up_with_what_they_say_about_themselves(self, lease, redis_port):
        report(lease, ray="2.60.0", machine="x")
        [member] = probe(redis_port).up
        assert (member.host, member.address) == ("beta", "127.0.0.3")
        assert member.facts == {"ray": "2.60.0", "machine": "x"}

    def test_has_the_clock_of_this_host(self, lease, redis_port):
        ahead = probe(redis_port).clock_ahead
        assert ahead is not None
        assert abs(ahead) < 0.5

    def test_s_clock_is_compared(self, lease, redis_port, monkeypatch):
        now = time.time
        monkeypatch.setattr("preflight.cluster_facts.time.time", lambda: now() + 30)
        ahead = probe(redis_port).clock_ahead
        assert ahead is not None
        assert 29 < ahead < 31

    def test_is_asked_in_less_than_a_second(self, lease, redis_port):
        report(lease, nodes=["ray-cpu"])
        started = time.monotonic()
        probe(redis_port)
        assert time.monotonic() - started < 1


class TestPorts:
    @pytest.fixture
    def probed(self, monkeypatch) -> list[tuple[str, int]]:
        """Records the probed ports; 11002 lets nothing through."""
        places: list[tuple[str, int]] = []

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            places.append(address)
            if address[1] == 11002:
                raise TimeoutError
            raise ConnectionRefusedError

        monkeypatch.setattr(cluster_facts, "create_connection", connect)
        monkeypatch.setattr(cluster_facts, "REPORT_SECONDS", 0.05)
        return places

    def test_of_every_node_that_a_host_runs_are_tried(self, lease, redis_port, probed):
        report(lease, nodes=["ray-cpu", "ray-head"])
        probe(redis_port)
        assert {address for address, _ in probed} == {"127.0.0.3"}
        assert {port for _, port in probed} == {6385, 8275, 10011, *range(11001, 11007), *range(11201, 11207)}

    def test_that_let_nothing_through_are_told(self, lease, redis_port, probed, monkeypatch):
        report(lease, nodes=["ray-cpu"])
        sleep = time.sleep

        def report_meanwhile(_: float) -> None:
            sleep(0.1)
            report(lease, nodes=["ray-cpu"])

        monkeypatch.setattr("preflight.cluster_facts.time.sleep", report_meanwhile)
        assert probe(redis_port).closed == (
            ClosedPort(host="beta", port=11002, purpose="ray-cpu (object-manager-port)", error="no answer"),
        )

    def test_of_a_host_that_goes_down_meanwhile_say_nothing(self, lease, redis_port, probed):
        report(lease, nodes=["ray-cpu"])
        time.sleep(0.1)
        assert probe(redis_port).closed == ()

    def test_of_a_host_that_is_long_gone_are_not_tried(self, lease, redis_port, probed):
        report(lease, nodes=["ray-cpu"])
        key = f"{lease.prefix}members"
        record = json.loads(str(lease.link.command("HGET", key, "beta")))
        lease.link.command("HSET", key, "beta", json.dumps(record | {"seen": record["seen"] - 60_000}))
        probe(redis_port)
        assert probed == []

    def test_of_this_host_and_of_strangers_are_not_tried(self, lease, redis_port, probed):
        report(lease, "alpha", "127.0.0.1", nodes=["ray-cpu"])
        report(lease, "delta", "127.0.0.4", nodes=["ray-cpu"])
        report(lease, "beta", "127.0.0.9", nodes=["ray-cpu"])  # not the address that the block has
        probe(redis_port)
        assert probed == []

    def test_where_nobody_listens_are_not_closed(self, lease, redis_port):
        report(lease, nodes=["ray-cpu"])
        assert probe(redis_port).closed == ()


class TestRoutes:
    def test_are_known_even_without_redis(self):
        facts = probe(free_port())
        assert facts.sources == {"beta": "127.0.0.1"}
