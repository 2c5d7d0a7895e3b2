"""A model in which to explore the election: agents that run coordination/election.py, Redis, heads, and all failures.

Nothing in it has a duration: every timer may go off, every lease may end and every request may be executed at any
moment, also long after its sender gave it up; an agent that does nothing for long is one that is frozen. So what holds
here does not rest on timing. The exploration is exhaustive within `Bounds`.

An answer that is long on its way is the same as the next request being long on its way, and is not modelled apart;
except for that of a renewal, upon which a head is started.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from coordination import election
from coordination.election import (
    AgentState,
    Answered,
    Call,
    ElectionConfig,
    Event,
    Expired,
    Failed,
    Operation,
    Phase,
    Result,
    Timer,
)
from coordination.lease import Credentials, Grant, Refusal, Renewal, is_fenced_by

NAMESPACE = "n"
STANDBY = AgentState()
# Requests that change nothing, or nothing that could do harm: no need to explore that they come late.
HARMLESS = frozenset({Operation.LOOK, Operation.RENEW, Operation.ANNOUNCE, Operation.RETRACT})


@dataclass(frozen=True)
class Bounds:
    """How much of what may happen; the exploration ends where it would be exceeded."""

    agents: tuple[tuple[str, str], ...]  # (host, instance); two of one host: a later run, or a lock that failed
    timers: tuple[Timer, ...] = tuple(Timer)  # that go off
    epochs: int = 3
    users: int = 4  # attempts to make one
    late: int = 1  # requests that are given up and may still be executed
    twice: int = 0  # requests that are executed twice
    restarts: int = 0  # of Redis; users are gone, the last write may be
    wipes: int = 0  # of the data of a running Redis, which keeps the users; or, by a restart, not even those
    orders: int = 0  # wishes for another leader
    crashes: int = 2  # of agents, whose heads live on, and of heads; and stops


class Request(NamedTuple):
    """A call on its way."""

    call: Call
    agent: int
    username: str = ""  # of the user that it makes
    floor: int = 0


class Redis(NamedTuple):
    """What Redis has, and what the scripts of coordination/lease.py do with it."""

    epoch: int = 0
    lease: Grant | None = None
    incarnation: int = 1
    users: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()  # users that ever were there
    verified: frozenset[str] = frozenset()  # of these, those after which a renewal of their grant was executed
    former: tuple[int, Grant | None] = (0, None)  # epoch and lease before the last write

    def written(self, epoch: int, lease: Grant | None) -> Redis:
        return self._replace(epoch=epoch, lease=lease, former=(self.epoch, self.lease))


class Agent(NamedTuple):
    """An agent; its call is either on its way or answered, until it learns of it or gives up."""

    state: AgentState = STANDBY
    begun: bool = False
    dead: bool = False
    request: Request | None = None
    reply: Answered | None = None


class World(NamedTuple):
    """Everything at one moment."""

    agents: tuple[Agent, ...]
    redis: Redis = Redis()
    heads: frozenset[tuple[int, str]] = frozenset()  # agent that started it, user
    late: frozenset[Request] = frozenset()
    floors: tuple[int, ...] = ()  # of the agents' hosts, on disk
    granted: int = 0  # the highest epoch of this life of the data
    users: int = 0  # number of users made
    spent: tuple[int, ...] = (0, 0, 0, 0, 0)  # twice, restarts, wipes, orders, crashes

    def accepted(self) -> list[tuple[int, str]]:
        """Heads that can write."""
        return [head for head in self.heads if head[1] in self.redis.users]


class ViolationError(AssertionError):
    """An invariant does not hold; the text is the way there."""


TWICE, RESTARTS, WIPES, ORDERS, CRASHES = range(5)


def step(config: ElectionConfig, state: AgentState, event: Event) -> tuple[AgentState, tuple[election.Action, ...]]:
    """election.step, without texts and what only decides for how long: they would make many states of one."""
    state, actions = election.step(config, state, event)
    state = replace(state, said="", reason="", hold_down=0.0, gray=0, leader="", former=None)
    return state, tuple(action for action in actions if not isinstance(action, (election.Say, election.Arm)))


class Model:
    """What may happen next in a world."""

    def __init__(self, bounds: Bounds, *, fresh_names: bool = True, new_epoch_on_takeover: bool = True) -> None:
        self.bounds = bounds
        self.fresh_names = fresh_names
        self.new_epoch_on_takeover = new_epoch_on_takeover
        self.hosts = [host for host, _ in bounds.agents]
        self._configs = [ElectionConfig(host, (host,)) for host in self.hosts]
        self.alike = len(set(self.hosts)) == len(self.hosts)
        self._step = functools.cache(step)
        self._limits = (bounds.twice, bounds.restarts, bounds.wipes, bounds.orders, bounds.crashes)

    def first(self) -> World:
        count = len(self.bounds.agents)
        return World(agents=(Agent(),) * count, floors=(0,) * count)

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        for index, agent in enumerate(world.agents):
            if not agent.dead:
                yield from self._of_agent(world, index, agent)
        yield from self._of_network(world)
        yield from self._of_redis(world)
        for head in world.heads:
            yield from self._spend(f"head of {head[0]} dies", world._replace(heads=world.heads - {head}), CRASHES)

    def _spend(self, what: str, world: World, kind: int) -> Iterator[tuple[str, World]]:
        if world.spent[kind] < self._limits[kind]:
            spent = tuple(count + (index == kind) for index, count in enumerate(world.spent))
            yield what, world._replace(spent=spent)

    # ---- agents

    def _of_agent(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        if not agent.begun:
            if self.alike and not all(other.begun for other in world.agents[:index]):
                return  # the same with other names
            yield f"{index} begins", self.event(self._change(world, index, begun=True), index, election.Begin())
            return
        yield from self._spend(f"{index} crashes", self._dead(world, index), CRASHES)
        yield from self._spend(f"{index} is stopped", self.event(world, index, election.StopRequested()), CRASHES)
        # A renewal that is due while another call is under way only waits for that.
        timers = [timer for timer in self.bounds.timers if timer is not Timer.RENEW or agent.request is None]
        events: list[Event] = [Expired(timer) for timer in timers]
        if agent.state.phase is Phase.STARTING:
            events.append(election.HeadServes())
        if agent.state.phase in election.HEAD_RUNS:
            events.append(election.HeadEnded("-"))
        for event in events:
            if self._step(self._configs[index], agent.state, event) != (agent.state, ()):
                yield f"{index}: {event}", self.event(world, index, event)
        yield from self._of_call(world, index, agent)

    def _dead(self, world: World, index: int) -> World:
        return self._change(world, index, dead=True, state=STANDBY, request=None, reply=None)

    def _of_call(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        if agent.request is None:
            return
        operation = agent.request.call.operation
        idle = self._change(world, index, request=None, reply=None)
        if agent.reply:
            yield f"{index} learns {agent.reply.result}", self.event(idle, index, agent.reply)
        else:
            yield from self._executed(idle, index, agent.request)
        yield f"{index} gives {operation.value} up", self.event(idle, index, Failed("-"))
        if not agent.reply and operation not in HARMLESS and len(world.late) < self.bounds.late:
            base = idle._replace(late=idle.late | {agent.request})
            yield f"{index} gives {operation.value} up, which is late", self.event(base, index, Failed("-"))

    def _executed(self, idle: World, index: int, request: Request) -> Iterator[tuple[str, World]]:
        operation = request.call.operation
        for base, result in self.execute(idle, request):
            what = f"{index}: {operation.value} executed"
            if operation is Operation.RENEW:
                yield what, self._change(base, index, request=request, reply=Answered(result))
                continue
            yield f"{what}, the answer lost", self.event(base, index, Failed("-"))
            learned = self._learn(base, index, result)
            yield what, learned
            # Never one that makes a user: that is never sent twice.
            if operation not in (*HARMLESS, Operation.CREATE_USER) and len(learned.late) < self.bounds.late:
                yield from self._spend(f"{what}, and once more", learned._replace(late=learned.late | {request}), TWICE)

    def _learn(self, world: World, index: int, result: Result) -> World:
        if isinstance(result, Grant):
            if result.epoch <= world.floors[index]:
                raise ViolationError(f"epoch {result.epoch} was known to {result.host} before")
            world = self._raise_floor(world, result)
        return self.event(world, index, Answered(result))

    def _raise_floor(self, world: World, grant: Grant) -> World:
        floors = [
            max(floor, grant.epoch) if host == grant.host else floor
            for host, floor in zip(self.hosts, world.floors, strict=True)
        ]
        return world._replace(floors=tuple(floors))

    def event(self, world: World, index: int, event: Event) -> World:
        """The world after an agent has taken an event and carried out its actions."""
        state, actions = self._step(self._configs[index], world.agents[index].state, event)
        world = self._change(world, index, state=state)
        for action in actions:
            world = self._carry_out(world, index, action)
        return world

    def _carry_out(self, world: World, index: int, action: election.Action) -> World:
        if isinstance(action, Call):
            return self._send(world, index, action)
        if isinstance(action, election.StartHead):
            if action.credentials.username not in world.redis.verified:
                raise ViolationError(f"a head starts with {action.credentials.username}, which was never verified")
            return world._replace(heads=world.heads | {(index, action.credentials.username)})
        if isinstance(action, election.KillHead):
            return world._replace(heads=frozenset(head for head in world.heads if head[0] != index))
        if isinstance(action, election.Exit):
            return self._dead(world, index)
        return world

    def _send(self, world: World, index: int, call: Call) -> World:
        if call.operation is Operation.LOOK:  # what it answers decides only whether to ask for the lease now or later
            return self.event(world, index, Answered(None))
        request = Request(replace(call, reason="", hold_down=0.0), index, floor=world.floors[index])
        if call.operation is Operation.CREATE_USER:
            grant = call.grant
            assert grant
            number = world.users if self.fresh_names else 100 * index
            name = f"ray-{NAMESPACE}-{grant.epoch}-{grant.incarnation}{number:016x}"
            request = request._replace(username=name)
            world = world._replace(users=world.users + 1)
        return self._change(world, index, request=request, reply=None)

    def _change(self, world: World, index: int, **changes: Any) -> World:
        agents = list(world.agents)
        agents[index] = agents[index]._replace(**changes)
        return world._replace(agents=tuple(agents))

    # ---- the network

    def _of_network(self, world: World) -> Iterator[tuple[str, World]]:
        for request in world.late:
            for base, _ in self.execute(world._replace(late=world.late - {request}), request):
                yield f"{request.agent}: {request.call.operation.value} executed late", base

    def execute(self, world: World, request: Request) -> Iterator[tuple[World, Result]]:
        """The world after Redis has executed a request, and its answer."""
        redis, grant = world.redis, request.call.grant
        if request.call.operation is Operation.ACQUIRE:
            yield self._acquire(world, request)
            return
        assert grant
        held = redis.lease == grant
        if request.call.operation is Operation.RENEW:
            if held:
                own = frozenset(name for name in redis.made if _made_for(name, grant))
                world = world._replace(redis=redis._replace(verified=redis.verified | own))
                yield from (
                    (ordered, Renewal(held=True, handover="*")) for _, ordered in self._spend("", world, ORDERS)
                )
            yield world, Renewal(held=held)
        elif request.call.operation is Operation.CREATE_USER:
            users = redis.users | {request.username}
            yield (
                world._replace(redis=redis._replace(users=users, made=redis.made | users)),
                Credentials(request.username, ""),
            )
        elif request.call.operation in (Operation.FENCE, Operation.REVOKE):
            left = {
                name for name in redis.users if name == request.call.user or not is_fenced_by(grant, NAMESPACE, name)
            }
            yield world._replace(redis=redis._replace(users=frozenset(left))), 1
        elif request.call.operation is Operation.RELEASE and held:
            yield world._replace(redis=redis.written(redis.epoch, None)), True
        else:
            yield world, held

    def _acquire(self, world: World, request: Request) -> tuple[World, Result]:
        redis = world.redis
        host, instance = self.bounds.agents[request.agent]
        if redis.lease and redis.lease.host != host:
            return world, Refusal("-", 0.0)
        epoch = max(redis.epoch, request.floor) + 1
        if redis.lease and not self.new_epoch_on_takeover:
            epoch = redis.lease.epoch
        if epoch <= world.granted:
            raise ViolationError(f"epoch {epoch} was granted before")
        grant = Grant(host, instance, epoch, f"{redis.incarnation:016x}")
        return world._replace(redis=redis.written(epoch, grant), granted=epoch), grant

    # ---- Redis

    def _of_redis(self, world: World) -> Iterator[tuple[str, World]]:
        redis = world.redis
        if redis.lease:
            yield "the lease ends", world._replace(redis=redis.written(redis.epoch, None))
        empty = redis._replace(users=frozenset())
        yield from self._spend("Redis restarts", world._replace(redis=empty), RESTARTS)
        epoch, lease = redis.former
        lost = empty._replace(epoch=epoch, lease=lease)
        yield from self._spend(
            "Redis restarts without its last write", world._replace(redis=lost, granted=epoch), RESTARTS
        )
        wiped = Redis(incarnation=redis.incarnation + 1, users=redis.users, made=redis.made, verified=redis.verified)
        yield from self._spend("the data is lost", world._replace(redis=wiped, granted=0), WIPES)

    # ---- the exploration

    def within(self, world: World) -> bool:
        """Whether the world is within the bounds."""
        return world.redis.epoch <= self.bounds.epochs and world.users <= self.bounds.users

    def explore(self) -> int:
        """Visit every world; return how many there are. Raises ViolationError with the way to the first violation."""
        first = self.first()
        came_from: dict[World, tuple[str, World | None]] = {first: ("", None)}
        pending = deque([first])
        while pending:
            world = pending.popleft()
            try:
                for what, following in self.successors(world):
                    if following not in came_from and self.within(following):
                        came_from[following] = (what, world)
                        pending.append(following)
                        if len(following.accepted()) > 1:
                            world = following
                            raise ViolationError(f"two heads can write: {following.accepted()}")
            except ViolationError as violation:
                raise ViolationError("\n".join([*_way(came_from, world), str(violation)])) from None
        return len(came_from)


def _way(came_from: dict[World, tuple[str, World | None]], world: World | None) -> list[str]:
    steps = []
    while world is not None:
        what, world = came_from[world]
        steps.append(what)
    return steps[::-1]


def _made_for(name: str, grant: Grant) -> bool:
    return name.startswith(f"ray-{NAMESPACE}-{grant.epoch}-{grant.incarnation}")
