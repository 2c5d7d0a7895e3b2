"""The history of a cluster: events in the order in which they were reported, stored as JSON lines.

Every event has a `kind` and a `time`, in seconds of the one monotonic clock that all processes of this machine share:

    sample      what Redis said: epoch, lease, users, connections (user → how many); or `error`
    increment   one call of a counter: counter, id, start, ok, and life, pid, value where it was acknowledged
    creation    one try to create an actor: start, ok
    task        one task: host, start, ok
    long        one task of several seconds: host, start, ok
    nodes       Ray's table of nodes: alive (names), heads, and jobs (ID → dead)
    final       all increments that a counter knows: counter, life, ids
    fault, end  a fault begins, and what it did is undone: name, and what was hit (`hosts`, `data`)
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]
POLL_SECONDS = 0.05


class History:
    """Events of one cluster; several threads tell them."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file = path.open("a")
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Adds an event that has its time."""
        with self._lock:
            self.events.append(event)
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()

    def now(self, kind: str, **facts: Any) -> Event:
        """Adds an event of this moment."""
        event = {"kind": kind, "time": time.monotonic(), **facts}
        self.tell(event)
        return event

    def since(self, moment: float, kind: str | None = None) -> list[Event]:
        """Events that were told of things that began at a moment or later."""
        matching = [event for event in list(self.events) if kind in (None, event["kind"])]
        return [event for event in matching if event["start" if "start" in event else "time"] >= moment]

    def tail(self, seconds: float = 90.0) -> str:
        """What else than samples was told of late, for a message of failure: an event a line."""
        events = self.since(time.monotonic() - seconds)
        return "".join(f"{json.dumps(event)}\n" for event in events if event["kind"] not in ("sample", "increment"))

    def wait(self, what: str, seconds: float, find: Callable[[], Event | None]) -> Event:
        """Waits until `find` finds an event. Fails with `what` did not happen."""
        deadline = time.monotonic() + seconds
        while True:
            if found := find():
                return found
            assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
            time.sleep(POLL_SECONDS)

    def wait_for(self, kind: str, *, since: float, seconds: float, what: str = "", **facts: Any) -> Event:
        """Waits for an event of a kind with these facts, about something that began at `since` or later."""

        def find() -> Event | None:
            matching = (e for e in self.since(since, kind) if all(e.get(key) == value for key, value in facts.items()))
            return next(matching, None)

        return self.wait(what or f"{kind} {facts}", seconds, find)
