"""The plan of a rolling replacement: what comes before the nodes, and the nodes in their order. Asks nobody."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum

from embedded_engine.changes import CONTAINER, NETWORK, Action, Change, Scope
from stack.running_work import RAY_NODES
from ws.cost import DOING, reasons
from ws.errors import WsError

CANDIDATE = "ray-head"  # the service that leads a cluster of several hosts, or waits to
_SUFFIX = "-container"  # of the name of a service's container in the program


class Role(StrEnum):
    """A node's role, which decides how it is replaced. In the order in which they are."""

    WORKER = "worker"  # drained first
    CANDIDATE = "candidate"  # leads nothing at the moment, and runs no work
    HEAD = "head"  # of several hosts: another host takes over first. Of one host: its work ends with it


@dataclass(frozen=True, kw_only=True)
class Place:
    """The host, as far as it decides about the order."""

    running: Set[str]  # services
    leads: str = ""  # the service that leads Ray here; empty where another host leads, or none
    busy: Set[str] = frozenset()  # services in which something runs that cannot be retried elsewhere, such as a driver
    unfinished: str = ""  # the service that an interrupted run left drained


@dataclass(frozen=True, kw_only=True)
class Step:
    """The replacement of one node."""

    service: str
    role: Role
    change: Change | None  # None: an interrupted run has replaced it, and did not let it in again
    there: bool  # whether it runs, so that it must be drained

    @property
    def scope(self) -> Scope:
        """What the engine may change in this step."""
        return Scope(only=frozenset({self.change.urn} if self.change else ()))

    @property
    def leaves(self) -> bool:
        """Whether it does not come back."""
        return self.change is not None and self.change.action is Action.DELETE

    def __str__(self) -> str:
        if self.change is None:
            return f"{self.service} was left drained by an interrupted run"
        why = reasons(self.change.reasons)
        return f"{self.service} {DOING.get(self.change.action, 'is created')}{f' ({why})' if why else ''}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens, in this order; a whole `ws up` with its verification is the end of it."""

    before: tuple[Change, ...]  # all that is no Ray node, as `ws up` changes it
    steps: tuple[Step, ...]
    nodes: frozenset[str]  # URNs of all nodes that change, and of what follows them

    @property
    def first(self) -> Scope:
        """All but the nodes."""
        return Scope(without=self.nodes)


def plan(changes: Iterable[Change], place: Place, *, last: str) -> Plan:
    """The plan for these changes. `last`: the resource that follows the nodes, which verifies the stack.

    Raises:
        WsError: they cannot be made node by node.
    """
    changing = [change for change in changes if change.action is not Action.SAME]
    if network := next((one for one in changing if one.type == NETWORK and one.action is not Action.CREATE), None):
        raise WsError(
            f"{network.name} {DOING.get(network.action, 'changes')}, the network of all containers, so all of them "
            "end at once and none can be replaced before the others. Nothing was changed.\n"
            "  Plan a restart of this host: ws up without --rolling lists what would end, and asks"
        )
    nodes = {service_of(change): change for change in changing if _is_node(change)}
    steps = [_step(service, change, place) for service, change in nodes.items()]
    # One that is not there any more, such as after `ws up` without it, would be waited for in vain.
    if place.unfinished in place.running and place.unfinished not in nodes:
        steps.append(_step(place.unfinished, None, place))
    return Plan(
        before=tuple(change for change in changing if not _is_node(change) and change.name != last),
        steps=tuple(sorted(steps, key=lambda step: _order(step, place))),
        nodes=frozenset(change.urn for change in changing if _is_node(change) or change.name == last),
    )


def _is_node(change: Change) -> bool:
    return change.type == CONTAINER and service_of(change) in RAY_NODES


def service_of(change: Change) -> str:
    """The service whose container it is: by the name of the resource; of one that left the program, by its end."""
    name = change.name.removesuffix(_SUFFIX)
    return next((service for service in RAY_NODES if name == service or name.endswith(f"-{service}")), name)


def _step(service: str, change: Change | None, place: Place) -> Step:
    waits = Role.CANDIDATE if service == CANDIDATE else Role.WORKER
    role = Role.HEAD if service == place.leads else waits
    return Step(service=service, role=role, change=change, there=service in place.running)


def _order(step: Step, place: Place) -> tuple[int, bool, bool, int]:
    """The head last; what an interrupted run began first; then those in which nothing has to be waited for."""
    return (
        list(Role).index(step.role),
        step.service != place.unfinished,
        step.service in place.busy,
        RAY_NODES.index(step.service),
    )
