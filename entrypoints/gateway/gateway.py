"""The stable addresses of Ray's head on this host: TCP connections are passed on to whoever leads now.

Where the head is, is in the lease in Redis. When that changes, all connections to the former head end at once, so that
Ray connects anew; without a head they are refused; while Redis does not answer, the last head stays. Also tells the
cluster that this host is there and whether it reaches the head. Runs on the host network, in an image with Python 3.10
or newer: standard library only.

    -m entrypoints.gateway.gateway [run]     serve until SIGTERM
    -m entrypoints.gateway.gateway health    0 while it serves (with or without a head), else 1 and the reason

Environment (components/ray.py sets it): see GatewaySettings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordination.errors import NodeError, read_secret
from coordination.lease import Lease, Member, View
from coordination.redis_client import Address, RedisLink
from coordination.redis_pair import guard
from coordination.redis_users import Login
from entrypoints.command_line import dispatch

LOOK_SECONDS = 1.0  # the lease is looked at so often, and at each event
REPORT_SECONDS = 2.0
BLIND_SECONDS = 3.0  # without a connection to the head this host says that it cannot reach it
CONNECT_SECONDS = 2.0
# A connection to a host that has vanished ends after this: at most KEEPALIVE x PROBES when idle, DEAD when sending.
KEEPALIVE_SECONDS, KEEPALIVE_PROBES = 1, 4
DEAD_MILLISECONDS = 4000
STALE_SECONDS = 10.0  # a serving gateway says so more often than this
TARGETS = ("gcs", "client", "dashboard")


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[gateway] {message}", flush=True)


@dataclass(frozen=True)
class Route:
    """Addresses of this host, and which of the head's three they lead to."""

    listen: tuple[Address, ...]
    target: str


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway is told by its container."""

    host: str  # GATEWAY_HOST, as in the cluster's list of hosts
    address: str  # GATEWAY_ADDRESS of this host
    candidate: bool  # GATEWAY_CANDIDATE, 1 or 0: whether this host may lead
    routes: Mapping[str, Route]  # GATEWAY_ROUTES, JSON: name → {"listen": ["host:port"], "target": one of TARGETS}
    namespace: str  # GATEWAY_NAMESPACE of the lease
    redis: tuple[Address, ...]  # GATEWAY_REDIS_ADDRESSES, comma separated
    redis_own: Address | None  # GATEWAY_REDIS_OWN: the one of these that runs here and has a peer
    login: Login  # GATEWAY_REDIS_USER and GATEWAY_REDIS_PASSWORD_FILE; with `redis_own` the all-powerful user
    facts: Mapping[str, Any]  # GATEWAY_FACTS, JSON: what the other hosts' preflights compare with their own
    static_head: Mapping[str, Address]  # GATEWAY_STATIC_HEAD, JSON: target → "host:port"; not empty: no election

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GatewaySettings:
        """Read the environment; raise NodeError naming the variable that is missing or wrong."""
        own = environment.get("GATEWAY_REDIS_OWN", "")
        settings = cls(
            host=environment.get("GATEWAY_HOST", ""),
            address=environment.get("GATEWAY_ADDRESS", ""),
            candidate=environment.get("GATEWAY_CANDIDATE") == "1",
            routes={name: _route(entry) for name, entry in _json(environment, "GATEWAY_ROUTES").items()},
            namespace=environment.get("GATEWAY_NAMESPACE", ""),
            redis=Address.parse_list(environment.get("GATEWAY_REDIS_ADDRESSES", ""), "GATEWAY_REDIS_ADDRESSES"),
            redis_own=Address.parse(own, "GATEWAY_REDIS_OWN") if own else None,
            login=Login.from_environment(environment, "GATEWAY_REDIS_"),
            facts=_json(environment, "GATEWAY_FACTS"),
            static_head={
                target: Address.parse(str(address), "GATEWAY_STATIC_HEAD")
                for target, address in _json(environment, "GATEWAY_STATIC_HEAD").items()
            },
        )
        if settings.redis_own and (len(settings.redis) != 2 or settings.redis_own not in settings.redis):
            raise NodeError(f"GATEWAY_REDIS_OWN={own!r} is not one of a pair in GATEWAY_REDIS_ADDRESSES.")
        for key in ("host", "routes", "namespace"):
            if not getattr(settings, key):
                raise NodeError(f"GATEWAY_{key.upper()} is not set; this gateway's container must set it.")
        return settings


def _json(environment: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(environment.get(key) or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NodeError(f"{key}={environment.get(key)!r} is no JSON object; this gateway's container must set one.")
    return value


def _route(entry: Any) -> Route:  # noqa: ANN401  (JSON)
    try:
        listen = tuple(Address.parse(str(text), "GATEWAY_ROUTES") for text in entry["listen"])
        target = entry["target"]
    except (LookupError, TypeError):
        listen, target = (), None
    if not listen or target not in TARGETS:
        raise NodeError(f"GATEWAY_ROUTES has {entry!r}, which lacks `listen` or a `target` of {', '.join(TARGETS)}.")
    return Route(listen, target)


# ------------------------------------------------------------------------------------------------ connections


@dataclass(frozen=True)
class CurrentHead:
    """Whom connections are passed on to. Another epoch is another head, even at the same address."""

    epoch: int  # 0: fixed, no election
    name: str
    targets: Mapping[str, Address]


class _End(asyncio.Protocol):
    """One side of a connection that is passed on; what it receives goes to the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.ended = False  # whether nothing more comes from here
        self.closed: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (TCP)
        self.transport = transport
        set_keepalive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if not self.other or not self.other.transport:
            return True
        if self.other.ended:
            self.other.transport.close()  # what it has still to send is sent
            return False  # and so is this one closed: asyncio does so for nobody who has kept one direction open
        if self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()
        self.closed()


def set_keepalive(connection: socket.socket) -> None:
    """Let a connection end within seconds when the other host has vanished, and send without delay."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", DEAD_MILLISECONDS),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _Incoming(_End):
    """The side that came to a stable address; it is read only once the head has accepted."""

    def __init__(self, switch: Switch, target: str) -> None:
        super().__init__()
        self._switch = switch
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._switch.connect(self, self._target)


class Switch:
    """Passes connections on to the present head, and ends them when it is another one."""

    def __init__(self) -> None:
        self.head: CurrentHead | None = None
        self._open: set[_Incoming] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, routes: Mapping[str, Route]) -> None:
        """Take connections at every address of the routes; raise NodeError when one cannot be had."""
        loop = asyncio.get_running_loop()
        for name, route in routes.items():
            for address in route.listen:

                def incoming(target: str = route.target) -> _Incoming:
                    return _Incoming(self, target)

                try:
                    await loop.create_server(incoming, address.host, address.port, backlog=1024)
                except OSError as error:
                    raise NodeError(
                        f"Cannot listen on {address} ({name}): {os.strerror(error.errno or 0)}; "
                        "`ss -ltnp` on this host shows what has the port."
                    ) from None

    def turn(self, head: CurrentHead | None) -> bool:
        """Pass on to this head from now on; True when that is another one than before."""
        if head == self.head:
            return False
        self.head = head
        for end in list(self._open):
            self._abort(end)
        return True

    def connect(self, incoming: _Incoming, target: str) -> None:
        """Connect to the head for somebody, or end the connection."""
        assert incoming.transport  # noqa: S101
        head = self.head
        if head is None or target not in head.targets:
            incoming.transport.abort()
            return
        loop = asyncio.get_running_loop()
        # Older Pythons (3.10, 3.11.2) undo a pause that is made within `connection_made`, so this one comes after it.
        # Nothing is read in between, since the loop looks for data only later.
        loop.call_soon(incoming.transport.pause_reading)
        incoming.closed = lambda: self._open.discard(incoming)
        self._open.add(incoming)
        task = loop.create_task(self._join(incoming, head.targets[target]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, incoming: _Incoming, address: Address) -> None:
        outgoing = _End()
        incoming.other, outgoing.other = outgoing, incoming  # before the head can send, which a GCS does first
        try:
            loop = asyncio.get_running_loop()
            connection = loop.create_connection(lambda: outgoing, address.host, address.port)
            await asyncio.wait_for(connection, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError):  # noqa: UP041  (two different ones in Python 3.10)
            self._abort(incoming)
            return
        assert incoming.transport  # noqa: S101
        assert outgoing.transport  # noqa: S101
        if incoming.transport.is_closing() or incoming not in self._open:
            outgoing.transport.abort()
            return
        incoming.transport.resume_reading()

    def _abort(self, end: _Incoming) -> None:
        self._open.discard(end)
        for side in (end, end.other):
            if side and side.transport:
                side.transport.abort()


# ------------------------------------------------------------------------------------------------ who leads


def head_of(view: View | None) -> CurrentHead | None:
    """Return the head that a lease names; None while there is none that has announced itself."""
    if view is None or not view.ready:
        return None
    addresses = {"gcs": view.gcs, "client": view.client, "dashboard": view.dashboard}
    targets = {target: address for target, address in addresses.items() if address}
    return CurrentHead(view.epoch, view.host, targets)


@dataclass
class Reachability:
    """Whether this host reaches the head of an epoch, from attempts to connect."""

    epoch: int = 0
    reached: bool = False
    failing_since: float | None = None

    def attempt(self, epoch: int, reached: bool, now: float) -> None:
        """Note an attempt that began and ended under the same head."""
        if epoch != self.epoch:
            self.epoch, self.reached, self.failing_since = epoch, False, None
        if reached:
            self.reached, self.failing_since = True, None
        elif self.failing_since is None:
            self.failing_since = now

    def sees(self, epoch: int, now: float) -> int:
        """Return the epoch when its head is reached, else 0."""
        return epoch if epoch == self.epoch and self.reached and not self.blind(epoch, now) else 0

    def blind(self, epoch: int, now: float) -> int:
        """Return the epoch when its head has not been reached for BLIND_SECONDS, else 0."""
        failing = epoch == self.epoch and self.failing_since is not None and now - self.failing_since >= BLIND_SECONDS
        return epoch if failing else 0


@dataclass
class Gateway:
    """The parts of a running gateway: the loop with the connections, and threads that talk to Redis."""

    settings: GatewaySettings
    switch: Switch = field(default_factory=Switch)
    reachability: Reachability = field(default_factory=Reachability)
    stop: threading.Event = field(default_factory=threading.Event)
    look_now: threading.Event = field(default_factory=threading.Event)

    async def serve(self) -> None:
        """Serve until ``stop``; raise NodeError when that is impossible."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await self.switch.listen(self.settings.routes)
        say(f"{self.settings.host}: serving {', '.join(self.settings.routes)}")
        duties: list[Coroutine[Any, Any, None]] = [self._be_alive()]
        if self.settings.static_head:
            self.switch.turn(CurrentHead(0, "fixed", self.settings.static_head))
            say(f"election is off: the head is {self.settings.static_head['gcs']}, as head_address says")
        else:
            duties.append(self._probe())
        self._start_threads(loop)
        tasks = [loop.create_task(duty) for duty in duties]
        await ended.wait()
        self.stop.set()
        for task in tasks:
            task.cancel()
        self.switch.turn(None)

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        settings = self.settings
        lease = Lease(settings.login.link(settings.redis), settings.namespace)
        duties: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(self._watch, (lease, loop))]
        if not settings.static_head:
            events = settings.login.link(settings.redis)
            duties.append((self._listen_for_events, (events, lease.channel)))
        if settings.redis_own:  # also where no head is elected: it keeps its state there all the same
            pair = (settings.redis[0], settings.redis[1])
            password = read_secret(settings.login.file, "the password of Redis")
            duties.append((guard, (settings.redis_own, pair, password, settings.namespace, self.stop, say)))
        for duty, arguments in duties:
            threading.Thread(target=duty, args=arguments, daemon=True).start()

    def _watch(self, lease: Lease, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the lease, and report. Without an answer of Redis the head stays what it was.

        Where the head is fixed, only report: other hosts' preflights compare with that.
        """
        report_at, complaint = 0.0, ""
        while not self.stop.is_set():
            self.look_now.clear()
            try:
                view = None if self.settings.static_head else lease.look()
                if not self.settings.static_head:
                    loop.call_soon_threadsafe(self._turn, head_of(view))
                if time.monotonic() >= report_at:
                    report_at = time.monotonic() + REPORT_SECONDS
                    lease.report(self._member(view.epoch if view else 0))
                if complaint:
                    say("Redis answers again")
                complaint = ""
            except (OSError, NodeError) as error:
                if not complaint:
                    say(f"the head stays as it is, since Redis does not answer: {error}")
                complaint = str(error)
            self.look_now.wait(LOOK_SECONDS)

    def _member(self, epoch: int) -> Member:
        settings, now = self.settings, time.monotonic()
        return Member(
            host=settings.host,
            address=settings.address,
            candidate=settings.candidate,
            sees=self.reachability.sees(epoch, now),
            blind=self.reachability.blind(epoch, now),
            facts=settings.facts,
        )

    def _listen_for_events(self, link: RedisLink, channel: str) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(OSError, NodeError):
                for event in link.subscribe(channel):
                    if event:
                        self.look_now.set()
                    if self.stop.is_set():
                        return
            self.stop.wait(LOOK_SECONDS)

    def _turn(self, head: CurrentHead | None) -> None:
        if self.switch.turn(head):
            say(f"head: {head.name}, epoch {head.epoch}, at {head.targets.get('gcs')}" if head else "no head")

    async def _probe(self) -> None:
        """Try to reach the head once a second, as a node of this host would."""
        while True:
            head = self.switch.head
            address = head.targets.get("gcs") if head else None
            if head and address:
                reached = await reaches(address)
                if self.switch.head == head:
                    self.reachability.attempt(head.epoch, reached, time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def _be_alive(self) -> None:
        """Say for ``health`` that the loop turns."""
        while True:
            write_sign_of_life()
            await asyncio.sleep(LOOK_SECONDS)


async def reaches(address: Address) -> bool:
    """Tell whether a TCP connection to the address can be had within a second."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, address.port), LOOK_SECONDS)
    except (OSError, asyncio.TimeoutError):  # noqa: UP041  (two different ones in Python 3.10)
        return False
    writer.transport.abort()
    return True


# ------------------------------------------------------------------------------------------------ subcommands


def sign_of_life() -> Path:
    """Return the file that a serving gateway rewrites all the time."""
    return Path(tempfile.gettempdir()) / "cslr-gateway"


def write_sign_of_life() -> None:
    """Write the time, on the clock that all processes of this host share and nobody sets."""
    draft = sign_of_life().with_suffix(".draft")
    draft.write_text(str(time.monotonic()), encoding="utf-8")
    draft.replace(sign_of_life())


def run() -> int:
    """Serve; see the module."""
    sign_of_life().unlink(missing_ok=True)
    asyncio.run(Gateway(GatewaySettings.from_environment(os.environ)).serve())
    return 0


def health() -> int:
    """0 while the gateway serves. Not whether there is a head: that is for the cluster, not for this container."""
    try:
        age = time.monotonic() - float(sign_of_life().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        print("not serving yet")
        return 1
    print("serving" if age < STALE_SECONDS else f"no sign of life for {age:.0f} s")
    return 0 if age < STALE_SECONDS else 1


def main(arguments: list[str]) -> int:
    """Do what the arguments say; see the module."""
    return dispatch({"run": run, "health": health}, arguments, say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
