"""What a cluster's Redis says about it, at one moment: who leads, which hosts are there, and why there is no head.

Reads only; what is written, and by whom, is in lease.py. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrypoints.lease import TTL_SECONDS, Member, prefix
from entrypoints.redis_link import RedisLink, RedisRefusedError

MEMBER_SECONDS = 10.0  # a host that has not reported for so long is not up
HISTORY_SHOWN = 20

# One script, so that all of it is of the same moment.
READ = """
local prefix = ARGV[1]
local state = {
    time = redis.call('TIME'),
    uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%-?%d+)')),
    epoch = redis.call('GET', prefix .. 'epoch') or '0',
    lease = redis.call('HGETALL', prefix .. 'lease'),
    remaining = redis.call('PTTL', prefix .. 'lease'),
    incarnation = redis.call('GET', prefix .. 'incarnation') or '',
    hold = redis.call('PTTL', prefix .. 'hold'),
    handover = redis.call('GET', prefix .. 'handover') or '',
    maintenance = redis.call('SMEMBERS', prefix .. 'maintenance'),
    members = redis.call('HGETALL', prefix .. 'members'),
    versions = redis.call('GET', prefix .. 'versions') or '{}',
    history = redis.call('LRANGE', prefix .. 'history', 0, tonumber(ARGV[2]) - 1),
    down = {},
    draining = {},
}
for _, name in ipairs(state.maintenance) do
    local left = redis.call('PTTL', prefix .. 'drain:' .. name)
    if left > 0 then table.insert(state.draining, name) end
end
for index = 1, #state.members, 2 do
    local left = redis.call('PTTL', prefix .. 'down:' .. state.members[index])
    if left > 0 then
        table.insert(state.down, state.members[index])
        table.insert(state.down, left)
    end
end
return cjson.encode(state)
"""


@dataclass(frozen=True, kw_only=True)
class MemberState(Member):
    """A host as its gateway reported it last, and what else is known of it."""

    age: float  # seconds since the report
    maintenance: bool
    held_down: float  # seconds for which it does not take the lead, after a loss

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
    """All of it."""

    namespace: str
    epoch: int  # the newest ever granted
    incarnation: str  # of the data
    leader: HeadState | None  # who holds the lease, ready or not
    members: tuple[MemberState, ...]
    maintenance: tuple[str, ...]  # hosts and nodes that are to stay out
    draining: tuple[str, ...]  # of these, nodes that still have time
    versions: Mapping[str, str]
    history: tuple[Event, ...]  # newest first
    uptime: float  # of Redis, seconds; negative where its clock was set back
    hold: float  # seconds for which a failover of Redis stops the election
    handover: str  # who is to lead next

    @property
    def head(self) -> HeadState | None:
        """The head, if it is ready."""
        return self.leader if self.leader and self.leader.ready else None

    def why_no_head(self, whitelist: Sequence[str] = ()) -> str:
        """Return the reason as a clause for people; empty when there is a head.

        ``whitelist``: the hosts that may lead, as far as they are known; one that never reported is named then.
        """
        if self.leader:
            return "" if self.leader.ready else f"{self.leader.host} was elected and starts its head"
        if self.hold > 0:
            return f"waiting for the failover of Redis, {self.hold:.0f} s at most"
        wait = TTL_SECONDS + 1 - self.uptime
        if self.incarnation and self.uptime >= 0 and wait > 0:
            return f"waiting {wait:.0f} s after the start of Redis"
        return self._candidates_obstacle(whitelist) or "nobody is elected yet"

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
            return f"after a loss hosts stay away for a while: {waiting}"
        return f"the head is being moved to {self.handover}" if self.handover not in ("", "*") else ""


def _last_seen(member: MemberState) -> str:
    return f"{member.host} (seen {member.age:.0f} s ago)"


@dataclass(frozen=True)
class Place:
    """What one node has to know again and again, which is the same little work however large the cluster is."""

    incarnation: str  # of the data
    out: bool  # whether the node is in maintenance
    draining: bool  # whether it still has time for its work then

    def obstacle(self, node: str) -> str:
        """Return why the node may not join; empty when it may."""
        return f"this node was drained; {_way_back(node)}" if self.out else ""

    def reason_to_end(self, node: str) -> str:
        """Return why the node must end its Ray; empty when it may go on."""
        over = self.out and not self.draining
        return f"this node is to stay out of the cluster ({_way_back(node)})" if over else ""


WELCOME = Place(incarnation="", out=False, draining=False)  # what a node is where nothing can be asked


def _way_back(node: str) -> str:
    return f"`ws node resume {node}` lets it in again"


READ_PLACE = """
local prefix, name = ARGV[1], ARGV[2]
return {redis.call('GET', prefix .. 'incarnation') or '', redis.call('SISMEMBER', prefix .. 'maintenance', name),
    redis.call('EXISTS', prefix .. 'drain:' .. name)}
"""


def read_place(link: RedisLink, namespace: str, node: str) -> Place:
    """Ask Redis about one node. OSError: it does not answer; RedisRefusedError: it will not."""
    answer = link.script(READ_PLACE, (), (prefix(namespace), node))
    incarnation, out, draining = answer if isinstance(answer, list) else ("", 0, 0)
    return Place(str(incarnation), out == 1, draining == 1)


def read_place_if_possible(link: RedisLink, namespace: str, node: str) -> Place:
    """Ask Redis about one node where that is not needed, since the settings say who leads; no answer: it is welcome."""
    try:
        return read_place(link, namespace, node)
    except (OSError, RedisRefusedError):
        return WELCOME


def drain_key(namespace: str, node: str) -> str:
    """Return the key that is there as long as a node in maintenance still has time for its work."""
    return f"{prefix(namespace)}drain:{node}"


def read_state(link: RedisLink, namespace: str) -> ClusterState:
    """Ask Redis. OSError: it does not answer; RedisRefusedError: it will not."""
    answer = link.script(READ, (), (prefix(namespace), HISTORY_SHOWN))
    state: dict[str, Any] = json.loads(str(answer))
    now = int(state["time"][0]) * 1000 + int(state["time"][1]) // 1000
    down = _pairs(state["down"])
    maintenance = tuple(sorted(state["maintenance"]))
    return ClusterState(
        namespace=namespace,
        epoch=int(state["epoch"]),
        incarnation=state["incarnation"],
        leader=_leader(_pairs(state["lease"]), state["remaining"] / 1000),
        members=tuple(
            _member(host, json.loads(record), now, host in maintenance, down.get(host, 0) / 1000)
            for host, record in sorted(_pairs(state["members"]).items())
        ),
        maintenance=maintenance,
        draining=tuple(sorted(state["draining"])),
        versions=json.loads(state["versions"]),
        history=tuple(
            Event(int(entry["epoch"]), str(entry["host"]), str(entry["event"]), int(entry["time"]))
            for entry in map(json.loads, state["history"])
        ),
        uptime=float(state["uptime"]),
        hold=max(state["hold"], 0) / 1000,
        handover=state["handover"],
    )


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    # An empty list of Lua is an empty object in its JSON, which is as empty.
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


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
