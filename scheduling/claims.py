"""Where jobs may start past the first in line without delaying it, whenever the jobs that run may end.

A reservation by time limits does not give this. Say that the first in line waits for a job that may run ten hours more,
and another with a limit of five hours starts past it. If the first ends after one hour, the first in line would have
started then, and now waits four hours longer. So nothing here looks at time: a place is harmless if, whichever of the
running jobs end, just as many parts of the first in line fit on that node as before. Jobs without a time limit are
therefore no special case.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod

from scheduling.amounts import Amounts, plus, slots
from scheduling.model import Node, Request, Running
from scheduling.room import Free, on_node

MOST_FUTURES = 1024  # of one node; beyond it, a simpler test that allows less

Future = tuple[Mapping[str, int], int]  # what is free then, and how many parts of the first in line fit then


@dataclass
class Claims:
    """What the first in line could use on each node, in every future."""

    front: Request
    free: Free  # when it became clear that it must wait
    running: Iterable[Running]
    nodes: Mapping[str, Node]
    _futures: dict[str, list[Future]] = field(default_factory=dict)
    _given: dict[str, dict[str, int]] = field(default_factory=dict)

    def harmless(self, asked: Amounts, node: str, most: int) -> int:
        """How many parts of another job this node can take, `most` at the most."""
        shared = [name for name, units in asked.items() if units and self.front.each.get(name)]
        if not shared:
            return most
        given = self._given.get(node, {})
        for free, parts in self._of(node):
            if not parts:
                continue
            for name in shared:
                spare = free.get(name, 0) - given.get(name, 0) - parts * self.front.each[name]
                most = min(most, spare // asked[name])
        return max(0, most)

    def give(self, request: Request, where: Iterable[str]) -> None:
        """Takes note of a job that was started."""
        for node in where:
            self._given[node] = plus(self._given.get(node, {}), request.each)

    def _of(self, node: str) -> list[Future]:
        if node not in self._futures:
            self._futures[node] = self._look_ahead(node)
        return self._futures[node]

    def _look_ahead(self, node: str) -> list[Future]:
        now = self.free.nodes[node]
        # What others take counts as one more job that may end; the queue cannot know its parts.
        ends = Counter(self._relevant(times) for times in self._held(node))
        ends.pop((), None)
        if prod(count + 1 for count in ends.values()) > MOST_FUTURES:
            all_ended = now
            for held, count in ends.items():
                all_ended = plus(all_ended, dict(held), count)
            return [(now, slots(self.front.each, all_ended, self.front.count))]
        futures = []
        for counts in product(*(range(count + 1) for count in ends.values())):
            free = now
            for held, count in zip(ends, counts, strict=True):
                free = plus(free, dict(held), count)
            futures.append((free, slots(self.front.each, free, self.front.count)))
        return futures

    def _held(self, node: str) -> list[Amounts]:
        held: list[Amounts] = [plus({}, run.job.request.each, parts) for run, parts in on_node(self.running, node)]
        return [*held, self.nodes[node].taken]

    def _relevant(self, held: Amounts) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((name, units) for name, units in held.items() if units and self.front.each.get(name)))
