"""Ray's list of nodes, as the State API of the head's dashboard gives it.

Every program that asks the State API reads it here. verify_cluster.py and the hooks, which may import nothing of ours,
ask Ray itself, and repeat NODE_LABEL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NODE_LABEL, HOST_LABEL = "cslr.node", "cslr.host"  # Ray's own node name is the address unless given
MOST_NODES = 2000  # Ray keeps up to 1,000 dead ones, of about 600 bytes
NODES_PATH = f"/api/v0/nodes?limit={MOST_NODES}&detail=true"


class AnswerError(ValueError):
    """The answer is not the State API's."""


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """A node as the GCS lists it; one that ended and came back is listed twice. Memory in bytes."""

    identifier: str
    name: str
    host: str  # of the cluster; empty on a single host
    address: str
    head: bool
    alive: bool
    message: str  # why it is dead
    cpus: float
    gpus: float
    memory: int
    object_store_memory: int
    started_ms: int  # since 1970; 0 where Ray does not say
    ended_ms: int
    resources: Mapping[str, float] = field(default_factory=dict)  # all, by Ray's names; of a dead one, none

    @property
    def since(self) -> int:
        """When it entered its current state, in ms since 1970."""
        return self.started_ms if self.alive else self.ended_ms


def listed(answer: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Return the entries of any list of the State API; raises AnswerError."""
    try:
        found = answer["data"]["result"]["result"]
    except (LookupError, TypeError):
        found = None
    if not isinstance(found, list):
        raise AnswerError("not a list of Ray's State API")
    return found


def nodes_in(answer: Any) -> tuple[RayNode, ...]:  # noqa: ANN401 - JSON
    """Return the nodes of an answer to NODES_PATH, as Ray lists them; raises AnswerError."""
    entries = listed(answer)
    try:
        return tuple(_node(entry) for entry in entries)
    except (ValueError, TypeError, LookupError, AttributeError):
        raise AnswerError("not a list of nodes of Ray's State API") from None


def _node(entry: dict[str, Any]) -> RayNode:
    labels, resources = entry.get("labels") or {}, entry.get("resources_total") or {}
    return RayNode(
        identifier=str(entry["node_id"]),
        name=str(labels.get(NODE_LABEL) or entry.get("node_name") or entry["node_ip"]),
        host=str(labels.get(HOST_LABEL) or ""),
        address=str(entry["node_ip"]),
        head=bool(entry["is_head_node"]),
        alive=entry["state"] == "ALIVE",
        message=str(entry.get("state_message") or ""),
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        memory=int(resources.get("memory", 0)),
        object_store_memory=int(resources.get("object_store_memory", 0)),
        started_ms=int(entry.get("start_time_ms") or 0),
        ended_ms=int(entry.get("end_time_ms") or 0),
        resources={str(name): float(most) for name, most in resources.items()},
    )
