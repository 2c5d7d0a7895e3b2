"""Short ways to say jobs and nodes."""

from typing import Any

from scheduling.amounts import amounts
from scheduling.model import Job, Node, Request, Running, State, User

HOUR = 3600.0


def job(name: str, *, user: str = "anna", gpus: float = 0, cpus: float = 0, count: int = 1, **other: Any) -> Job:
    """A job that asks for this, sent at 0."""
    request = Request(each=amounts(GPU=gpus, CPU=cpus), count=count)
    return Job(**{"submitted": 0.0, **other}, id=name, user=user, request=request)


def running(what: Job, *nodes: str, started: float = 0.0, **other: Any) -> Running:
    """It runs there."""
    return Running(job=what, started=started, nodes=nodes, **other)


def node(name: str = "one", *, gpus: int = 4, cpus: int = 16, **other: Any) -> Node:
    """A node with so much."""
    return Node(name=name, capacity=amounts(GPU=gpus, CPU=cpus), **other)


def state(*waiting: Job, nodes: tuple[Node, ...] | None = None, held: tuple[Running, ...] = (), **other: Any) -> State:
    """One node with four GPUs, unless others are given."""
    named: dict[str, Any] = {"now": 0.0, "users": {}, **other}
    return State(nodes=nodes or (node(),), running=held, waiting=waiting, **named)


def user(name: str, **other: Any) -> dict[str, User]:
    """One user's entry."""
    return {name: User(name=name, **other)}
