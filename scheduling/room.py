"""What is free on each node, and where a job fits: all of it or nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from scheduling.amounts import GPU, Amounts, minus, plus, slots
from scheduling.model import Job, Node, Request, Running

Room = Callable[[str, int], int]  # (node, most) → how many may be placed on it


@dataclass(frozen=True, kw_only=True)
class Free:
    """Free amounts of each node that is up."""

    nodes: Mapping[str, Amounts]
    with_gpus: frozenset[str]

    def after(self, request: Request, where: Iterable[str]) -> "Free":
        """What is left once a request is placed."""
        return self._changed(request, where, minus)

    def without(self, run: Running) -> "Free":
        """What is free once a job has ended. On nodes that are gone, nothing gets free."""
        return self._changed(run.job.request, (name for name in run.nodes if name in self.nodes), plus)

    def _changed(self, request: Request, where: Iterable[str], by: Callable[[Amounts, Amounts], Amounts]) -> "Free":
        nodes = dict(self.nodes)
        for name in where:
            nodes[name] = by(nodes[name], request.each)
        return Free(nodes=nodes, with_gpus=self.with_gpus)


def capacity(nodes: Iterable[Node]) -> Free:
    """As if nothing ran."""
    return _free(nodes, lambda node: node.capacity)


def controlled(nodes: Iterable[Node]) -> Free:
    """As if no job of the queue ran: what others take stays taken."""
    return _free((node for node in nodes if node.up), lambda node: minus(node.capacity, node.taken))


def free_now(nodes: Iterable[Node], running: Iterable[Running]) -> Free:
    """What no one holds."""
    left = {node.name: minus(node.capacity, node.taken) for node in nodes if node.up}
    for run in running:
        for name in run.nodes:
            if name in left:
                left[name] = minus(left[name], run.job.request.each)
    return Free(nodes=left, with_gpus=_with_gpus(nodes))


def place(request: Request, free: Free, room: Room | None = None) -> tuple[str, ...] | None:
    """The nodes for a request, or None if it does not fit as a whole.

    On one node if one has the room, on the fullest that has; else on as few as possible. What needs no GPU goes to
    nodes without GPUs first. It always finds a place if there is one, because all parts of a request are alike.
    """
    found = []
    for name, left in free.nodes.items():
        most = slots(request.each, left, request.count)
        if most and room is not None:
            most = room(name, most)
        if most:
            found.append((name, most))
    if sum(most for _, most in found) < request.count:
        return None
    spared = free.with_gpus if GPU not in request.each else frozenset()
    found.sort(key=lambda entry: (entry[0] in spared, -entry[1], _left(request, free.nodes[entry[0]]), entry[0]))
    where: list[str] = []
    for name, most in found:
        where += [name] * min(most, request.count - len(where))
    return tuple(where)


def fits_in(request: Request, free: Free) -> bool:
    """Whether there is a place for it."""
    missing = request.count
    for left in free.nodes.values():
        missing -= slots(request.each, left, missing)
        if missing <= 0:
            return True
    return False


def on_node(running: Iterable[Running], node: str) -> list[tuple[Running, int]]:
    """The jobs that hold something of a node, and how many parts of them lie there."""
    return [(run, run.nodes.count(node)) for run in running if node in run.nodes]


def started(job: Job, now: float, where: tuple[str, ...], *, borrowed: bool = False) -> Running:
    """A job that has just been given its place."""
    return Running(job=job, started=now, nodes=where, borrowed=borrowed)


def _free(nodes: Iterable[Node], of: Callable[[Node], Amounts]) -> Free:
    listed = list(nodes)
    return Free(nodes={node.name: of(node) for node in listed}, with_gpus=_with_gpus(listed))


def _with_gpus(nodes: Iterable[Node]) -> frozenset[str]:
    return frozenset(node.name for node in nodes if node.capacity.get(GPU))


def _left(request: Request, free: Amounts) -> int:
    """How often it would still fit: less means fuller."""
    return slots(request.each, free, 1_000_000)
