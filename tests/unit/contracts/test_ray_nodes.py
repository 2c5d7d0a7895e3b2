"""Ray's list of nodes, as Ray 2.60 gives it at /api/v0/nodes?detail=true."""

from typing import Any

import pytest

from contracts.ray_nodes import NODE_LABEL, AnswerError, listed, nodes_in
from entrypoints import verify_cluster
from entrypoints.hooks import package_hooks

ENTRY: dict[str, Any] = {
    "node_id": "ab", "node_ip": "10.0.0.1", "is_head_node": True, "state": "ALIVE", "state_message": None,
    "node_name": "10.0.0.1", "labels": {"cslr.node": "alpha-ray-cpu", "cslr.host": "alpha"},
    "resources_total": {"CPU": 2.0, "GPU": 1.0, "memory": 1e9, "object_store_memory": 5e8},
    "start_time_ms": 5, "end_time_ms": 9,
}  # fmt: skip


def answer(*entries: Any) -> Any:
    return {"result": True, "data": {"result": {"total": len(entries), "result": list(entries)}}}


class TestNodes:
    def test_a_node_is_what_ray_says(self):
        (node,) = nodes_in(answer(ENTRY))
        assert (node.identifier, node.name, node.host, node.address) == ("ab", "alpha-ray-cpu", "alpha", "10.0.0.1")
        assert (node.head, node.alive, node.message, node.since) == (True, True, "", 5)
        assert (node.cpus, node.gpus, node.memory, node.object_store_memory) == (2.0, 1.0, 10**9, 5 * 10**8)

    def test_a_dead_node_says_why_and_since_when(self):
        (node,) = nodes_in(answer({**ENTRY, "state": "DEAD", "state_message": "preempted"}))
        assert (node.alive, node.message, node.since) == (False, "preempted", 9)

    @pytest.mark.parametrize("missing", ["labels", "resources_total", "state_message", "start_time_ms", "end_time_ms"])
    def test_what_ray_may_leave_out_may_be_missing(self, missing):
        (node,) = nodes_in(answer({key: value for key, value in ENTRY.items() if key != missing}))
        assert node.identifier == "ab"

    def test_without_our_label_a_node_has_rays_name(self):
        (node,) = nodes_in(answer({**ENTRY, "labels": {}}))
        assert node.name == "10.0.0.1"

    @pytest.mark.parametrize("entry", [{}, 7, None, {**ENTRY, "resources_total": {"CPU": "x"}}, {"node_name": "a"}])
    def test_an_entry_that_is_not_rays_is_refused(self, entry):
        with pytest.raises(AnswerError):
            nodes_in(answer(entry))


class TestAnswer:
    @pytest.mark.parametrize("text", [None, [], {}, {"data": None}, {"data": {"result": 7}}, {"data": {"result": {}}}])
    def test_an_answer_that_is_not_a_list_is_refused(self, text):
        with pytest.raises(AnswerError):
            listed(text)


class TestLabel:
    def test_programs_that_import_nothing_of_ours_repeat_it(self):
        assert verify_cluster.NODE_LABEL == package_hooks.NODE_LABEL == NODE_LABEL
