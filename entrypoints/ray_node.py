"""One Ray node: decides whether it is head or worker, starts Ray and stops it cleanly.

Runs in every Ray container, with our images and with pulled ones: standard library only, Python 3.10 or newer.

    -m entrypoints.ray_node [run]     decide, start `ray start --block`, supervise it (0 after a clean stop)
    -m entrypoints.ray_node health    0 when this node serves, else 1 and the reason

Environment (components/ray.py sets it): see NodeSettings.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from entrypoints.ray_process import (
    CLIENT_PORT,
    DASHBOARD_PORT,
    GCS_PORT,
    NodeError,
    NodeMeans,
    adopt_orphans,
    begin,
    head_environment,
    number,
    own_address,
    prepare,
    read_secret,
    say,
    supervise,
    worker_environment,
)

CLAIM_SECONDS = 15.0  # a dead head's claim ends after this; longer than a GCS lives without Redis (4 s)
RENEW_SECONDS = 5.0
LOST = "another node is head now"
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
TCP_SECONDS = 1.0


class RedisRefusedError(NodeError):
    """Redis answered with an error that waiting does not cure, such as a wrong password."""


@dataclass(frozen=True)
class Address:
    """A host (name or IP address) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, source: str) -> Address:
        """Read ``host:port``, with or without ``redis://``; raise NodeError naming ``source`` for anything else."""
        host, _, port = text.removeprefix("redis://").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise NodeError(f"{source}={text!r} is no host:port; write for example ray-cpu:6379.")
        return cls(host, int(port))

    def answers(self) -> bool:
        """Tell whether something accepts a TCP connection there within TCP_SECONDS."""
        try:
            socket.create_connection((self.host, self.port), timeout=TCP_SECONDS).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class NodeSettings:
    """What this node is told by its container."""

    means: NodeMeans
    candidates: tuple[str, ...]  # RAY_NODE_CANDIDATES: nodes that may be head, comma separated
    head: Address | None  # RAY_NODE_HEAD_ADDRESS: join this head; empty: decide
    health_url: str  # RAY_NODE_HEALTH_URL of the health service; empty: do not ask
    health_timeout: float  # RAY_NODE_HEALTH_TIMEOUT, seconds
    deadline: float  # RAY_NODE_DEADLINE, seconds to find or become a head
    redis: Address | None  # RAY_REDIS_ADDRESS: keeps the GCS state and the claim to be head
    redis_password_file: Path  # RAY_NODE_REDIS_PASSWORD_FILE
    namespace: str  # RAY_external_storage_namespace: one per cluster
    token_file: Path | None  # RAY_AUTH_TOKEN_PATH where RAY_AUTH_MODE=token

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> NodeSettings:
        """Read the environment; raise NodeError naming the variable that is missing or wrong."""

        def address(key: str) -> Address | None:
            text = environment.get(key, "")
            return Address.parse(text, key) if text else None

        token = environment.get("RAY_AUTH_MODE") == "token"
        return cls(
            means=NodeMeans.from_environment(environment),
            candidates=tuple(filter(None, environment.get("RAY_NODE_CANDIDATES", "").split(","))),
            head=address("RAY_NODE_HEAD_ADDRESS"),
            health_url=environment.get("RAY_NODE_HEALTH_URL", ""),
            health_timeout=number(environment, "RAY_NODE_HEALTH_TIMEOUT", 1),
            deadline=number(environment, "RAY_NODE_DEADLINE", 300),
            redis=address("RAY_REDIS_ADDRESS"),
            redis_password_file=Path(environment.get("RAY_NODE_REDIS_PASSWORD_FILE", "/run/secrets/redis-password")),
            namespace=environment.get("RAY_external_storage_namespace", "default"),
            token_file=Path(environment.get("RAY_AUTH_TOKEN_PATH", "/run/secrets/ray-token")) if token else None,
        )


# ---------------------------------------------------------------------------------------------------- Redis


class Redis:
    """As much of a Redis client as the claim needs: one password and EVAL, a new connection for each call."""

    def __init__(self, address: Address, password: str) -> None:
        self.address = address
        self._password = password

    def evaluate(self, script: str, key: str, *arguments: str) -> str | None:
        """Run a Lua script on one key. OSError: Redis is not there (yet); RedisRefusedError: it will not do it."""
        endpoint = (self.address.host, self.address.port)
        with (
            socket.create_connection(endpoint, timeout=TCP_SECONDS) as connection,
            connection.makefile("rb") as replies,
        ):
            for command in (["AUTH", self._password], ["EVAL", script, "1", key, *arguments]):
                connection.sendall(self._encode(command))
                reply = self._reply(replies.readline, replies.read)
            return reply

    @staticmethod
    def _encode(words: list[str]) -> bytes:
        encoded = [word.encode() for word in words]
        return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)

    def _reply(self, readline: Callable[[], bytes], read: Callable[[int], bytes]) -> str | None:
        line = readline().decode().rstrip("\r\n")
        if not line:
            raise ConnectionResetError(f"Redis at {self.address} closed the connection")
        kind, text = line[0], line[1:]
        if kind == "-":
            if text.startswith(("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN")):
                raise ConnectionRefusedError(f"Redis at {self.address}: {text}")
            raise RedisRefusedError(
                f"Redis at {self.address} refuses this node ({text.split('.')[0]}); "
                "the password files of this node and of Redis must be the same."
            )
        if kind == "$":
            return None if text == "-1" else read(int(text) + 2)[:-2].decode()
        return text


# --------------------------------------------------------------------------------------------- head election


@dataclass(frozen=True)
class Role:
    """The outcome: this node is the head, or a worker of the head at an address."""

    head: Address | None  # None: this node is the head

    @property
    def is_head(self) -> bool:
        """Tell whether this node is the head."""
        return self.head is None


class HeadElection(Protocol):
    """Decides who is head. A node holds what it was given from ``decide`` until ``release``."""

    def decide(self) -> Role:
        """Wait until the role is certain; raise NodeError when the deadline passes."""

    def keep(self) -> bool:
        """Renew; called every RENEW_SECONDS while the head runs. False: another node is head, stop at once."""

    def release(self) -> None:
        """Give headship up after Ray has ended."""


class HeadClaim:
    """The right to be head: one key in the Redis that also keeps the GCS state, so both are there or neither is.

    Atomic, so nodes that start together never both become head. It does not fence off a head that hangs and wakes up.
    """

    _TAKE = """
    local holder = redis.call('GET', KEYS[1])
    if not holder or holder == ARGV[1] or string.match(holder, '^%S+') == ARGV[3] then
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return ARGV[1]
    end
    return holder
    """
    _RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return ''"
    _LOOK = "return redis.call('GET', KEYS[1])"

    def __init__(self, redis: Redis, namespace: str, node: str, address: Address) -> None:
        self._redis = redis
        self._key = f"cslr:head:{namespace}"
        self._node = node
        # The last word tells this run from an earlier one of the same node, whose renewals must fail.
        self._value = f"{node} {address} {uuid.uuid4().hex}"

    def take(self) -> Address | None:
        """Claim headship, also from an earlier run of this node. None: it is ours; else the holder's GCS address."""
        return self._holder(self._set(takes_over_from=self._node))

    def renew(self) -> bool:
        """Hold on for another CLAIM_SECONDS; False when another node (or a later run of this one) holds it."""
        return self._holder(self._set(takes_over_from="")) is None

    def look(self) -> Address | None:
        """Return the GCS address of the holder, None when nobody else holds it."""
        return self._holder(self._redis.evaluate(self._LOOK, self._key) or self._value)

    def release(self) -> None:
        """Let the next candidate in, unless another node holds it already."""
        self._redis.evaluate(self._RELEASE, self._key, self._value)

    def _set(self, takes_over_from: str) -> str | None:
        return self._redis.evaluate(
            self._TAKE, self._key, self._value, str(int(CLAIM_SECONDS * 1000)), takes_over_from or "-"
        )

    def _holder(self, value: str | None) -> Address | None:
        if value == self._value:
            return None
        words = (value or "").split()
        if len(words) < 2:
            raise RedisRefusedError(f"The key {self._key} in Redis holds no claim; delete the key.")
        return Address.parse(words[1], self._key)


def head_by_health_service(settings: NodeSettings) -> Address | None:
    """Ask the health service for the head; any failure, and a head that is this node's former self, is no answer."""
    if not settings.health_url:
        return None
    # No proxy: the service is in our own network, and a proxy of the site cannot reach it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{settings.health_url.rstrip('/')}/status", timeout=settings.health_timeout) as response:
            head = json.load(response)["ray"]["head"]
        return None if head["node"] == settings.means.name else Address.parse(head["address"], "health service")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException, NodeError):
        return None


class ClaimElection:
    """Election on one host: an existing head is joined, else the first candidate to claim headship has it."""

    def __init__(self, settings: NodeSettings, claim: HeadClaim | None, stop: threading.Event) -> None:
        self._settings = settings
        self._claim = claim
        self._stop = stop

    def decide(self) -> Role:
        """See HeadElection; raises NodeError also when told to stop meanwhile."""
        settings = self._settings
        began = reported = time.monotonic()
        while not self._stop.is_set():
            try:
                role, obstacle = self._attempt()
            except OSError as error:
                role, obstacle = None, f"Redis at {settings.redis} does not answer ({error})"
            if role:
                return role
            now = time.monotonic()
            if now - began > settings.deadline:
                raise NodeError(f"No Ray head within {settings.deadline:.0f} s: {obstacle}; see that service's log.")
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                say(f"waiting for a Ray head since {now - began:.0f} s: {obstacle}")
            self._stop.wait(POLL_SECONDS)
        raise NodeError("Stopped before a Ray head was found.")

    def keep(self) -> bool:
        """See HeadElection. Without Redis the GCS ends by itself, so an outage is not a loss of the claim."""
        try:
            return self._claim is None or self._claim.renew()
        except (OSError, NodeError) as error:
            say(f"warning: the claim to be head was not renewed ({error})")
            return True

    def release(self) -> None:
        """See HeadElection; without Redis the claim ends by itself."""
        if self._claim:
            with contextlib.suppress(OSError, NodeError):
                self._claim.release()

    def _attempt(self) -> tuple[Role | None, str]:
        """Try once; with the reason when there is no role yet."""
        settings = self._settings
        if settings.head and settings.head.host != settings.means.name:
            return self._join(settings.head, f"{settings.head} (the explicit head address) does not answer")
        for address in filter(None, (head_by_health_service(settings), *self._other_candidates())):
            if address.answers():
                return Role(address), ""
        if not self._claim:
            return None, "this node has no RAY_REDIS_ADDRESS, and no other node is head"
        if settings.means.name not in settings.candidates and not settings.head:
            holder = self._claim.look()
            none_yet = "this node is not on the head whitelist, and no other node is head"
            return self._join(holder, f"{holder} is starting") if holder else (None, none_yet)
        holder = self._claim.take()
        return self._join(holder, f"{holder} claimed headship and is starting") if holder else (Role(None), "")

    def _join(self, head: Address, obstacle: str) -> tuple[Role | None, str]:
        return (Role(head), "") if head.answers() else (None, obstacle)

    def _other_candidates(self) -> list[Address]:
        if self._settings.head:  # names this node: the others cannot be head
            return []
        return [
            Address(name, self._settings.means.ports[GCS_PORT])
            for name in self._settings.candidates
            if name != self._settings.means.name
        ]


# ------------------------------------------------------------------------------------------ this node's means


def with_address(means: NodeMeans, to_redis: str | None, default: str | None) -> NodeMeans:
    """Return a head's means with an address only where Ray would take another one than the cluster's network knows.

    A head's Ray takes the address on the default route. On a bridge that is the container's only address, which Docker
    may change at every start, so nothing is fixed there. A host with several networks, or none that leads outside,
    needs it. A worker's Ray takes the address on the route to the head, which is what other nodes can reach.
    """
    return means if means.address or to_redis in (None, default) else replace(means, address=to_redis)


def start_of(settings: NodeSettings, role: Role) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment of ``ray start``."""
    if role.head:
        return settings.means.start_arguments(str(role.head)), worker_environment(os.environ)
    redis = settings.redis
    means = with_address(settings.means, own_address(redis.host) if redis else None, own_address(None))
    if not redis:
        return means.start_arguments(None), dict(os.environ)
    password = read_secret(settings.redis_password_file, "the password of Redis")
    return means.start_arguments(None), head_environment(os.environ, str(redis), settings.namespace, "", password)


# ------------------------------------------------------------------------------------------------- subcommands


def state_file() -> Path:
    """Return where ``run`` tells ``health`` the role."""
    return Path(tempfile.gettempdir()) / "cslr-ray-node.json"


def run() -> int:
    """Decide, start Ray, supervise it; see the module."""
    stop = threading.Event()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signalled, lambda *_: stop.set())
    os.chdir(tempfile.gettempdir())  # where tasks begin; the image's own folder cannot be written to
    settings = NodeSettings.from_environment(os.environ)
    if settings.token_file:
        read_secret(settings.token_file, "Ray's authentication token, RAY_AUTH_TOKEN_PATH")
    state_file().unlink(missing_ok=True)
    claim = None
    if settings.redis:
        redis = Redis(settings.redis, read_secret(settings.redis_password_file, "the password of Redis"))
        claim = HeadClaim(
            redis, settings.namespace, settings.means.name, Address(settings.means.name, settings.means.ports[GCS_PORT])
        )
    election: HeadElection = ClaimElection(settings, claim, stop)
    try:
        role = election.decide()
    except NodeError:
        if stop.is_set():
            return 0
        raise
    say(f"{settings.means.name} is head" if role.is_head else f"{settings.means.name} is a worker of {role.head}")
    state_file().write_text(json.dumps({"head": role.is_head}), encoding="utf-8")
    adopt_orphans()
    ray = prepare()
    try:
        begin(ray, *start_of(settings, role))
        return supervise(ray, stop, lambda: "" if not role.is_head or election.keep() else LOST, RENEW_SECONDS)
    finally:
        if role.is_head:
            election.release()


def http_failure(port: int, path: str) -> str:
    """Return why a GET on this machine is not answered with 200; empty when it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return "" if response.status == 200 else f"{path} on port {port} answered {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {port}: {error}"
    finally:
        connection.close()


def health() -> int:
    """Check what the node's role must serve; 0 or 1 with the reason on stdout."""
    try:
        is_head = bool(json.loads(state_file().read_text(encoding="utf-8"))["head"])
    except (OSError, ValueError, LookupError, TypeError):
        print("undecided: neither head nor worker yet")
        return 1
    settings = NodeSettings.from_environment(os.environ)
    failures = [http_failure(settings.means.agent_port, "/api/healthz")]
    if is_head:
        failures.append(http_failure(settings.means.ports[DASHBOARD_PORT], "/api/gcs_healthz"))
        if not Address("127.0.0.1", settings.means.ports[CLIENT_PORT]).answers():
            failures.append(f"the Ray Client port {settings.means.ports[CLIENT_PORT]} is closed")
    failures = [failure for failure in failures if failure]
    print("; ".join(failures) or ("head" if is_head else "worker"))
    return 1 if failures else 0


def main(arguments: list[str]) -> int:
    """Dispatch to the subcommand; a NodeError becomes one line and exit code 1."""
    commands: dict[str, Callable[[], int]] = {
        "run": run,
        "health": health,
    }
    command = commands.get(arguments[0] if arguments else "run")
    if command is None:
        say(f"unknown subcommand {arguments[0]!r}: use run or health.")
        return 2
    try:
        return command()
    except NodeError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
