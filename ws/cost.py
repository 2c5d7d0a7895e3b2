"""The cost of a change: the containers that it stops, and the running work that ends with them.

Knows the dependencies: a head survives a restart of its Redis, nodes on other hosts survive a head. Asks neither a
person (ws/consent.py) nor the services (stack/running_work.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from config.notation import MEBIBYTE, NOTEBOOKS, format_quantity, listed_as
from embedded_engine.changes import CONTAINER, NETWORK, UNHEALTHY, Action, Change
from stack.running_words import in_words, printable
from stack.running_work import RAY_NODES, Deployed, Kind, RunningWork, Work
from ws.changes import condensed

MOST_REASONS = 2
DATA = "/data"  # of Redis
RELAY = "/redis_relay.py"  # in whichever folder the deployed version has it
REDIS = ("redis", "redis-replica")
RAY = frozenset({Kind.JOB, Kind.DRIVER, Kind.CLIENT, Kind.ACTOR})
DOES_NOT_END = frozenset({Kind.ACTOR})  # do not end by themselves: a detached actor stays until it is killed
DOING = {Action.REPLACE: "is replaced", Action.DELETE: "is removed", Action.REPAIR: "is restarted"}
SIZES = ("memory", "shmSize")
# Inputs of a container that follow from its memory.
FOLLOWS_MEMORY = ("memorySwap", "shmSize", "envs: CSLR_SETTINGS.node.memory: ", "mounts.source: ")


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A service whose container ends, and why."""

    service: str
    because: str  # "ray-cpu is replaced (memory 4g → 6g)"
    comes_back: bool = True
    moves_data: bool = False  # it restarts without its data

    def __str__(self) -> str:
        return self.because


@dataclass(frozen=True, kw_only=True)
class End:
    """Work that ends together, and why."""

    works: tuple[Work, ...]
    because: str
    not_asked: str = ""  # why the work is unknown

    def __str__(self) -> str:
        if self.not_asked:
            return f"running work is not known and may end: {self.because} ({self.not_asked})"
        return f"{in_words(self.works)} would end: {self.because}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The work that a run ends, and work that survives although one might not expect it."""

    ends: tuple[End, ...] = ()
    notices: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ends)

    @property
    def works(self) -> tuple[Work, ...]:
        """All work that ends."""
        return tuple(work for end in self.ends for work in end.works)

    @property
    def known(self) -> bool:
        """Whether every service reported its running work."""
        return not any(end.not_asked for end in self.ends)

    def as_json(self) -> list[dict[str, Any]]:
        """For programs."""
        return [
            {
                "because": end.because,
                "not_asked": end.not_asked or None,
                "works": [
                    {"kind": work.kind.value, "id": work.identifier, "what": work.what, "since": work.since}
                    for work in end.works
                ],
            }
            for end in self.ends
        ]


# --------------------------------------------------------------------------------------------- which containers


def stops(changes: Iterable[Change], services: Iterable[Deployed]) -> list[Stop]:
    """The running services whose container ends."""
    running = {one.name: one for one in services if one.running}
    by_service = {one.service: one for one in running.values()}
    found = []
    for change in changes:
        if change.type == NETWORK and change.action in (Action.REPLACE, Action.DELETE):
            stopping = all_stop(by_service.values(), f"the network {DOING[change.action]}")
            found += [replace(stop, comes_back=change.action is Action.REPLACE) for stop in stopping]
        # By the name of the resource; if it left the program, by that of the container.
        one = running.get(change.name) or by_service.get(change.name.removesuffix("-container"))
        if change.type != CONTAINER or change.action not in DOING or one is None:
            continue
        if change.action is Action.REPAIR and UNHEALTHY not in change.reasons:
            continue  # it is started, or keeps running
        why = reasons(change.reasons)
        moved = one.service == "redis" and _moves(change, one)
        because = f"{one.service} {DOING[change.action]}{f' ({why})' if why else ''}"
        stays = change.action is not Action.DELETE
        found.append(Stop(service=one.service, because=because, comes_back=stays, moves_data=moved))
    return found


def concerns(change: Change) -> bool:
    """Whether a change may end running work, before anything else is known about it."""
    return change.type in (CONTAINER, NETWORK) and change.action in DOING


def all_stop(services: Iterable[Deployed], because: str) -> list[Stop]:
    """Every service of a stack that is taken down."""
    return [Stop(service=one.service, because=because, comes_back=False) for one in services if one.running]


def _moves(change: Change, redis: Deployed) -> bool:
    mounts = change.after.get("mounts") if change.after else None
    wanted = next((mount.get("source") for mount in mounts or () if mount.get("target") == DATA), None)
    return isinstance(wanted, str) and wanted != redis.mounts.get(DATA)


def reasons(lines: list[str]) -> str:
    """The first reasons of a change, worded for people: ``memory 4g → 6g and 2 more``."""
    told = condensed(lines)
    if any(line.startswith("memory: ") for line in told):
        told = [line for line in told if not line.startswith(FOLLOWS_MEMORY)]
    shown = [_reason(line) for line in told[:MOST_REASONS]]
    more = f" and {len(told) - len(shown)} more" if len(told) > len(shown) else ""
    return f"{', '.join(shown)}{more}"


def _reason(line: str) -> str:
    key, _, change = line.partition(": ")
    if key in SIZES:
        change = re.sub(r"\d+", lambda number: format_quantity(int(number[0]) * MEBIBYTE), change)
    return printable(f"{key} {change}".strip())


# ----------------------------------------------------------------------------------------------------- what ends


@dataclass
class _Told:
    """Work that is already listed: each once, with the first service that ends it."""

    running: RunningWork
    ends: list[End] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    ray_ends: str = ""  # why, where its head ends
    _named: set[tuple[Kind, str]] = field(default_factory=set)

    def end(self, works: Iterable[Work], because: str) -> None:
        new = [work for work in works if (work.kind, work.identifier) not in self._named]
        self._named.update((work.kind, work.identifier) for work in new)
        same = next((end for end in self.ends if end.because == because), None)
        if new and same:
            self.ends[self.ends.index(same)] = replace(same, works=same.works + tuple(new))
        elif new:
            self.ends.append(End(works=tuple(new), because=because))

    def of_ray(self, because: str) -> None:
        """All work in Ray: its head ends."""
        self.ray_ends = because
        self.end((work for work in self.running.works if work.kind in RAY and not work.part), because)


def cost(stopping: list[Stop], running: RunningWork, *, redis_leads: bool = True) -> Cost:
    """The work that ends with these services. `redis_leads`: this host's Redis is not a replica of another's."""
    told = _Told(running)
    by_service = {stop.service: stop for stop in stopping}
    if running.several_hosts:
        _ends_of_several(by_service, told, redis_leads=redis_leads)
    else:
        _ends_of_one(by_service, told)
    if (stop := by_service.get("mlflow") or by_service.get("postgres")) and running.runs:
        waits = ": programs that log to them retry for about 2 minutes" if stop.comes_back else ""
        number = f"{running.runs} MLflow {'run is' if running.runs == 1 else 'runs are'}"
        told.notices.append(f"{stop}; {number} not ended{waits}")
    for service in (name for name in by_service if listed_as(name) == NOTEBOOKS):
        notebooks = (work for work in running.works if work.kind is Kind.NOTEBOOK and work.node == service)
        told.end(notebooks, str(by_service[service]))
    for service, why in running.not_asked.items():
        # One Ray node is asked for all of them, and for what ends with the head.
        concerned = (service, *RAY_NODES) if service in RAY_NODES else (service,)
        because = next((str(by_service[one]) for one in concerned if one in by_service), "")
        if because := because or (told.ray_ends if service in RAY_NODES else ""):
            told.ends.append(End(works=(), because=because, not_asked=why))
    return Cost(ends=tuple(told.ends), notices=tuple(told.notices))


def _ends_of_one(stopping: Mapping[str, Stop], told: _Told) -> None:
    """A single host: its head ends with its container, and survives without Redis for up to two minutes."""
    running = told.running
    for service in ("ray-cpu", "ray-gpu"):
        if stop := stopping.get(service):
            if service == running.head:
                told.of_ray(str(stop))
            else:
                told.end((work for work in running.works if work.node == service), str(stop))
    redis = stopping.get("redis")
    if not redis or running.head in stopping:
        return
    head = running.service(running.head)
    if not redis.comes_back:
        told.of_ray(str(redis))
    elif redis.moves_data:
        told.of_ray(f"{redis}, and starts without its data")
    elif head and not any(target.endswith(RELAY) for target in head.mounts):
        told.of_ray(f"{redis}, and {head.service} is of a version that does not survive that")
    elif running.works:
        told.notices.append(f"{redis}; running work continues, since the head waits for Redis")


def _ends_of_several(stopping: Mapping[str, Stop], told: _Told, *, redis_leads: bool) -> None:
    """One of several hosts: work on other hosts continues, also while the head moves or restarts."""
    running = told.running
    for service in ("ray-cpu", "ray-gpu"):
        if stop := stopping.get(service):
            told.end((work for work in running.works if work.node == service), f"{stop}, the node of this host")
    redis = next((stopping[name] for name in REDIS if name in stopping), None)
    if "ray-head" in stopping and running.head == "ray-head":
        because = f"{stopping['ray-head']}, and the head moves to another host"
    elif redis and redis_leads:
        because = f"{redis}, and the head restarts"
    else:
        return
    told.end((work for work in running.works if work.kind is Kind.CLIENT), because)
    told.notices.append(f"{because}: jobs, tasks and actors on other hosts continue; new actors wait for seconds")
