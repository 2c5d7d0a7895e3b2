"""Simulated hosts: each sends Redis the requests of its gateway and its node, with their code.

``python -m bench.scale_members REDIS PASSWORD_FILE NAMESPACE FIRST COUNT WATCH`` plays the hosts from number FIRST on
until its standard input ends, and prints one JSON document: how long their calls took, and when each saw which head.
"""

import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from coordination.lease import Lease, Member
from coordination.membership import read_membership, read_state
from coordination.redis_client import Address, RedisLink
from entrypoints.gateway.gateway import LOOK_SECONDS, REPORT_SECONDS
from entrypoints.ray.node import WATCH_SECONDS

# As stack/advertised_facts.py publishes them.
FACTS = {
    "cuda": "13.1.1", "python": "3.14", "ray": "2.60.0", "packages": "none", "checkpoints": "",
    "subnet": "172.28.0.0/16", "stack": "host-0000", "nodes": ["ray-head", "ray-cpu"],
    "machine": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
}  # fmt: skip
Answer = TypeVar("Answer")
STACK_BYTES = 256 * 1024  # of a thread
WATCHES = ("membership", "state")  # what a node reads each WATCH_SECONDS: its own membership, or everything


@dataclass
class SimulatedHost:
    """One host: a connection for its gateway's calls, one for events, one for its node's."""

    number: int
    redis: Address
    password: str
    namespace: str
    watch: str
    looks: list[float] = field(default_factory=list)  # seconds that each call took
    reports: list[float] = field(default_factory=list)
    watches: list[float] = field(default_factory=list)
    heads: dict[int, float] = field(default_factory=dict)  # epoch → when its ready head was seen
    failures: int = 0
    woken: threading.Event = field(default_factory=threading.Event)

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        """Starts its threads."""
        duties = (self._gateway, self._events, self._node)
        threads = [threading.Thread(target=duty, args=(stop,), daemon=True) for duty in duties]
        for thread in threads:
            thread.start()
        return threads

    def _gateway(self, stop: threading.Event) -> None:
        lease, report_at = Lease(self._link(), self.namespace), 0.0
        name = f"host-{self.number:04}"
        stop.wait(random.random() * REPORT_SECONDS)  # noqa: S311  (hosts do not start at the same moment)
        while not stop.is_set():
            self.woken.clear()
            with self._failing():
                view = self._timed(self.looks, lease.look)
                if view and view.ready:
                    self.heads.setdefault(view.epoch, time.monotonic())
                if time.monotonic() >= report_at:
                    report_at = time.monotonic() + REPORT_SECONDS
                    epoch = view.epoch if view else 0
                    member = Member(name, "10.0.0.1", candidate=True, sees=epoch, blind=0, facts=FACTS)
                    self._timed(self.reports, partial(lease.report, member))
            self.woken.wait(LOOK_SECONDS)

    def _events(self, stop: threading.Event) -> None:
        link = self._link()
        channel = Lease(link, self.namespace).channel
        while not stop.is_set():
            with self._failing():
                for event in link.subscribe(channel):
                    if event:
                        self.woken.set()
                    if stop.is_set():
                        return
            stop.wait(LOOK_SECONDS)

    def _node(self, stop: threading.Event) -> None:
        link, node = self._link(), f"host-{self.number:04}-ray-cpu"

        def watch() -> object:
            return (
                read_state(link, self.namespace)
                if self.watch == "state"
                else read_membership(link, self.namespace, node)
            )

        stop.wait(random.random() * WATCH_SECONDS)  # noqa: S311
        while not stop.wait(WATCH_SECONDS):
            with self._failing():
                self._timed(self.watches, watch)

    def _link(self) -> RedisLink:
        return RedisLink((self.redis,), self.password)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.failures += 1

    @staticmethod
    def _timed(times: list[float], call: Callable[[], Answer]) -> Answer:
        began = time.monotonic()
        answer = call()
        times.append(time.monotonic() - began)
        return answer


def main(arguments: list[str]) -> int:
    """Plays the hosts; see the module."""
    redis, password_file, namespace, first, count, watch = arguments
    threading.stack_size(STACK_BYTES)
    password = Path(password_file).read_text()
    hosts = [
        SimulatedHost(number, Address.parse(redis, "REDIS"), password, namespace, watch)
        for number in range(int(first), int(first) + int(count))
    ]
    stop = threading.Event()
    threads = [thread for host in hosts for thread in host.start(stop)]
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    for host in hosts:
        host.woken.set()
    end = time.monotonic() + WATCH_SECONDS
    for thread in threads:
        thread.join(timeout=max(end - time.monotonic(), 0.0))
    calls = {kind: [call for host in hosts for call in getattr(host, kind)] for kind in ("looks", "reports", "watches")}
    print(json.dumps({**calls, "heads": [host.heads for host in hosts], "failures": sum(h.failures for h in hosts)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
