"""A worker of a cluster over several hosts: what it waits for, and when it starts over."""

import asyncio
import socket
from dataclasses import dataclass, replace
from typing import Any

import pytest

from contracts.gateway import Route, Target
from coordination.errors import NodeError
from coordination.lease import Grant, Lease
from coordination.membership import NodeMembership
from coordination.redis_client import Address
from entrypoints.gateway.proxy import CurrentHead, Switch
from entrypoints.ray import worker as ray_worker
from entrypoints.ray.supervision import Stop
from entrypoints.ray.worker import ElectedCluster, StaticHead, Worker, check_versions, passes_on

NAME = "beta-ray-cpu"


INSIDE = NodeMembership("a1", out=False, draining=False)


@dataclass(frozen=True)
class Answers:
    """What a cluster answers at one time."""

    membership_: NodeMembership = INSIDE
    head: bool = True
    versions_: tuple[tuple[str, str], ...] = ()

    def membership(self) -> NodeMembership:
        return self.membership_

    def has_head(self) -> bool:
        return self.head

    def why_no_head(self) -> str:
        return "the election is going on"

    def versions(self) -> dict[str, str]:
        return dict(self.versions_)


LED = Answers()
HEADLESS = Answers(head=False)


def with_membership(**changes: Any) -> Answers:
    return replace(LED, membership_=replace(LED.membership_, **changes))


@pytest.fixture
def gateway():
    """A port that lets connections through."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(ray_worker, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(ray_worker, "PASSED_ON_SECONDS", 0.1)
    monkeypatch.setattr(ray_worker, "software_versions", lambda: {"ray": "2.60.0", "python": "3.13.5", "cuda": ""})


class Cluster:
    """A cluster that answers first so, then so; the last one again and again. An exception: Redis is down."""

    def __init__(self, *answers: Answers | OSError) -> None:
        self.answers = list(answers)
        self.now: Answers

    def membership(self) -> NodeMembership:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        self.now = answer
        return answer.membership()

    def has_head(self) -> bool:
        return self.now.has_head()

    def why_no_head(self) -> str:
        return self.now.why_no_head()

    def versions(self) -> dict[str, str]:
        return self.now.versions()


def waited(*answers: Answers | OSError, gateway: Address, stop: Stop | None = None) -> list[str]:
    """The reasons that it told until it could join."""
    told: list[str] = []
    worker = Worker(NAME, "beta", Cluster(*answers), gateway, stop or Stop())
    assert worker.wait_for_head(told.append)
    return told


class TestWaiting:
    def test_with_a_head_it_joins_at_once(self, gateway):
        assert waited(LED, gateway=gateway) == []

    def test_it_waits_through_everything_and_says_what_for(self, gateway):
        down = ConnectionRefusedError("redis is down")
        drained = with_membership(out=True)
        assert waited(down, down, HEADLESS, drained, LED, gateway=gateway) == [
            "Redis does not answer (redis is down)",
            "no head: the election is going on",
            f"this node was drained; `ws node resume {NAME}` lets it join again",
        ]

    def test_a_drained_node_stays_out_also_while_it_had_time_left(self, gateway):
        still = with_membership(out=True, draining=True)
        assert len(waited(still, LED, gateway=gateway)) == 1

    def test_a_gateway_that_is_not_there_is_waited_for(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            nowhere = Address("127.0.0.1", probe.getsockname()[1])
        stop = Stop()
        told: list[str] = []

        def tell(reason: str) -> None:
            told.append(reason)
            stop.set()

        assert not Worker(NAME, "beta", Cluster(LED), nowhere, stop).wait_for_head(tell)
        assert f"the gateway of this host at {nowhere} does not reach the head" in told[0]

    def test_with_a_static_head_it_joins_without_an_election(self, gateway, redis_link):
        worker = Worker(NAME, "beta", StaticHead(redis_link, "cslr-lab", NAME), gateway, Stop())
        assert worker.wait_for_head(lambda reason: pytest.fail(reason))
        assert worker.reason_to_end() is None
        Lease(redis_link, "cslr-lab").set_maintenance(NAME, True)
        end = worker.reason_to_end()
        assert end
        assert "must stay out" in end.reason

    def test_with_a_static_head_no_redis_is_needed(self, gateway, redis_link):
        redis_link.addresses = (Address("127.0.0.1", 1),)
        worker = Worker(NAME, "beta", StaticHead(redis_link, "cslr-lab", NAME), gateway, Stop())
        assert worker.wait_for_head(lambda reason: pytest.fail(reason))
        assert worker.reason_to_end() is None


class TestGateway:
    @pytest.mark.asyncio
    async def test_a_gateway_without_a_head_does_not_pass_on(self, gateway):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", probe.getsockname()[1])
        switch = Switch()
        await switch.listen([Route(listen=(str(address),), target=Target.GCS)])
        assert not await asyncio.to_thread(passes_on, address)
        switch.turn(CurrentHead(1, "alpha", {Target.GCS: gateway}))
        assert await asyncio.to_thread(passes_on, address)
        switch.turn(None)


class TestEnd:
    def worker(self, gateway: Address, after: Answers | OSError) -> Worker:
        worker = Worker(NAME, "beta", Cluster(LED, after), gateway, Stop())
        assert worker.wait_for_head(lambda _: None)
        return worker

    @pytest.mark.parametrize(
        "after",
        [
            LED,
            HEADLESS,
            with_membership(out=True, draining=True),
            with_membership(incarnation=""),
            ConnectionRefusedError("down"),
        ],
    )
    def test_a_head_that_moves_and_a_redis_that_is_down_are_lived_through(self, gateway, after):
        assert self.worker(gateway, after).reason_to_end() is None

    def test_lost_data_is_said_and_ends_ray_at_once(self, gateway):
        end = self.worker(gateway, with_membership(incarnation="b2")).reason_to_end()
        assert end
        assert end.at_once
        assert "state in Redis was lost" in end.reason

    def test_a_node_that_is_to_stay_out_ends_when_its_time_is_over(self, gateway):
        end = self.worker(gateway, with_membership(out=True)).reason_to_end()
        assert end
        assert not end.at_once


OWN = {"ray": "2.60.0", "python": "3.13.5", "cuda": "12.8"}


class TestElectedCluster:
    def test_it_asks_redis(self, redis_link):
        lease = Lease(redis_link, "cslr-lab")
        cluster = ElectedCluster(redis_link, "cslr-lab", NAME, ("alpha",))
        assert not cluster.has_head()
        assert cluster.why_no_head()
        assert cluster.versions() == {}
        grant = lease.acquire("alpha", "i")
        assert isinstance(grant, Grant)
        assert not cluster.has_head()
        address = Address("10.0.0.1", 6385)
        lease.announce(grant, address, address, address, {"ray": "2.60.0"})
        assert cluster.has_head()
        assert cluster.versions() == {"ray": "2.60.0", "host": "alpha"}
        assert cluster.membership() == NodeMembership(grant.incarnation, out=False, draining=False)


class TestVersions:
    @pytest.mark.parametrize("cluster", [{}, {**OWN, "host": "alpha"}, {**OWN, "cuda": ""}])
    def test_what_is_the_same_or_unknown_fits(self, cluster):
        check_versions(OWN, "beta", cluster)

    @pytest.mark.parametrize(
        ("what", "there"), [("ray", "2.59.0"), ("python", "3.13.4"), ("cuda", "13.0")], ids=["ray", "python", "cuda"]
    )
    def test_what_differs_is_one_error_with_both_hosts_both_versions_and_the_remedy(self, what, there):
        with pytest.raises(NodeError) as error:
            check_versions(OWN, "beta", {**OWN, what: there, "host": "alpha"})
        text = str(error.value)
        assert "beta" in text
        assert "alpha" in text
        assert f"{what} {OWN[what]} here and {there} there" in text
        assert ray_worker.REMEDIES[what] in text

    def test_a_node_that_does_not_fit_never_joins(self, gateway):
        other = replace(LED, versions_=(("ray", "2.59.0"), ("host", "alpha")))
        with pytest.raises(NodeError, match=r"ray 2\.60\.0 here and 2\.59\.0 there"):
            waited(other, gateway=gateway)
