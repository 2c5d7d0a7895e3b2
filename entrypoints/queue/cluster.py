"""The cluster as the scheduler is told of it: what its nodes have, and what work past the queue takes of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.queue import NodeView
from entrypoints.queue.ray_jobs import SeenNode
from entrypoints.queue.stored import Job
from scheduling.amounts import Amounts, from_ray, minus, per_one, plus
from scheduling.model import Node


@dataclass(frozen=True, kw_only=True)
class Share:
    """What is taken of a node."""

    node: Node  # its `taken` is what does not belong to the queue
    by_queue: Amounts


def shares(nodes: Iterable[SeenNode], holding: Iterable[Job], in_ray: Iterable[Job]) -> tuple[Share, ...]:
    """The nodes, and what is taken on them.

    holding: jobs of the queue that hold resources. in_ray: those whose resources Ray may count as taken: what it counts
    beyond these belongs to others. It does so before a job's command begins, and for a moment after it ended.
    """
    by_queue, known = _by_node(holding), _by_node(in_ray)
    found = []
    for node in nodes:
        beyond = minus(from_ray(node.taken), known.get(node.name, {}))
        outside = {resource: units for resource, units in beyond.items() if units > 0}
        entry = Node(name=node.name, capacity=from_ray(node.capacity), taken=outside, up=node.up)
        found.append(Share(node=entry, by_queue=by_queue.get(node.name, {})))
    return tuple(found)


def view(share: Share) -> NodeView:
    """A node, as the REST API tells it."""
    return NodeView(
        name=share.node.name,
        up=share.node.up,
        capacity=_quantities(share.node.capacity),
        by_queue=_quantities(share.by_queue),
        outside=_quantities(share.node.taken),
    )


def _by_node(jobs: Iterable[Job]) -> dict[str, Amounts]:
    held: dict[str, Amounts] = {}
    for job in jobs:
        for node in job.nodes:
            held[node] = plus(held.get(node, {}), job.request.each)
    return held


def _quantities(amounts: Amounts) -> Mapping[str, float]:
    return {resource: units / per_one(resource) for resource, units in amounts.items() if units}
