"""`ws node list`: every node of the cluster, as known to Ray's GCS and to Redis."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from contracts.ray_nodes import RayNode
from coordination.membership import ClusterState
from ws.cluster.access import Access
from ws.cluster.ray_api import NoHeadError
from ws.errors import WsError
from ws.tables import plain_table

State = Literal["alive", "draining", "drained", "gone"]
STYLES: dict[State, str] = {"alive": "green", "draining": "yellow", "drained": "cyan", "gone": "bold red"}
HEAD_SUFFIX = "-ray-head"


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """One node."""

    node: str
    host: str
    role: Literal["head", "worker"]
    state: State
    cpus: float
    gpus: float
    address: str
    since: str  # its start, or its end; local time

    @classmethod
    def of(cls, node: RayNode, marked: Iterable[str]) -> "NodeRow":
        """From Ray's entry and the nodes that must stay out."""
        out = node.name in marked
        state: State = ("draining" if out else "alive") if node.alive else ("drained" if out else "gone")
        return cls(
            node=node.name,
            host=node.host or node.address,
            role="head" if node.head else "worker",
            state=state,
            cpus=node.cpus,
            gpus=node.gpus,
            address=node.address,
            since=moment(node.since),
        )


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """All nodes, and notes on the list as a whole."""

    nodes: tuple[NodeRow, ...]
    problem: str  # why Ray could not be asked


def nodes_of(access: Access) -> Nodes:
    """Every node that ever joined; for a node that came back, only its present entry."""
    state, found, problem = access.state(), [], ""
    try:
        found = latest(access.ray.nodes())
    except NoHeadError as error:
        problem = f"Ray's list of nodes is not available: {_why(state, access, error)}"
    rows = [NodeRow.of(node, state.maintenance) for node in found if not _is_former_head(node)]
    known = {row.node for row in rows}
    rows += [_marked(name) for name in state.maintenance if name not in known and not _is_host(access, name)]
    return Nodes(nodes=tuple(sorted(rows, key=lambda row: (row.host, row.node))), problem=problem)


def latest(found: Iterable[RayNode]) -> list[RayNode]:
    """One entry per node: the living one, else the one that ended last."""
    best: dict[str, RayNode] = {}
    for node in found:
        other = best.get(node.name)
        if other is None or (node.alive, node.since) > (other.alive, other.since):
            best[node.name] = node
    return sorted(best.values(), key=lambda node: node.name)


def node_named(access: Access, name: str) -> RayNode | None:
    """Ray's entry of a node; None if there never was one. Raises `NoHeadError`, and `WsError` for a wrong name."""
    if _is_host(access, name):
        raise WsError(
            f"{name} is a host, not a node. Its nodes: ws node list --stack {access.stack}\n"
            f"  To exclude it from the election: ws head cordon {name} --stack {access.stack}"
        )
    found = {node.name: node for node in latest(access.ray.nodes())}
    if name not in found and name not in access.state().maintenance:
        from config.problems import did_you_mean

        raise WsError(f"The cluster has no node {name}.\n  {did_you_mean(name, found)}")
    return found.get(name)


def moment(milliseconds: int) -> str:
    """Local time, to the second; empty for none."""
    return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M:%S}" if milliseconds else ""


def as_json(found: Nodes) -> dict[str, Any]:
    """`ws node list --json`."""
    return asdict(found)


def table(rows: Iterable[NodeRow]) -> Table:
    """`ws node list`."""
    columns = ("Node", "Host", "Role", "State", "CPUs", "GPUs", "Address", "Since")
    shown = plain_table(columns, right=("CPUs", "GPUs"))
    for row in rows:
        state = Text(row.state, style=STYLES[row.state])
        shown.add_row(row.node, row.host, row.role, state, f"{row.cpus:g}", f"{row.gpus:g}", row.address, row.since)
    return shown


def _is_former_head(node: RayNode) -> bool:
    """Whether an entry is a former head of a cluster: each move leaves one, which says nothing about nodes."""
    return node.name.endswith(HEAD_SUFFIX) and not node.alive


def _is_host(access: Access, name: str) -> bool:
    return bool(access.membership and name in access.membership.cluster.hosts)


def _marked(name: str) -> NodeRow:
    """A drained node that the GCS has forgotten or cannot be asked about."""
    host = name.rpartition("-ray-")[0]
    return NodeRow(node=name, host=host, role="worker", state="drained", cpus=0, gpus=0, address="", since="")


def _why(state: ClusterState, access: Access, error: NoHeadError) -> str:
    static = access.membership and access.membership.static_head
    return str(error) if static or state.head else f"there is no head: {access.why_no_head(state)}."
