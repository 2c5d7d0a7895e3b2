"""A worker of a cluster over several hosts: what it waits for, and when it starts anew."""

import asyncio
import socket
import threading
from dataclasses import replace

import pytest

from entrypoints import ray_worker
from entrypoints.cluster_state import ClusterState
from entrypoints.gateway import Head, Route, Switch
from entrypoints.ray_process import NodeError
from entrypoints.ray_worker import Worker, check_versions, passes_on
from entrypoints.redis_link import Address
from tests.unit.test_cluster_state import HEADLESS, LEADER

NAME = "beta-ray-cpu"
LED = replace(HEADLESS, leader=LEADER)


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
    """What a worker is told, one answer after the other; the last one again and again."""

    def __init__(self, *answers: ClusterState | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> ClusterState:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def waited(*answers: ClusterState | Exception, gateway: Address, stop: threading.Event | None = None) -> list[str]:
    """The reasons that it told until it could join."""
    told: list[str] = []
    worker = Worker(NAME, "beta", Cluster(*answers), gateway, stop or threading.Event())
    assert worker.wait_for_head(told.append)
    return told


class TestWaiting:
    def test_with_a_head_it_joins_at_once(self, gateway):
        assert waited(LED, gateway=gateway) == []

    def test_it_waits_through_everything_and_says_what_for(self, gateway):
        down = ConnectionRefusedError("redis is down")
        drained = replace(LED, maintenance=(NAME,))
        assert waited(down, down, HEADLESS, drained, LED, gateway=gateway) == [
            "Redis does not answer (redis is down)",
            "no head: the election is going on",
            f"this node was drained; `ws node resume {NAME}` lets it in again",
        ]

    def test_a_drained_node_stays_out_also_while_it_had_time_left(self, gateway):
        still = replace(LED, maintenance=(NAME,), draining=(NAME,))
        assert len(waited(still, LED, gateway=gateway)) == 1

    def test_a_gateway_that_is_not_there_is_waited_for(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            nowhere = Address("127.0.0.1", probe.getsockname()[1])
        stop = threading.Event()
        told: list[str] = []

        def tell(reason: str) -> None:
            told.append(reason)
            stop.set()

        assert not Worker(NAME, "beta", Cluster(LED), nowhere, stop).wait_for_head(tell)
        assert f"the gateway of this host at {nowhere} does not reach the head" in told[0]

    def test_with_a_fixed_head_only_the_gateway_is_asked(self, gateway):
        worker = Worker(NAME, "beta", None, gateway, threading.Event())
        assert worker.wait_for_head(lambda reason: pytest.fail(reason))
        assert worker.reason_to_end() is None


class TestGateway:
    @pytest.mark.asyncio
    async def test_a_gateway_without_a_head_does_not_pass_on(self, gateway):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", probe.getsockname()[1])
        switch = Switch()
        await switch.listen({"gcs": Route((address,), "gcs")})
        assert not await asyncio.to_thread(passes_on, address)
        switch.turn(Head(1, "alpha", {"gcs": gateway}))
        assert await asyncio.to_thread(passes_on, address)
        switch.turn(None)


class TestEnd:
    def worker(self, gateway: Address, after: ClusterState | Exception) -> Worker:
        worker = Worker(NAME, "beta", Cluster(LED, after), gateway, threading.Event())
        assert worker.wait_for_head(lambda _: None)
        return worker

    @pytest.mark.parametrize(
        "state",
        [
            LED,
            HEADLESS,
            replace(LED, leader=replace(LEADER, host="beta", epoch=9)),
            replace(LED, maintenance=("beta", NAME), draining=(NAME,)),
            replace(LED, maintenance=("beta",)),
            replace(HEADLESS, incarnation=""),
            ConnectionRefusedError("redis is down"),
        ],
    )
    def test_a_head_that_moves_and_a_redis_that_is_down_are_lived_through(self, gateway, state):
        assert self.worker(gateway, state).reason_to_end() is None

    def test_lost_data_is_said_loudly_and_ends_ray_at_once(self, gateway):
        end = self.worker(gateway, replace(LED, incarnation="b2")).reason_to_end()
        assert end
        assert end.at_once
        assert "LOST" in end.reason

    def test_a_node_that_is_to_stay_out_ends_when_its_time_is_over(self, gateway):
        end = self.worker(gateway, replace(LED, maintenance=(NAME,))).reason_to_end()
        assert end
        assert not end.at_once


OWN = {"ray": "2.60.0", "python": "3.13.5", "cuda": "12.8"}


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
        other = replace(LED, versions={"ray": "2.59.0", "host": "alpha"})
        with pytest.raises(NodeError, match=r"ray 2\.60\.0 here and 2\.59\.0 there"):
            waited(other, gateway=gateway)
