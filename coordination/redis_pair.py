"""Assigns roles to the Redis pair of a cluster: never two primaries, and never a return to older data.

Both start passive: they follow no server and refuse writes. A guard at each (a thread of its host's gateway) decides
from what both know: the generation, which each change of the primary raises, and the primary's name, which are data
and so survive a restart. It never promotes a server whose peer may have newer data; only a person can do that, with
`ws redis failover`. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from coordination.errors import NodeError
from coordination.lease import TTL_SECONDS, prefix
from coordination.redis_client import GENERATION, Address, RedisLink

PRIMARY = "cslr:redis:primary"  # host:port of the primary of this generation
HANDOVER = "cslr:redis:handover"  # exists during a manual failover: guards do nothing meanwhile
LOOK_SECONDS = 1.0
SILENT_SECONDS = 3.0  # a peer that does not answer for this long counts as down

# After a full synchronization, a replica keeps its former data on disk until its file is rewritten.
CATCHING_UP = ("master_sync_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")

# Raises the generation only when the primary changes: a restarted one must not overtake its successor.
SIGN = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    redis.call('INCR', KEYS[1])
    redis.call('SET', KEYS[2], ARGV[1])
    redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
end
redis.call('DEL', KEYS[4])
return redis.call('GET', KEYS[1])
"""


@dataclass(frozen=True)
class ServerStatus:
    """The status that one of the two servers reports."""

    address: Address
    leads: bool  # takes writes
    follows: Address | None  # its primary; a passive server follows an address where nothing listens
    in_step: bool  # has everything that its primary has sent so far, on disk
    offset: int  # of the stream of writes, sent or received
    generation: int  # 0: none yet
    primary: str  # who leads in this generation
    handover: bool


class RoleChange(Enum):
    """A role that a guard gives to its local server."""

    NOTHING = "nothing"
    LEAD = "lead"
    FOLLOW = "follow"


def decide(own: ServerStatus, peer: ServerStatus | None, *, silent: bool, pair: tuple[Address, Address]) -> RoleChange:
    """Return the next step of the local server. `silent`: the peer does not answer; `pair`: as configured."""
    if own.handover or (peer and peer.handover):
        return RoleChange.NOTHING
    if peer is None:
        # Without the peer only the primary of the last known generation leads.
        leads = own.leads or (silent and _named(own, pair) == own.address)
        return RoleChange.LEAD if leads and not _signed(own) else RoleChange.NOTHING
    if _precedes(own, peer, pair):
        return RoleChange.NOTHING if _signed(own) else RoleChange.LEAD
    if peer.leads and (own.leads or own.follows != peer.address):
        return RoleChange.FOLLOW
    return RoleChange.NOTHING


def _signed(server: ServerStatus) -> bool:
    return server.leads and server.primary == str(server.address)


def _named(server: ServerStatus, pair: tuple[Address, Address]) -> Address:
    """Return who leads, as far as the server knows; the first of the pair if it names neither."""
    return next((address for address in pair if str(address) == server.primary), pair[0])


def _precedes(own: ServerStatus, peer: ServerStatus, pair: tuple[Address, Address]) -> bool:
    """Tell whether the local server should lead: newest data first, then the present primary, then the named one."""
    if own.generation != peer.generation:
        return own.generation > peer.generation
    if own.leads != peer.leads:
        return own.leads
    named = _named(own, pair)
    return own.address == (named if named == _named(peer, pair) else pair[0])


def read_status(link: RedisLink) -> ServerStatus:
    """Ask a server (the link's only one) about itself."""
    said = {**_information(link, "replication"), **_information(link, "persistence")}
    leads = said["role"] == "master"
    generation, primary, handover = _values(link.command("MGET", GENERATION, PRIMARY, HANDOVER))
    return ServerStatus(
        address=link.addresses[0],
        leads=leads,
        follows=None if leads else Address(said["master_host"], int(said["master_port"])),
        in_step=not leads
        and said["master_link_status"] == "up"
        and not any(said[doing] == "1" for doing in CATCHING_UP),
        offset=int(said["master_repl_offset" if leads else "slave_repl_offset"]),
        generation=int(generation or 0),
        primary=primary,
        handover=bool(handover),
    )


def _information(link: RedisLink, section: str) -> dict[str, str]:
    lines = str(link.command("INFO", section)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _values(reply: object) -> list[str]:
    assert isinstance(reply, list)  # noqa: S101  (MGET)
    return [value or "" for value in reply]


def lead(link: RedisLink, namespace: str) -> int:
    """Promote the server to primary, and return its generation. After a change no lease is granted for a while."""
    address = link.addresses[0]
    remove_ray_users(link)
    link.command("REPLICAOF", "NO", "ONE")
    keys = (GENERATION, PRIMARY, f"{prefix(namespace)}hold", HANDOVER)
    return int(str(link.script(SIGN, keys, (str(address), int(TTL_SECONDS * 1000)))))


def follow(link: RedisLink, primary: Address) -> None:
    """Make the server a replica of the primary; writes that only this server has are lost."""
    remove_ray_users(link)
    link.command("REPLICAOF", primary.host, primary.port)


def remove_ray_users(link: RedisLink) -> None:
    """Remove the users of heads and end their connections. Users are not replicated: no server knows the other's."""
    users = link.command("ACL", "USERS")
    assert isinstance(users, list)  # noqa: S101
    former = [str(user) for user in users if str(user).startswith("ray-")]
    if former:
        link.command("ACL", "DELUSER", *former)


class Guard:
    """The guard of one server."""

    def __init__(
        self,
        own: RedisLink,
        peer: RedisLink,
        pair: tuple[Address, Address],
        namespace: str,
        say: Callable[[str], None],
    ) -> None:
        self._own = own
        self._peer = peer
        self._pair = pair
        self._namespace = namespace
        self._say = say
        self._peer_seen = time.monotonic()
        self._said = ""

    def step(self) -> RoleChange:
        """Check once, and act. OSError: the local server does not answer."""
        own, peer = read_status(self._own), self._look_at_peer()
        silent = time.monotonic() - self._peer_seen >= SILENT_SECONDS
        action = decide(own, peer, silent=silent, pair=self._pair)
        if action is RoleChange.LEAD:
            generation = lead(self._own, self._namespace)
            self._say(f"the Redis of this host is the primary, generation {generation}")
        elif action is RoleChange.FOLLOW and peer:
            follow(self._own, peer.address)
            self._say(f"the Redis of this host follows {peer.address}, the primary of generation {peer.generation}")
        elif peer is None and silent and not own.leads:
            self._once(
                f"Redis has no primary: {self._peer.address} led last and does not answer; see `ws redis status`"
            )
        return action

    def watch(self, stop: threading.Event) -> None:
        """Look once a second until told to stop."""
        while not stop.wait(LOOK_SECONDS):
            try:
                if self.step() is not RoleChange.NOTHING:
                    self._said = ""
            except (OSError, NodeError) as error:
                self._once(f"the Redis of this host: {error}")

    def _look_at_peer(self) -> ServerStatus | None:
        try:
            peer = read_status(self._peer)
        except OSError as error:
            if "LOADING" in str(error):  # it is starting, and will know in a moment
                self._peer_seen = time.monotonic()
            return None
        except NodeError:  # it answers, but has another password: an operator must fix that
            self._peer_seen = time.monotonic()
            return None
        self._peer_seen = time.monotonic()
        return peer

    def _once(self, message: str) -> None:
        if message != self._said:
            self._said = message
            self._say(message)


def guard(
    own: Address,
    pair: tuple[Address, Address],
    password: str,
    namespace: str,
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Guard the server at `own`, one of the `pair`, until told to stop."""
    peer = next(address for address in pair if address != own)
    Guard(RedisLink((own,), password), RedisLink((peer,), password), pair, namespace, say).watch(stop)
