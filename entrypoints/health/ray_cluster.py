"""The Ray cluster's state from the head's dashboard, and the status of each node of this stack."""

import asyncio
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.health import Kind, WatchedService
from contracts.ray_nodes import NODES_PATH, AnswerError, RayNode, nodes_in
from contracts.status import HeadStatus, NodeStatus, RayStatus, Reason, ServiceStatus, Usage
from coordination.membership import HeadState
from coordination.regular_file import read_text
from entrypoints.health.asker import Answer, Asker, timed
from entrypoints.health.failure import FailureError
from entrypoints.health.probes import WARN_SHARE, Finding, ProbeWarning, in_words, service_status

GCS_PORT = 6379
DASHBOARD_PORT = 8265
OLD_NODES_SHOWN = 20
SCRATCH_STALE_SECONDS = 180.0  # a guard measures at least three times a minute, unless the disk is very slow


@dataclass(frozen=True)
class Dashboard:
    """A dashboard whose GCS answers, so its node is a head; nodes and version are empty after a failure."""

    at: WatchedService
    nodes: tuple[NodeStatus, ...] = ()
    version: str | None = None
    failure: FailureError | None = None

    @property
    def head_node(self) -> NodeStatus | None:
        """The GCS's own entry of the head."""
        return next((node for node in self.nodes if node.alive and node.role == "head"), None)


def node_by_name(name: str, services: tuple[WatchedService, ...]) -> WatchedService:
    """Return the address of a node's dashboard, if it leads: that of its service, or else its name as the host."""
    known = (service for service in services if service.kind is Kind.RAY and service.name == name)
    return next(known, WatchedService(name=name, kind=Kind.RAY, host=name, port=DASHBOARD_PORT))


async def ask_dashboard(node: WatchedService, asker: Asker) -> Dashboard:
    """Ask a node's dashboard for the state of its GCS; raises if the node does not lead."""
    await asker.in_time(asker.get(node, "/api/gcs_healthz"))
    details = await timed(asker.in_time(_cluster_details(node, asker)), node)
    version, nodes = details.found or (None, ())
    return Dashboard(node, nodes, version, details.failure)


async def _cluster_details(node: WatchedService, asker: Asker) -> tuple[str, tuple[NodeStatus, ...]]:
    token = asker.secrets["ray-token"]
    texts = await asyncio.gather(asker.get(node, "/api/version", token), asker.get(node, NODES_PATH, token))
    try:
        version = str(json.loads(texts[0])["ray_version"])
        nodes = sorted(nodes_in(json.loads(texts[1])), key=lambda node: -node.started_ms)
    except (ValueError, TypeError, KeyError, AnswerError):
        answer = f"{node.host}:{node.port} does not answer as Ray's dashboard does"
        raise FailureError(Reason.WRONG_ANSWER, answer) from None
    return version, tuple(_node(node, version) for node in nodes)


def _node(node: RayNode, version: str) -> NodeStatus:
    """Return a node for the report. Ray lets no node of another version join, so the head's version is everyone's."""
    return NodeStatus(
        name=node.name,
        node_id=node.identifier,
        address=node.address,
        alive=node.alive,
        expected=False,
        role="head" if node.head else "worker",
        cpus=node.cpus,
        gpus=node.gpus,
        memory=node.memory,
        object_store_memory=node.object_store_memory,
        version=version,
        message=node.message or None,
    )


async def ask_ray(
    expected: tuple[WatchedService, ...], gateway: WatchedService | None, leader: HeadState | None, asker: Asker
) -> RayStatus:
    """Ask the gateway's dashboard, or every expected node's at once; never raises. leader: the lease's holder."""
    asked = (gateway,) if gateway else expected
    answers = await asyncio.gather(*(timed(ask_dashboard(node, asker), node) for node in asked))
    found = [(answer.found, answer.latency_ms) for answer in answers if answer.found]
    if not found:
        return _without_head(asked, answers, expected)
    dashboard, latency = found[0]
    leaders = {board.head_node.node_id: board.at.name for board, _ in found if board.head_node}
    failure = dashboard.failure
    if len(leaders) > 1:  # stock Ray silently accepts two heads on one Redis namespace
        both = f"{' and '.join(leaders.values())} lead at the same time: stop one of them"
        failure = FailureError(Reason.TWO_HEADS, both)
    node = dashboard.head_node
    address = f"{node.address if node else dashboard.at.host}:{GCS_PORT}"
    head = HeadStatus(
        node=node.name if node else dashboard.at.name,
        address=leader.gcs if gateway and leader and leader.gcs else address,
        dashboard=dashboard.at.url,
    )
    return RayStatus(
        head=head,
        nodes=_with_expectations(dashboard.nodes, expected),
        latency_ms=latency,
        reason=failure.reason if failure else None,
        error=failure.message if failure else None,
    )


def _without_head(
    asked: tuple[WatchedService, ...], answers: list[Answer[Dashboard]], expected: tuple[WatchedService, ...]
) -> RayStatus:
    """Return the report if no dashboard answers as a head's; not a failure if none was expected."""
    reasons = "; ".join(f"{node.name}: {answer.failure}" for node, answer in zip(asked, answers, strict=True))
    return RayStatus(
        head=None,
        nodes=_with_expectations((), expected),
        latency_ms=None,
        reason=Reason.NO_HEAD if asked else None,
        error=f"no node leads ({reasons})" if asked else None,
    )


def _with_expectations(known: tuple[NodeStatus, ...], expected: tuple[WatchedService, ...]) -> tuple[NodeStatus, ...]:
    """Return expected nodes in their order (alive, else the latest dead entry, else a blank), then the others."""
    latest: dict[str, NodeStatus] = {}
    for node in sorted(known, key=lambda node: not node.alive):
        latest.setdefault(node.name, node)
    first = [
        replace(latest.get(service.name, NodeStatus(name=service.name, alive=False, expected=True)), expected=True)
        for service in expected
    ]
    shown = {node.node_id for node in first}
    others = [node for node in known if node.node_id not in shown]
    return (*first, *(n for n in others if n.alive), *[n for n in others if not n.alive][:OLD_NODES_SHOWN])


@dataclass(frozen=True)
class Scratch:
    """The latest measurement of a node's scratch folder, and the failure or warning that follows."""

    found: Finding
    failure: FailureError | None = None


def scratch_of(path: Path | None) -> Scratch:
    """Read a guard's report; without one nothing is known."""
    try:
        report = json.loads(read_text(path)) if path else {}
        usage = Usage(name="scratch", used=int(report["used"]), limit=int(report["limit"]))
        age, full, message = time.time() - float(report["time"]), bool(report["full"]), str(report["message"])
    except (OSError, ValueError, LookupError, TypeError):
        return Scratch(Finding())
    if full:
        return Scratch(Finding(usage=(usage,)), FailureError(Reason.SCRATCH_FULL, message))
    warning = None
    if age > SCRATCH_STALE_SECONDS:
        warning = ProbeWarning(Reason.SCRATCH_UNKNOWN, f"its scratch folder was last measured {age:.0f} s ago")
    elif usage.used >= WARN_SHARE * usage.limit:
        warning = ProbeWarning(Reason.SCRATCH_HIGH, in_words(usage))
    return Scratch(Finding(usage=(usage,), warning=warning))


def ray_service(service: WatchedService, ray: RayStatus, scratch: Scratch) -> ServiceStatus:
    """Return a Ray node as a service: up if it is alive in the cluster and has room in its scratch folder.

    Only the head has a dashboard to link to.
    """
    node = next(node for node in ray.nodes if node.expected and node.name == service.name)
    leads = ray.head is not None and ray.head.node == service.name
    return service_status(
        replace(service, url=service.url if leads else None),
        replace(scratch.found, version=node.version if node.alive else None),
        ray.latency_ms if node.alive else None,
        _failure(node, ray) or scratch.failure,
    )


def _failure(node: NodeStatus, ray: RayStatus) -> FailureError | None:
    if ray.reason and ray.error:
        return FailureError(ray.reason, ray.error)
    if node.alive:
        return None
    reason = Reason.NODE_DEAD if node.node_id else Reason.NOT_JOINED
    return FailureError(reason, "not alive in the Ray cluster" + (f": {node.message}" if node.message else ""))
