"""A client of the cluster, in a worker's container: ``python -c SOURCE CLIENT HOST…``. Reports its work as JSON.

On each host a detached counter counts calls, and tasks run all the time. An actor is created now and then, and at once
on SIGUSR1. It ends on SIGTERM, when it has asked each counter what it knows. Everything has a time limit: what is sent
while there is no head can be lost. See `testing.cluster.history` for what it says.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

ray: Any = import_module("ray")  # whichever the image has

ADDRESS = "127.0.0.2:6379"
NAMESPACE = "cluster-test"
CALL_SECONDS = 4.0
# Until the next try to create an actor. The one before may have been lost, or still be under way; then it is waited
# for, since a node works off also what its client has given up, one after the other.
AGAIN_SECONDS = 4.0
CREATION_SECONDS = 60.0
CREATION_EVERY = 10.0  # seconds; each costs a process of its own
FINAL_SECONDS = 60.0
LONG_SECONDS = 10.0

stopped = threading.Event()
# What signals ask for: that an actor is created, and the end. Not Events: the lock of one may be held by the very
# thread that a signal interrupts, and a set in the handler then waits for itself.
wanted: queue.SimpleQueue[None] = queue.SimpleQueue()
ended: queue.SimpleQueue[None] = queue.SimpleQueue()
lock = threading.Lock()


def say(kind: str, **facts: Any) -> None:
    with lock:
        sys.stdout.write(json.dumps({"kind": kind, "time": time.monotonic(), **facts}) + "\n")
        sys.stdout.flush()


def on(host: str) -> dict[str, Any]:
    """Options that place a task or actor."""
    return {"num_cpus": 0, "resources": {f"{host}-ray-cpu": 0.001}}


class Counter:
    """Counts, and remembers what."""

    def __init__(self) -> None:
        self.life = uuid.uuid4().hex
        self.ids: list[str] = []

    def add(self, identity: str) -> tuple[str, int, int]:
        self.ids.append(identity)
        return self.life, os.getpid(), len(self.ids)

    def all(self) -> tuple[str, list[str]]:
        return self.life, self.ids


class Probe:
    """An actor that is created only to see whether it can be."""

    def ping(self) -> bool:
        return True


def sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def counter(host: str) -> Any:
    """The counter of a host; made if it is not there."""
    options = {"name": f"counter-{host}", "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return ray.remote(Counter).options(**options, **on(host)).remote()


def attempt(kind: str, act: Callable[[], dict[str, Any]], **facts: Any) -> Exception | None:
    """Does something and says how it went; returns why it did not."""
    start = time.monotonic()
    try:
        found = act()
    except Exception as error:  # noqa: BLE001 (every failure is a fact)
        say(kind, start=start, ok=False, error=f"{type(error).__name__}: {error}"[:200], **facts)
        return error
    say(kind, start=start, ok=True, **facts, **found)
    return None


def increments(client: str, host: str) -> None:
    number, actor = 0, None
    while not stopped.is_set():
        number += 1
        identity = f"{client}-{number}"

        def add(identity: str = identity) -> dict[str, Any]:
            nonlocal actor
            actor = actor or counter(host)
            life, pid, value = ray.get(actor.add.remote(identity), timeout=CALL_SECONDS)
            return {"life": life, "pid": pid, "value": value}

        error = attempt("increment", add, counter=host, id=identity)
        if isinstance(error, ray.exceptions.ActorDiedError):
            actor = None
        stopped.wait(0.2 if error is None else 0.5)


def creations(host: str) -> None:
    probe = ray.remote(Probe).options(**on(host))

    def create() -> dict[str, Any]:
        ray.get(probe.remote().ping.remote(), timeout=CREATION_SECONDS)
        return {}

    while not stopped.is_set():
        while not wanted.empty():
            wanted.get()
        created = threading.Event()

        def one(created: threading.Event = created) -> None:
            if attempt("creation", create) is None:
                created.set()

        while not (created.is_set() or stopped.is_set()):
            threading.Thread(target=one, daemon=True).start()
            created.wait(AGAIN_SECONDS)
        with suppress(queue.Empty):
            wanted.get(timeout=CREATION_EVERY)


def tasks(kind: str, host: str, seconds: float, limit: float) -> None:
    task = ray.remote(sleep).options(**on(host))

    def one() -> dict[str, Any]:
        ray.get(task.remote(seconds), timeout=limit)
        return {}

    while not stopped.is_set():
        attempt(kind, one, host=host)
        stopped.wait(1.0)


def tables() -> None:
    state = ray._private.state.state
    while not stopped.is_set():
        start = time.monotonic()
        alive = [node for node in ray.nodes() if node["Alive"]]
        say(
            "nodes",
            start=start,
            alive=sorted(node["Labels"].get("cslr.node", "?") for node in alive),
            heads=sum("node:__internal_head__" in node["Resources"] for node in alive),
            jobs={job["JobID"]: job["IsDead"] for job in state.job_table()},
            own=ray.get_runtime_context().get_job_id(),
        )
        stopped.wait(1.0)


def final(host: str) -> None:
    deadline = time.monotonic() + FINAL_SECONDS
    while time.monotonic() < deadline:
        try:
            life, ids = ray.get(counter(host).all.remote(), timeout=CALL_SECONDS)
        except Exception:  # noqa: BLE001 (asked again)
            time.sleep(0.5)
            continue
        say("final", counter=host, life=life, ids=ids)
        return


def main(client: str, hosts: list[str]) -> None:
    ray.init(ADDRESS, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    signal.signal(signal.SIGTERM, lambda *_: ended.put(None))  # in the place of Ray's own
    signal.signal(signal.SIGUSR1, lambda *_: wanted.put(None))
    say("client", id=client)
    own = os.environ["RAY_NODE_HOST"]
    threads = [
        threading.Thread(target=creations, args=(own,)),
        threading.Thread(target=tables),
        *(threading.Thread(target=increments, args=(client, host)) for host in hosts),
        *(threading.Thread(target=tasks, args=("task", host, 0.0, 2 * CALL_SECONDS)) for host in hosts),
        threading.Thread(target=tasks, args=("long", own, LONG_SECONDS, 6 * LONG_SECONDS)),
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    ended.get()
    stopped.set()
    for thread in threads[2 : 2 + len(hosts)]:
        thread.join(2 * CALL_SECONDS)
    for host in hosts:
        final(host)
    os._exit(0)  # threads that wait for a head would keep it


main(sys.argv[1], sys.argv[2:])
