"""The stable addresses of Ray's head on this host: TCP connections are forwarded to the current head.

The lease in Redis names the head. When the head changes, all connections to the former one end at once, so that Ray
reconnects; without a head they are refused; while Redis does not answer, the last head stays. The gateway also reports
to the cluster that this host is up and whether it reaches the head. Runs on the host network, in an image with Python
3.10 or newer: standard library only.

    -m entrypoints.gateway.gateway [run]     serve until SIGTERM
    -m entrypoints.gateway.gateway health    0 while it serves (with or without a head), else 1 and the reason

Settings: contracts/gateway.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from contracts.document import DocumentError, load_settings
from contracts.gateway import GatewaySettings, Target
from coordination.errors import NodeError, read_secret
from coordination.lease import Lease, Member, View
from coordination.redis_client import Address, RedisLink
from coordination.redis_pair import guard
from coordination.redis_users import Login
from entrypoints.command_line import dispatch
from entrypoints.gateway.proxy import CurrentHead, Switch
from entrypoints.heartbeat import Heartbeat
from entrypoints.log import logger

LOOK_SECONDS = 1.0  # how often the lease is read, besides at each event
REPORT_SECONDS = 2.0
BLIND_SECONDS = 3.0  # after this long without a connection, the host reports that it cannot reach the head
STALE_SECONDS = 10.0  # a serving gateway writes its heartbeat more often than this
HEARTBEAT = Heartbeat("gateway")

say = logger("gateway")


# ------------------------------------------------------------------------------------------------ who leads


def head_of(view: View | None) -> CurrentHead | None:
    """Return the head that a lease names; None until a head has announced itself."""
    if view is None or not view.ready:
        return None
    addresses = {Target.GCS: view.gcs, Target.CLIENT: view.client, Target.DASHBOARD: view.dashboard}
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
        """Return the epoch if its head is reached, else 0."""
        return epoch if epoch == self.epoch and self.reached and not self.blind(epoch, now) else 0

    def blind(self, epoch: int, now: float) -> int:
        """Return the epoch if its head has not been reached for BLIND_SECONDS, else 0."""
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
        say(f"{self.settings.host}: serving {', '.join(route.target.value for route in self.settings.routes)}")
        duties: list[Coroutine[Any, Any, None]] = [self._be_alive()]
        if self.settings.static_head:
            head = {Target(name): Address.parse(there, name) for name, there in self.settings.static_head.items()}
            self.switch.turn(CurrentHead(0, "fixed", head))
            say(f"election is off: the head is {head[Target.GCS]}, as head_address says")
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
        settings, redis = self.settings, self.settings.redis
        servers, login = Address.parse_all(redis.addresses), Login(redis.user, redis.password_file)
        lease = Lease(login.link(servers), redis.namespace)
        duties: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(self._watch, (lease, loop))]
        if not settings.static_head:
            events = login.link(servers)
            duties.append((self._listen_for_events, (events, lease.channel)))
        if settings.own_redis:  # even without an election: the head keeps its state there
            own, pair = Address.parse(settings.own_redis, "own_redis"), (servers[0], servers[1])
            password = read_secret(login.file, "the password of Redis")
            duties.append((guard, (own, pair, password, redis.namespace, self.stop, say)))
        for duty, arguments in duties:
            threading.Thread(target=duty, args=arguments, daemon=True).start()

    def _watch(self, lease: Lease, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the lease, and report. While Redis does not answer, the last head stays.

        With a static head, only report: other hosts' preflights compare with that.
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
            say(f"head: {head.name}, epoch {head.epoch}, at {head.targets.get(Target.GCS)}" if head else "no head")

    async def _probe(self) -> None:
        """Try to connect to the head once a second, as a node of this host would."""
        while True:
            head = self.switch.head
            address = head.targets.get(Target.GCS) if head else None
            if head and address:
                reached = await reaches(address)
                if self.switch.head == head:
                    self.reachability.attempt(head.epoch, reached, time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def _be_alive(self) -> None:
        """Write a heartbeat for ``health`` while the loop runs."""
        while True:
            HEARTBEAT.beat()
            await asyncio.sleep(LOOK_SECONDS)


async def reaches(address: Address) -> bool:
    """Tell whether a TCP connection to the address succeeds within a second."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, address.port), LOOK_SECONDS)
    except (OSError, asyncio.TimeoutError):  # noqa: UP041  (two different ones in Python 3.10)
        return False
    writer.transport.abort()
    return True


# ------------------------------------------------------------------------------------------------ subcommands


def run() -> int:
    """Serve; see the module."""
    HEARTBEAT.clear()
    try:
        settings = load_settings(GatewaySettings, os.environ)
    except DocumentError as error:
        raise NodeError(f"{error}.") from None
    asyncio.run(Gateway(settings).serve())
    return 0


def health() -> int:
    """0 while the gateway serves, with or without a head: a missing head is no fault of this container."""
    age = HEARTBEAT.age()
    if age is None:
        print("not serving yet")
        return 1
    print("serving" if age < STALE_SECONDS else f"no sign of life for {age:.0f} s")
    return 0 if age < STALE_SECONDS else 1


def main(arguments: list[str]) -> int:
    """Do what the arguments say; see the module."""
    return dispatch({"run": run, "health": health}, arguments, say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
