"""Reading a cluster's state from a real Redis, and the reason shown when there is no head."""

import json
import time
from dataclasses import replace

import pytest

from coordination.lease import prefix
from coordination.membership import (
    ClusterState,
    HeadState,
    MemberState,
    NodeMembership,
    drain_key,
    read_membership,
    read_state,
)

NAMESPACE = "cslr-lab"


def member(host: str, **changes) -> MemberState:
    usual = {"address": "10.0.0.1", "candidate": True, "sees": 0, "blind": 0, "age": 1.0, "maintenance": False}
    return MemberState(host=host, **{**usual, "held_down": 0.0, **changes})


HEADLESS = ClusterState(
    namespace=NAMESPACE,
    epoch=4,
    incarnation="a1",
    leader=None,
    members=(member("alpha"), member("beta"), member("gamma", candidate=False)),
    maintenance=(),
    draining=(),
    versions={},
    history=(),
    uptime=1000.0,
    hold=0.0,
    handover="",
)
LEADER = HeadState("alpha", 5, True, "10.0.0.1:6385", "10.0.0.1:10011", "10.0.0.1:8275", 5.5)


class TestReasonForNoHead:
    def test_with_a_ready_head_there_is_none(self):
        assert replace(HEADLESS, leader=LEADER).why_no_head() == ""
        assert replace(HEADLESS, leader=LEADER).head == LEADER

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"leader": replace(LEADER, ready=False)}, "alpha was elected and starts its head"),
            ({"hold": 30.0}, "failover of Redis"),
            ({"uptime": 2.0}, "waiting 5 s after the start of Redis"),
            ({"uptime": -7200.0}, "no host is elected yet"),  # its clock was set back
            ({"members": (member("gamma", candidate=False),)}, "no whitelisted host is up: none has ever reported"),
            ({"members": ()}, "no host is elected yet"),
            (
                {"members": (member("alpha", age=60.0), member("beta", age=70.0))},
                "no whitelisted host is up: alpha (seen 60 s ago), beta (seen 70 s ago)",
            ),
            (
                {"members": (member("alpha", maintenance=True), member("beta", age=70.0))},
                "every whitelisted host that is up is in maintenance: alpha",
            ),
            ({"members": (member("alpha", held_down=20.0),)}, "alpha for 20 s"),
            ({"handover": "beta"}, "the head is being moved to beta"),
            ({}, "no host is elected yet"),
        ],
    )
    def test_otherwise_it_is_named(self, changes, reason):
        assert reason in replace(HEADLESS, **changes).why_no_head()

    @pytest.mark.parametrize(
        ("whitelist", "reason"),
        [
            (("alpha",), "the only whitelisted host is not up: alpha (seen 60 s ago)"),
            (("alpha", "beta"), "no whitelisted host is up: alpha (seen 60 s ago), beta (never seen)"),
        ],
    )
    def test_the_whitelist_tells_who_never_came(self, whitelist, reason):
        state = replace(HEADLESS, members=(member("alpha", age=60.0), member("gamma", candidate=False)))
        assert state.why_no_head(whitelist) == reason


class TestReading:
    @pytest.fixture
    def link(self, redis_link):
        return redis_link

    def test_a_redis_without_a_cluster_is_an_empty_one(self, link):
        state = read_state(link, NAMESPACE)
        assert (state.epoch, state.incarnation, state.leader, state.members, state.history) == (0, "", None, (), ())
        assert (state.maintenance, state.draining, state.handover, state.hold) == ((), (), "", 0.0)
        assert state.uptime >= 0

    @pytest.mark.parametrize(
        "membership",
        [NodeMembership("a1", False, False), NodeMembership("a1", True, True), NodeMembership("", True, False)],
    )
    def test_the_membership_of_one_node_is_read(self, link, membership):
        keys = prefix(NAMESPACE)
        link.command("SADD", f"{keys}maintenance", "beta", *(["alpha-ray-cpu"] if membership.out else []))
        if membership.incarnation:
            link.command("SET", f"{keys}incarnation", membership.incarnation)
        if membership.draining:
            link.command("SET", drain_key(NAMESPACE, "alpha-ray-cpu"), 1, "PX", 60000)
        assert read_membership(link, NAMESPACE, "alpha-ray-cpu") == membership

    def test_all_of_it_is_read(self, link):
        keys = prefix(NAMESPACE)
        now = int(time.time() * 1000)
        lease = ("host", "alpha", "epoch", 5, "ready", 1, "gcs", "10.0.0.1:6385", "client", "10.0.0.1:10011")
        link.command("HSET", f"{keys}lease", *lease, "dashboard", "10.0.0.1:8275", "incarnation", "a1")
        link.command("PEXPIRE", f"{keys}lease", 6000)
        link.command("SET", f"{keys}epoch", 5)
        link.command("SET", f"{keys}incarnation", "a1")
        link.command("SADD", f"{keys}maintenance", "beta", "alpha-ray-gpu", "alpha-ray-cpu")
        link.command("SET", f"{keys}drain:alpha-ray-cpu", "1", "PX", 60000)
        link.command("SET", f"{keys}down:alpha", "1", "PX", 30000)
        link.command("SET", f"{keys}versions", json.dumps({"ray": "2.60.0", "host": "alpha"}))
        for epoch in (4, 5):
            event = {"epoch": epoch, "host": "alpha", "event": "ready", "time": now}
            link.command("LPUSH", f"{keys}history", json.dumps(event))
        for host, seen in (("alpha", now), ("beta", now - 60_000)):
            record = {"host": host, "address": "10.0.0.1", "candidate": True, "seen": seen, "sees": 5, "blind": 0}
            link.command("HSET", f"{keys}members", host, json.dumps(record))
        state = read_state(link, NAMESPACE)
        assert state.leader
        assert replace(state.leader, remaining=0.0) == replace(LEADER, remaining=0.0)
        assert 5 < state.leader.remaining <= 6
        assert (state.epoch, state.incarnation, state.versions) == (5, "a1", {"ray": "2.60.0", "host": "alpha"})
        assert state.maintenance == ("alpha-ray-cpu", "alpha-ray-gpu", "beta")
        assert state.draining == ("alpha-ray-cpu",)
        assert [event.epoch for event in state.history] == [5, 4]
        alpha, beta = state.members
        assert (alpha.up, alpha.maintenance, alpha.sees) == (True, False, 5)
        assert 29 < alpha.held_down <= 30
        assert (beta.up, beta.maintenance, beta.held_down) == (False, True, 0.0)
        assert 59 < beta.age < 70
