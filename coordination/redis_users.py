"""Redis users and their rights. The password of the all-powerful user never reaches a container that runs Ray.

`cslr-reader` reads the cluster's state, `cslr-agent` takes part in the election; both are in the server's
configuration, with passwords derived from that of the all-powerful user. Users of heads (`ray-…`) are temporary: a
program in Redis's container (entrypoints/redis/users.sh) makes and deletes them when lease.py asks. Standard library
only, Python 3.10 or newer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordination.errors import read_secret
from coordination.redis_client import Address, RedisLink

READER, AGENT = "cslr-reader", "cslr-agent"
# Name of the file in /run/secrets → user.
SECRETS = {"redis-reader": READER, "redis-agent": AGENT}

# What a head may do in Redis, and why; seen by recording all that the GCS of Ray 2.60 sends. AUTH is always allowed.
HEAD_RIGHTS = (
    ("+ping", "the GCS checks ten times a second that Redis is there"),
    ("+info|sentinel", "probe at each connection: is this a Sentinel?"),
    ("+info|cluster", "probe at each connection: is this a Redis Cluster?"),
    ("+hget", "read one entry of a table"),
    ("+hmget", "read several entries of a table"),
    ("+hscan", "read a whole table, at the start of a GCS"),
    ("+hexists", "is a key there?"),
    ("+hset", "write an entry"),
    ("+hsetnx", "write an entry that must not be there yet, such as the name of the session"),
    ("+hdel", "remove entries"),
    ("+incrby", "the number of the next job"),
    ("(+del ~DUMMY)", "probe at each connection: a write that a replica would refuse; on this one key only"),
)
# Rights of both users of the platform: nothing that affects other clients or the server, and asking which server leads.
_BOTH = ("-@all", "+@connection", "-@dangerous", "+role", "+info", "+time", "%R~cslr:redis:generation")
_READING = ("+get", "+hget", "+hmget", "+hgetall", "+pttl", "+exists", "+smembers", "+sismember", "+lrange")
# No scripts: one that never ends would stop Redis for everyone.
READER_RIGHTS = (*_BOTH, *_READING, "+multi", "+exec", "+subscribe")
AGENT_RIGHTS = (
    *READER_RIGHTS,
    *("+eval", "+evalsha", "+set", "+del", "+pexpire", "+hset", "+hdel", "+lpush", "+ltrim", "+publish", "+blpop"),
)


@dataclass(frozen=True)
class Login:
    """A program's Redis user and the file with its password."""

    user: str  # empty: the all-powerful user
    file: Path

    def link(self, servers: Sequence[Address]) -> RedisLink:
        """Return a Redis client. Raises NodeError without the password file."""
        return RedisLink(servers, read_secret(self.file, "the password of Redis"), username=self.user)


def password(secret: str, user: str) -> str:
    """Return the password of a platform user, derived from that of the all-powerful user."""
    return hmac.new(secret.encode(), user.encode(), hashlib.sha256).hexdigest()


def configuration(secret: str, namespace: str) -> str:
    """Return the lines of Redis's configuration that define the users of the platform."""
    keys = f"cslr:{namespace}:"
    places = {
        READER: (f"%R~{keys}*", f"&{keys}events", *READER_RIGHTS),
        AGENT: (f"~{keys}*", f"&{keys}events", *AGENT_RIGHTS),
    }
    lines = []
    for user, rights in places.items():
        digest = hashlib.sha256(password(secret, user).encode()).hexdigest()
        lines.append(f"user {user} on #{digest} resetchannels {' '.join(rights)}\n")
    return "".join(lines)
