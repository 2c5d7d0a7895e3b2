"""Which task or actor each worker of the Ray cluster runs, as the head's dashboard tells it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from contracts.exporter import RayDashboard
from contracts.ray_nodes import NODES_PATH, AnswerError, listed, nodes_in
from entrypoints.exporter.attribution import Work

MOST = 10_000  # Ray's own limit
TASKS_PATH = f"/api/v0/tasks?limit={MOST}&filter_keys=state&filter_predicates=%3D&filter_values=RUNNING"
ACTORS_PATH = f"/api/v0/actors?limit={MOST}&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
CALL_SECONDS = 3.0

Workers = Mapping[tuple[str, int], Work]


class RayError(Exception):
    """The dashboard does not tell: one sentence."""


def workers(dashboard: RayDashboard) -> Workers:
    """(Node as Ray calls it, PID inside its container) → what the worker does; raises RayError."""
    reasons = []
    for address in dashboard.addresses:
        try:
            token = dashboard.token.read_text(encoding="utf-8").strip()
            nodes, actors, tasks = (_asked(address, path, token) for path in (NODES_PATH, ACTORS_PATH, TASKS_PATH))
            names = {node.identifier: node.name for node in nodes_in(nodes)}
            return {**_actors(listed(actors), names), **_tasks(listed(tasks), names)}
        except (OSError, ValueError, http.client.HTTPException, AnswerError) as error:
            reasons.append(f"{address}: {error or type(error).__name__}")
    raise RayError("; ".join(reasons) or "no dashboard is named")


def _actors(entries: list[dict[str, Any]], names: Mapping[str, str]) -> Workers:
    return {
        (names.get(str(entry["node_id"]), ""), int(entry["pid"])): Work(
            job=str(entry.get("job_id") or ""), task=str(entry.get("class_name") or "")
        )
        for entry in entries
        if entry.get("pid") and entry.get("node_id")
    }


def _tasks(entries: list[dict[str, Any]], names: Mapping[str, str]) -> Workers:
    """Tasks that are no calls of actors, whose class says more."""
    return {
        (names.get(str(entry["node_id"]), ""), int(entry["worker_pid"])): Work(
            job=str(entry.get("job_id") or ""), task=str(entry.get("name") or "")
        )
        for entry in entries
        if entry.get("worker_pid") and entry.get("node_id") and not entry.get("actor_id")
    }


def _asked(address: str, path: str, token: str) -> Any:  # noqa: ANN401 (JSON)
    connection = http.client.HTTPConnection(address, timeout=CALL_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"HTTP {answer.status}")
    return json.loads(body)
