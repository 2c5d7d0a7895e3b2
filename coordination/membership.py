"""A snapshot of a cluster from its Redis: the head, the hosts, and why there is no head.

Read-only; lease.py writes. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordination.lease import TTL_SECONDS, Member, prefix
from coordination.redis_client import RedisLink, RedisRefusedError, Reply

MEMBER_SECONDS = 10.0  # a host whose last report is older is not up
HISTORY_SHOWN = 20
NO_KEY = -2  # what PTTL answers for a key that is not there


@dataclass(frozen=True, kw_only=True)
class MemberState(Member):
    """The last report of a host's gateway, and its other state in Redis."""

    age: float  # seconds since the report
    maintenance: bool
    held_down: float  # seconds for which it does not lead after it lost the lease

    @property
    def up(self) -> bool:
        """Whether the report is recent."""
        return self.age <= MEMBER_SECONDS


@dataclass(frozen=True)
class HeadState:
    """The head that the lease names; gcs, client and dashboard ("host:port") only once it is ready."""

    host: str
    epoch: int
    ready: bool
    gcs: str
    client: str
    dashboard: str
    remaining: float  # seconds of the lease


@dataclass(frozen=True)
class Event:
    """Something that happened to the head; time in ms since 1970, by Redis."""

    epoch: int
    host: str
    event: str
    time: int


@dataclass(frozen=True)
class ClusterState:
    """The snapshot."""

    namespace: str
    epoch: int  # the newest ever granted
    incarnation: str  # of the data
    leader: HeadState | None  # who holds the lease, ready or not
    members: tuple[MemberState, ...]
    maintenance: tuple[str, ...]  # hosts and nodes that must stay out
    draining: tuple[str, ...]  # of these, nodes that still have time
    versions: Mapping[str, str]
    history: tuple[Event, ...]  # newest first
    uptime: float  # of Redis, seconds; negative where its clock was set back
    hold: float  # seconds for which a failover of Redis stops the election
    handover: str  # the host that should lead next

    @property
    def head(self) -> HeadState | None:
        """The head, if it is ready."""
        return self.leader if self.leader and self.leader.ready else None

    def why_no_head(self, whitelist: Sequence[str] = ()) -> str:
        """Return the reason as a clause for people; empty when there is a head.

        ``whitelist``: the hosts that may lead, if known; the reason then names those that never reported.
        """
        if self.leader:
            return "" if self.leader.ready else f"{self.leader.host} was elected and starts its head"
        if self.hold > 0:
            return f"waiting for the failover of Redis, {self.hold:.0f} s at most"
        wait = TTL_SECONDS + 1 - self.uptime
        if self.incarnation and self.uptime >= 0 and wait > 0:
            return f"waiting {wait:.0f} s after the start of Redis"
        return self._candidates_obstacle(whitelist) or "no host is elected yet"

    def _candidates_obstacle(self, whitelist: Sequence[str]) -> str:
        if not self.members:  # one host alone, where nodes elect their head without reports
            return ""
        candidates = [member for member in self.members if member.candidate]
        up = [member for member in candidates if member.up]
        if not up:
            silent = [host for host in whitelist if host not in {member.host for member in candidates}]
            seen = [_last_seen(member) for member in candidates] + [f"{host} (never seen)" for host in silent]
            who = "the only whitelisted host is not up" if len(whitelist) == 1 else "no whitelisted host is up"
            return f"{who}: {', '.join(seen) or 'none has ever reported'}"
        willing = [member for member in up if not member.maintenance]
        if not willing:
            return f"every whitelisted host that is up is in maintenance: {', '.join(member.host for member in up)}"
        free = [member for member in willing if not member.held_down]
        if not free:
            waiting = ", ".join(f"{member.host} for {member.held_down:.0f} s" for member in willing)
            return f"after a failure hosts do not lead for a while: {waiting}"
        return f"the head is being moved to {self.handover}" if self.handover not in ("", "*") else ""


def _last_seen(member: MemberState) -> str:
    return f"{member.host} (seen {member.age:.0f} s ago)"


@dataclass(frozen=True)
class NodeMembership:
    """What one node polls; the cost does not grow with the cluster."""

    incarnation: str  # of the data
    out: bool  # whether the node is in maintenance
    draining: bool  # whether its running work still has time to finish

    def obstacle(self, node: str) -> str:
        """Return why the node may not join; empty when it may."""
        return f"this node was drained; {_way_back(node)}" if self.out else ""

    def reason_to_end(self, node: str) -> str:
        """Return why the node must end its Ray; empty if it may continue."""
        over = self.out and not self.draining
        return f"this node must stay out of the cluster ({_way_back(node)})" if over else ""


WELCOME = NodeMembership(incarnation="", out=False, draining=False)  # the state of a node if Redis cannot be asked


def _way_back(node: str) -> str:
    return f"`ws node resume {node}` lets it join again"


def read_membership(link: RedisLink, namespace: str, node: str) -> NodeMembership:
    """Ask Redis about one node. OSError: no answer; RedisRefusedError: Redis refused."""
    keys = prefix(namespace)
    incarnation, out, draining = link.transaction(
        ("GET", f"{keys}incarnation"), ("SISMEMBER", f"{keys}maintenance", node), ("EXISTS", drain_key(namespace, node))
    )
    return NodeMembership(str(incarnation or ""), out == 1, draining == 1)


def read_membership_if_possible(link: RedisLink, namespace: str, node: str) -> NodeMembership:
    """Ask Redis about one node of a static head, where Redis is optional: without an answer the node may join."""
    try:
        return read_membership(link, namespace, node)
    except (OSError, RedisRefusedError):
        return WELCOME


def drain_key(namespace: str, node: str) -> str:
    """Return the key that exists while a node in maintenance still has time for its work."""
    return f"{prefix(namespace)}drain:{node}"


def read_state(link: RedisLink, namespace: str) -> ClusterState:
    """Ask Redis. OSError: no answer; RedisRefusedError: Redis refused."""
    keys = prefix(namespace)
    time, server, epoch, lease, remaining, incarnation, hold, handover, out, members, versions, history = (
        link.transaction(
            ("TIME",),
            ("INFO", "server"),
            ("GET", f"{keys}epoch"),
            ("HGETALL", f"{keys}lease"),
            ("PTTL", f"{keys}lease"),
            ("GET", f"{keys}incarnation"),
            ("PTTL", f"{keys}hold"),
            ("GET", f"{keys}handover"),
            ("SMEMBERS", f"{keys}maintenance"),
            ("HGETALL", f"{keys}members"),
            ("GET", f"{keys}versions"),
            ("LRANGE", f"{keys}history", 0, HISTORY_SHOWN - 1),
        )
    )
    records, maintenance = _pairs(members), tuple(sorted(_words(out)))
    down = _times_left(link, records, lambda host: f"{keys}down:{host}")
    draining = _times_left(link, maintenance, lambda name: drain_key(namespace, name))
    seconds, microseconds = map(int, _words(time))
    now = seconds * 1000 + microseconds // 1000
    return ClusterState(
        namespace=namespace,
        epoch=int(str(epoch or 0)),
        incarnation=str(incarnation or ""),
        leader=_leader(_pairs(lease), _number(remaining) / 1000),
        members=tuple(
            _member(host, json.loads(record), now, host in maintenance, down.get(host, 0) / 1000)
            for host, record in sorted(records.items())
        ),
        maintenance=maintenance,
        draining=tuple(sorted(draining)),
        versions=json.loads(str(versions or "{}")),
        history=tuple(
            Event(int(entry["epoch"]), str(entry["host"]), str(entry["event"]), int(entry["time"]))
            for entry in map(json.loads, _words(history))
        ),
        uptime=float(str(server).partition("uptime_in_seconds:")[2].split()[0]),
        hold=max(_number(hold), 0) / 1000,
        handover=str(handover or ""),
    )


def _times_left(link: RedisLink, names: Collection[str], key: Callable[[str], str]) -> dict[str, int]:
    """Return the milliseconds that are left of each mark that is there, by name; -1 for one that does not expire."""
    left = link.transaction(*(("PTTL", key(name)) for name in names)) if names else []
    return {name: number for name, number in zip(names, map(_number, left), strict=True) if number != NO_KEY}


def _words(reply: Reply) -> list[str]:
    return [str(word) for word in reply] if isinstance(reply, list) else []


def _pairs(flat: Reply) -> dict[str, str]:
    words = _words(flat)
    return dict(zip(words[::2], words[1::2], strict=True))


def _number(reply: Reply) -> int:
    return reply if isinstance(reply, int) else 0


def _leader(lease: Mapping[str, str], remaining: float) -> HeadState | None:
    if not lease:
        return None
    return HeadState(
        host=lease["host"],
        epoch=int(lease["epoch"]),
        ready=lease.get("ready") == "1",
        gcs=lease.get("gcs", ""),
        client=lease.get("client", ""),
        dashboard=lease.get("dashboard", ""),
        remaining=max(remaining, 0.0),
    )


def _member(host: str, record: Mapping[str, Any], now: int, maintenance: bool, held_down: float) -> MemberState:
    seen = int(record.get("seen", 0))
    return MemberState(
        host=host,
        address=str(record.get("address", "")),
        candidate=bool(record.get("candidate")),
        sees=int(record.get("sees", 0)),
        blind=int(record.get("blind", 0)),
        facts=record.get("facts") or {},
        seen=seen,
        age=max(now - seen, 0) / 1000,
        maintenance=maintenance,
        held_down=held_down,
    )
