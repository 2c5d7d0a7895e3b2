"""Leader lease with fencing tokens, stored in Redis and changed only by Lua scripts.

Each grant has an epoch, higher than any before. Each attempt to start a head has its own Redis user, made for the
epoch; the holder of a later epoch has it deleted, which cuts that head off from its state. Only this order is safe:
acquire, create_user, renew (the verification), fence, renew, start the head with that user. Times affect how fast it
is, not whether it is safe. Decisions are made in election.py. Users are made by entrypoints/redis/users.sh, because
programs that run Ray have no right to make them. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordination.redis_client import Address, RedisConnection, RedisLink, RedisRefusedError, Reply

TTL_SECONDS = 6.0  # a lease expires this long after its last renewal, by the clock of Redis
DEADLINE_SECONDS = 4.0  # a holder kills its head this long after it SENT the last confirmed renewal
RETRY_SECONDS = 1.0  # between two renewals
HANDOVER_SECONDS = 30.0  # a request for another leader expires after this
FRESH_SECONDS = 6.0  # a host whose last report is older has no say and is not a candidate
HISTORY_LENGTH = 1000
ASK_SECONDS = 1.5  # for an answer of the program that makes and deletes users; measured: 0.03 s
ASKS_KEPT = 100

_NOW = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) "
_TELL = f"""
local function tell(prefix, epoch, host, event)
    local text = cjson.encode({{epoch = tonumber(epoch), host = host, event = event, time = now}})
    redis.call('LPUSH', prefix .. 'history', text)
    redis.call('LTRIM', prefix .. 'history', 0, {HISTORY_LENGTH - 1})
    redis.call('PUBLISH', prefix .. 'events', text)
end
"""
_HOLDS = """
local prefix, host, instance, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local holder = redis.call('HMGET', prefix .. 'lease', 'host', 'instance', 'epoch')
local held = holder[1] == host and holder[2] == instance and holder[3] == epoch
"""
_ACQUIRE = (
    _NOW
    + _TELL
    + """
local prefix, host, instance = ARGV[1], ARGV[2], ARGV[3]
local floor, takeover, fresh, ttl = tonumber(ARGV[4]), ARGV[5], ARGV[6], tonumber(ARGV[7])
local holder = redis.call('HMGET', prefix .. 'lease', 'host', 'instance')
local own = holder[1] == host and (holder[2] == instance or takeover == '1')
if holder[1] and not own then
    return {0, holder[1] .. ' holds the lease', redis.call('PTTL', prefix .. 'lease')}
end
local hold = redis.call('PTTL', prefix .. 'hold')
if hold ~= -2 then return {0, 'a failover of Redis is going on', hold} end
if redis.call('SISMEMBER', prefix .. 'maintenance', host) == 1 then return {0, 'this host is in maintenance', -1} end
local down = redis.call('PTTL', prefix .. 'down:' .. host)
if down ~= -2 then return {0, 'this host stays away for a while after a failure', down} end
local target = redis.call('GET', prefix .. 'handover')
if target and target ~= '*' and target ~= host then
    return {0, 'the head is being moved to ' .. target, redis.call('PTTL', prefix .. 'handover')}
end
local incarnation = redis.call('GET', prefix .. 'incarnation')
-- The append-only file may lack the last second, so the last grant may be missing. Without any data there was none.
local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%-?%d+)')) * 1000
local young = uptime >= 0 and uptime < ttl + 1000 -- negative: the clock was set back since
if incarnation and young then return {0, 'Redis has just started', ttl + 1000 - uptime} end
if not incarnation then
    incarnation = fresh
    redis.call('SET', prefix .. 'incarnation', incarnation)
end
local epoch = math.max(tonumber(redis.call('GET', prefix .. 'epoch') or '0'), floor) + 1
local text = string.format('%d', epoch)
redis.call('SET', prefix .. 'epoch', text)
redis.call('DEL', prefix .. 'lease', prefix .. 'handover')
redis.call('HSET', prefix .. 'lease', 'host', host, 'instance', instance, 'epoch', text, 'incarnation', incarnation,
    'gcs', '', 'client', '', 'dashboard', '', 'ready', '0')
redis.call('PEXPIRE', prefix .. 'lease', ttl)
tell(prefix, text, host, 'elected')
return {1, epoch, incarnation}
"""
)
_RENEW = (
    _NOW
    + _HOLDS
    + """
local revived = 0
if not holder[1] and ARGV[7] == '1' and redis.call('GET', prefix .. 'epoch') == epoch
    and redis.call('GET', prefix .. 'incarnation') == ARGV[8] and redis.call('EXISTS', prefix .. 'hold') == 0 then
    redis.call('HSET', prefix .. 'lease', 'host', host, 'instance', instance, 'epoch', epoch, 'incarnation', ARGV[8],
        'gcs', '', 'client', '', 'dashboard', '', 'ready', '0')
    held, revived = true, 1
end
if not held then return {0, holder[1] or ''} end
redis.call('PEXPIRE', prefix .. 'lease', ARGV[5])
local blind, seeing, fresh, others = 0, 0, 0, 0
local members = redis.call('HGETALL', prefix .. 'members')
for index = 1, #members, 2 do
    local name, member = members[index], cjson.decode(members[index + 1])
    if now - (member.seen or 0) <= tonumber(ARGV[6]) then
        fresh = fresh + 1
        if member.blind == tonumber(epoch) then blind = blind + 1 end
        if member.sees == tonumber(epoch) then seeing = seeing + 1 end
        if member.candidate and name ~= host and redis.call('SISMEMBER', prefix .. 'maintenance', name) == 0
            and redis.call('EXISTS', prefix .. 'down:' .. name) == 0 then others = others + 1 end
    end
end
local handover = redis.call('GET', prefix .. 'handover') or ''
if handover == host then handover = '' end
return {1, handover, redis.call('SISMEMBER', prefix .. 'maintenance', host), blind, seeing, fresh, others, revived}
"""
)
_ANNOUNCE = (
    _NOW
    + _TELL
    + _HOLDS
    + """
if not held then return 0 end
redis.call('HSET', prefix .. 'lease', 'gcs', ARGV[5], 'client', ARGV[6], 'dashboard', ARGV[7], 'ready', '1')
redis.call('SET', prefix .. 'versions', ARGV[8])
tell(prefix, epoch, host, 'ready')
return 1
"""
)
_RETRACT = (
    _HOLDS
    + """
if not held then return 0 end
redis.call('HSET', prefix .. 'lease', 'ready', '0')
return 1
"""
)
_RELEASE = (
    _NOW
    + _TELL
    + _HOLDS
    + """
if not held then return 0 end
redis.call('DEL', prefix .. 'lease')
if tonumber(ARGV[6]) > 0 then redis.call('SET', prefix .. 'down:' .. host, ARGV[5], 'PX', ARGV[6]) end
tell(prefix, epoch, host, ARGV[5])
return 1
"""
)
# The request is the asker's JSON text, with the time of Redis put into it. For entrypoints/redis/users.sh.
_ASK = (
    _NOW
    + f"""
local text = string.sub(ARGV[2], 1, -2) .. ',"time":' .. string.format('%.0f', now) .. '}}'
redis.call('LPUSH', ARGV[1] .. 'asks', text)
redis.call('LTRIM', ARGV[1] .. 'asks', 0, {ASKS_KEPT - 1})
"""
)
# The record is the reporter's JSON text, with the time of Redis put into it: one clock for all hosts.
_REPORT = (
    _NOW
    + """
local record = string.sub(ARGV[3], 1, -2) .. ',"seen":' .. string.format('%.0f', now) .. '}'
return redis.call('HSET', ARGV[1] .. 'members', ARGV[2], record)
"""
)
_MAINTENANCE = """
local changed = redis.call(ARGV[3] == '1' and 'SADD' or 'SREM', ARGV[1] .. 'maintenance', ARGV[2])
if changed == 1 then
    redis.call('PUBLISH', ARGV[1] .. 'events', cjson.encode({event = 'maintenance', host = ARGV[2]}))
end
return changed
"""
_HANDOVER = (
    _NOW
    + """
local prefix, target, fresh = ARGV[1], ARGV[2], tonumber(ARGV[3])
local leader = redis.call('HGET', prefix .. 'lease', 'host')
if not leader then return 'there is no head to move' end
if leader == target then return target .. ' is head already' end
local ready, members = 0, redis.call('HGETALL', prefix .. 'members')
for index = 1, #members, 2 do
    local name, member = members[index], cjson.decode(members[index + 1])
    if name ~= leader and (target == '*' or target == name) and member.candidate
        and now - (member.seen or 0) <= fresh
        and redis.call('SISMEMBER', prefix .. 'maintenance', name) == 0 then ready = ready + 1 end
end
if ready == 0 then
    local who = target == '*' and 'no other host is' or target .. ' is not'
    return who .. ' up, on the head whitelist and out of maintenance'
end
if target ~= '*' then redis.call('DEL', prefix .. 'down:' .. target) end
redis.call('SET', prefix .. 'handover', target, 'PX', ARGV[4])
redis.call('PUBLISH', prefix .. 'events', cjson.encode({event = 'handover', host = target}))
return ''
"""
)


def boottime() -> float:
    """Return seconds on a clock that keeps running while the machine sleeps, and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def prefix(namespace: str) -> str:
    """Return the prefix of a cluster's keys."""
    return f"cslr:{namespace}:"


def ray_namespace(namespace: str, incarnation: str) -> str:
    """Return the namespace of Ray's own state. After a loss of data it is another one, so Ray starts clean."""
    return f"{namespace}-{incarnation}"


@dataclass(frozen=True)
class View:
    """The lease as every host sees it."""

    epoch: int
    host: str
    instance: str
    incarnation: str
    gcs: Address | None  # None until the head is ready
    client: Address | None
    dashboard: Address | None
    ready: bool
    remaining: float  # seconds, by Redis


@dataclass(frozen=True)
class Grant:
    """The right to lead in an epoch, as long as it is renewed."""

    host: str
    instance: str  # of the agent or node that asked; a later one of the same host does not hold this grant
    epoch: int
    incarnation: str


@dataclass(frozen=True)
class Refusal:
    """No grant: a clause for people, and after how many seconds it is worth asking again."""

    reason: str
    retry_after: float


@dataclass(frozen=True)
class Renewal:
    """The answer to a holder; the rest counts only while it is held."""

    held: bool
    holder: str = ""  # the host that holds it instead; empty: none
    handover: str = ""  # who should lead instead: a host, `*` for any other, or empty
    maintenance: bool = False  # this host must not lead
    blind: int = 0  # hosts that cannot reach this head
    seeing: int = 0  # hosts that reach it
    fresh: int = 0  # hosts that have reported lately
    others: int = 0  # of these, other hosts that may lead
    revived: bool = False  # it had expired and must be announced again


@dataclass(frozen=True)
class Credentials:
    """The Redis login of one head and no other."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Member:
    """A report of a host's gateway."""

    host: str
    address: str
    candidate: bool
    sees: int  # the epoch whose head it reaches, 0: none
    blind: int  # the epoch whose head it cannot reach, 0: none
    facts: Mapping[str, Any] = field(default_factory=dict)  # what other hosts compare with their own
    seen: int = 0  # ms since 1970 by Redis, of the report


def is_fenced_by(grant: Grant, namespace: str, username: str) -> bool:
    """Tell whether this grant must delete a Redis user on making its own; must match entrypoints/redis/users.lua."""
    match = re.fullmatch(rf"ray-{re.escape(namespace)}-(\d+)-([0-9a-f]{{16}})[0-9a-f]{{16}}", username)
    # Users outlive data that is lost while Redis runs; epochs may then start again.
    return match is not None and (match[2] != grant.incarnation or int(match[1]) <= grant.epoch)


class Lease:
    """The lease of one cluster. Every call raises OSError or RedisRefusedError as RedisLink does.

    After an OSError a call may have been executed, or may still be. No call is harmful then, in any order, except that
    the credentials of a failed ``create_user`` must never be used: they are not returned.
    """

    def __init__(self, link: RedisLink, namespace: str) -> None:
        self.link = link
        self.namespace = namespace
        self.prefix = prefix(namespace)
        self.channel = f"{self.prefix}events"  # a JSON object with `event` is published at each change

    def look(self) -> View | None:
        """Return the lease; None if no host holds it."""
        key = f"{self.prefix}lease"
        flat, remaining = self.link.transaction(("HGETALL", key), ("PTTL", key))
        words = [str(word) for word in _list(flat)]
        fields = dict(zip(words[::2], words[1::2], strict=True))
        if not fields:
            return None
        return View(
            epoch=int(fields["epoch"]),
            host=fields["host"],
            instance=fields["instance"],
            incarnation=fields["incarnation"],
            gcs=_address(fields["gcs"]),
            client=_address(fields["client"]),
            dashboard=_address(fields["dashboard"]),
            ready=fields["ready"] == "1",
            remaining=max(_number(remaining), 0) / 1000,
        )

    def acquire(self, host: str, instance: str, floor: int = 0, takeover: bool = False) -> Grant | Refusal:
        """Ask for the lease, with an epoch above ``floor``, the highest one known here.

        ``takeover``: the caller is sure that no other agent of this host lives, so a lease of the host is its own.
        """
        fresh = secrets.token_hex(8)
        arguments = (self.prefix, host, instance, floor, int(takeover), fresh, _milliseconds(TTL_SECONDS))
        granted, first, second = _list(self.link.script(_ACQUIRE, (), arguments))
        if granted:
            return Grant(host, instance, _number(first), str(second))
        wait = _number(second)
        return Refusal(str(first), wait / 1000 if wait >= 0 else TTL_SECONDS)

    def renew(self, grant: Grant, revive: bool = False) -> Renewal:
        """Hold on for another TTL_SECONDS, and verify that the grant was still good when Redis executed this.

        ``revive``: also if the lease has expired, unless it was granted since. No user was fenced then.
        """
        times = (_milliseconds(TTL_SECONDS), _milliseconds(FRESH_SECONDS))
        arguments = (*self._holder(grant), *times, int(revive), grant.incarnation)
        held, *rest = _list(self.link.script(_RENEW, (), arguments))
        if not held:
            return Renewal(held=False, holder=str(rest[0]))
        handover, maintenance, blind, seeing, fresh, others, revived = rest
        return Renewal(
            held=True,
            holder=grant.host,
            handover=str(handover),
            maintenance=bool(maintenance),
            blind=_number(blind),
            seeing=_number(seeing),
            fresh=_number(fresh),
            others=_number(others),
            revived=bool(revived),
        )

    def create_user(self, grant: Grant) -> Credentials:
        """Have a user made for one attempt to start a head. Use it only after a ``renew`` that confirms the lease."""
        suffix, password = secrets.token_hex(8), secrets.token_hex(32)
        credentials = Credentials(f"ray-{self.namespace}-{grant.epoch}-{grant.incarnation}{suffix}", password)
        digest = hashlib.sha256(password.encode()).hexdigest()
        self._ask(grant, wish="make", host=grant.host, instance=grant.instance, suffix=suffix, digest=digest)
        if not self.has_user(credentials):
            raise ConnectionError("Redis did not make the user of a head; see the log of its container")
        return credentials

    def has_user(self, credentials: Credentials) -> bool:
        """Tell whether Redis lets a user in: it forgets all of them when it is restarted."""
        try:
            RedisConnection(self.link.address, credentials.password, username=credentials.username).close()
        except RedisRefusedError:
            return False
        return True

    def fence(self, grant: Grant, keep: str = "") -> None:
        """Have the users of all earlier grants and of earlier attempts of this grant deleted.

        ``keep``: the user name of this attempt. Afterwards there is none of them, and no connection of one.
        """
        self._ask(grant, wish="fence", keep=keep)

    def _ask(self, grant: Grant, **words: str) -> None:
        """Ask Redis's container to do what this process has no right to; ConnectionError: it was not done."""
        answer = secrets.token_hex(8)
        request = {**words, "epoch": str(grant.epoch), "incarnation": grant.incarnation, "answer": answer}
        link = self.link.another(ASK_SECONDS + 0.5)
        try:
            link.script(_ASK, (), (self.prefix, json.dumps(request)))
            reply = link.command("BLPOP", f"{self.prefix}answer:{answer}", f"{ASK_SECONDS:g}")
        finally:
            link.close()
        if reply is None:
            raise ConnectionError("the container of Redis does not answer a request for a head's user; see its log")
        if (text := str(_list(reply)[1])) != "done":
            raise ConnectionError(f"Redis makes no user for this head: {text}")

    def persist(self, grant: Grant, seconds: float) -> bool:
        """Wait until the grant is on disk; False if that takes too long or Redis cannot tell (< 7.2)."""
        # On its own connection, whose last write is this one: renewals would delay the answer.
        link = self.link.another(seconds + RETRY_SECONDS)
        try:
            link.command("SET", f"{self.prefix}persisted", grant.epoch)
            reply = link.command("WAITAOF", 1, 0, _milliseconds(seconds))
        except RedisRefusedError:
            return False
        finally:
            link.close()
        return isinstance(reply, list) and reply[0] == 1

    def announce(
        self, grant: Grant, gcs: Address, client: Address, dashboard: Address, versions: Mapping[str, str]
    ) -> bool:
        """Announce where the head is, now that it is healthy; False: another one leads."""
        record = json.dumps({**versions, "host": grant.host})
        arguments = (*self._holder(grant), str(gcs), str(client), str(dashboard), record)
        return self.link.script(_ANNOUNCE, (), arguments) == 1

    def retract(self, grant: Grant) -> bool:
        """Report that the head is no longer ready, and keep the lease; False: another host leads."""
        return self.link.script(_RETRACT, (), self._holder(grant)) == 1

    def release(self, grant: Grant, reason: str = "released", hold_down: float = 0.0) -> bool:
        """Give up the lease and do not take it again for ``hold_down`` seconds; False: it was no longer held."""
        arguments = (*self._holder(grant), reason, _milliseconds(hold_down))
        return self.link.script(_RELEASE, (), arguments) == 1

    def report(self, member: Member) -> None:
        """Store a host's report; Redis sets its time."""
        record = {
            "host": member.host,
            "address": member.address,
            "candidate": member.candidate,
            "sees": member.sees,
            "blind": member.blind,
            "facts": dict(member.facts),
        }
        self.link.script(_REPORT, (), (self.prefix, member.host, json.dumps(record)))

    def forget(self, host: str) -> bool:
        """Remove a host's record and its marks; False: it had no record. A living host reports again."""
        self.link.command("SREM", f"{self.prefix}maintenance", host)
        return self.link.command("HDEL", f"{self.prefix}members", host) == 1

    def versions(self) -> dict[str, str] | None:
        """Return what the last head ran: ray, python, cuda and its host; None before the first one."""
        text = self.link.command("GET", f"{self.prefix}versions")
        return {key: str(value) for key, value in json.loads(text).items()} if isinstance(text, str) else None

    def maintenance(self) -> set[str]:
        """Return the hosts that must not lead and the nodes that must stay out."""
        return {str(name) for name in _list(self.link.command("SMEMBERS", f"{self.prefix}maintenance"))}

    def set_maintenance(self, name: str, on: bool) -> bool:
        """Put a host or a node into maintenance, or take it out; False: nothing changed."""
        return self.link.script(_MAINTENANCE, (), (self.prefix, name, int(on))) == 1

    def request_handover(self, target: str = "*") -> str:
        """Ask the leader to give up for ``target`` (`*`: any other host); return why that is refused, or nothing."""
        times = (_milliseconds(FRESH_SECONDS), _milliseconds(HANDOVER_SECONDS))
        return str(self.link.script(_HANDOVER, (), (self.prefix, target, *times)) or "")

    def hold(self, seconds: float) -> None:
        """Grant nothing for this many seconds (0: grant again), because Redis itself is being moved."""
        if seconds > 0:
            self.link.command("SET", f"{self.prefix}hold", 1, "PX", _milliseconds(seconds))
        else:
            self.link.command("DEL", f"{self.prefix}hold")

    def history(self, count: int) -> list[dict[str, Any]]:
        """Return the last events, newest first: epoch, host, event, time (ms since 1970 by Redis)."""
        return [
            json.loads(str(text)) for text in _list(self.link.command("LRANGE", f"{self.prefix}history", 0, count - 1))
        ]

    def _holder(self, grant: Grant) -> tuple[str | int, ...]:
        return (self.prefix, grant.host, grant.instance, grant.epoch)


def _list(reply: Reply) -> Sequence[Reply]:
    if not isinstance(reply, list):
        raise ConnectionError(f"Redis answered {reply!r} where a list belongs")
    return reply


def _number(reply: Reply) -> int:
    return int(reply) if isinstance(reply, (int, str)) else 0


def _address(text: str) -> Address | None:
    return Address.parse(text, "the lease in Redis") if text else None


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
