"""The plan of a rolling replacement: what comes first, the order of the nodes, and what is refused."""

from typing import Any

import pytest

from embedded_engine.changes import CONTAINER, IMAGE, NETWORK, Action, Change
from ws.errors import WsError
from ws.rolling.plan import Place, Plan, Role, plan

NODES = {"ray-cpu", "ray-gpu", "ray-head"}


def change(name: str, action: Action = Action.REPLACE, kind: str = CONTAINER) -> Change:
    return Change(urn=f"urn::{name}", type=kind, name=name, action=action)


def replaced(*services: str) -> list[Change]:
    return [change(f"{service}-container") for service in services]


def planned(changes: list[Change], **place: Any) -> Plan:
    return plan(changes, Place(**{"running": NODES, **place}), last="verification")


def order(found: Plan) -> list[tuple[str, str]]:
    return [(step.service, step.role.value) for step in found.steps]


class TestOrder:
    @pytest.mark.parametrize(
        ("place", "expected"),
        [
            # One of several hosts that leads, one that does not, and a single host.
            ({"leads": "ray-head"}, [("ray-cpu", "worker"), ("ray-gpu", "worker"), ("ray-head", "head")]),
            ({}, [("ray-cpu", "worker"), ("ray-gpu", "worker"), ("ray-head", "candidate")]),
            ({"leads": "ray-cpu"}, [("ray-gpu", "worker"), ("ray-head", "candidate"), ("ray-cpu", "head")]),
            # A node in which a driver runs is waited for, so the others are done meanwhile.
            ({"busy": {"ray-cpu"}}, [("ray-gpu", "worker"), ("ray-cpu", "worker"), ("ray-head", "candidate")]),
            # What an interrupted run left drained is missing in the cluster.
            (
                {"busy": {"ray-gpu"}, "unfinished": "ray-gpu"},
                [("ray-gpu", "worker"), ("ray-cpu", "worker"), ("ray-head", "candidate")],
            ),
        ],
    )
    def test_the_head_is_last_and_nobody_waits_needlessly(self, place, expected):
        assert order(planned(replaced("ray-head", "ray-gpu", "ray-cpu"), **place)) == expected

    def test_each_step_changes_one_node_and_nothing_else(self):
        (first, second) = planned(replaced("ray-cpu", "ray-head")).steps
        assert (first.scope.only, second.scope.only) == ({"urn::ray-cpu-container"}, {"urn::ray-head-container"})

    def test_a_node_that_an_interrupted_run_had_replaced_is_let_in(self):
        (step,) = planned([], unfinished="ray-cpu").steps
        assert (step.service, step.change, step.scope.only) == ("ray-cpu", None, set())

    def test_one_that_is_not_there_any_more_is_not_waited_for(self):
        assert planned([], unfinished="ray-gpu", running={"ray-cpu"}).steps == ()

    def test_without_changed_nodes_there_are_no_steps(self):
        assert planned(replaced("mlflow")).steps == ()


class TestNode:
    def test_one_that_does_not_run_is_not_drained(self):
        (step,) = planned([change("ray-gpu-container", Action.CREATE)], running={"ray-cpu"}).steps
        assert (step.there, step.leaves) == (False, False)

    def test_one_that_left_the_program_is_drained_and_does_not_come_back(self):
        (step,) = planned([change("cslr-dev-ray-gpu", Action.DELETE)]).steps
        assert (step.service, step.there, step.leaves) == ("ray-gpu", True, True)


class TestBefore:
    def test_is_all_but_nodes_and_the_verification_that_follows_them(self):
        changes = [
            *replaced("redis", "ray-cpu", "ray-gateway"), change("ray", Action.UPDATE, IMAGE),
            change("verification", Action.UPDATE, "command:local:Command"), change("mlflow-container", Action.SAME),
        ]  # fmt: skip
        found = planned(changes)
        assert [one.name for one in found.before] == ["redis-container", "ray-gateway-container", "ray"]
        assert {"urn::ray-cpu-container", "urn::verification"} == found.first.without
        assert "urn::redis-container" in found.first
        assert "urn::ray-cpu-container" not in found.first


class TestRefusal:
    @pytest.mark.parametrize("action", [Action.REPLACE, Action.DELETE])
    def test_a_replaced_network_ends_all_containers_at_once(self, action):
        with pytest.raises(WsError, match=r"cslr-net .* all of them end at once .* Nothing was changed(.|\n)*ws up"):
            planned([change("cslr-net", action, NETWORK), *replaced("ray-cpu")])

    def test_a_new_network_ends_nothing(self):
        assert planned([change("cslr-net", Action.CREATE, NETWORK)]).steps == ()


def test_every_role_has_its_place_in_the_order():
    assert list(Role) == [Role.WORKER, Role.CANDIDATE, Role.HEAD]
