"""Restarts unhealthy containers of its stack, which Docker itself only reports.

Runs in a container without network that has the Docker socket and nothing else. Standard library only, Python 3.10 or
newer.

    -m entrypoints.keeper           watch and restart until SIGTERM
    -m entrypoints.keeper health    0 if the last check of the containers was recent, else 1 and the reason

Settings: contracts/keeper.py.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from contracts.document import DocumentError, dump, load_settings
from contracts.exporter import ContainerList, ListedContainer
from contracts.keeper import KeeperSettings, Look
from entrypoints.heartbeat import Heartbeat
from entrypoints.log import logger

LOOK_SECONDS = 5.0
# A container is restarted after it was unhealthy for this long; the time doubles with each restart.
FIRST_WAIT, LONGEST_WAIT = 10.0, 300.0
LIMIT, WINDOW = 5, 3600.0  # after LIMIT restarts within WINDOW seconds an operator has to act
FORGOTTEN_AFTER = 600.0  # the history of a container that was healthy for this long is forgotten
CALL_SECONDS = 10.0
RESTART_SECONDS = 180.0  # stopping may take the container's whole grace period (Ray: 60 s)
# A restarted Docker daemon makes a new socket file, which this container sees only after its own restart.
SILENCE_SECONDS = 60.0
STALE_SECONDS = 30.0
TELL_SECONDS = 15.0  # the health service hears at least this often that the keeper still looks
HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)$")
HEARTBEAT = Heartbeat("keeper")
SHOWN = 160  # characters of the last health check's output

say = logger("keeper")


class EngineError(Exception):
    """Docker does not answer, or refuses: one sentence."""


# ------------------------------------------------------------------------------------------------- the policy


@dataclass
class History:
    """The restarts of one container."""

    identifier: str  # another container of the same name has another history
    restarts: list[float] = field(default_factory=list)  # times of the latest restarts
    unhealthy_since: float | None = None
    healthy_since: float | None = None
    given_up: bool = False

    def wait(self) -> float:
        """Seconds that it may stay unhealthy before the next restart."""
        return min(FIRST_WAIT * 2.0 ** len(self.restarts), LONGEST_WAIT)


class Policy:
    """Decides which containers to restart from their health over time. Knows no Docker and no clock."""

    def __init__(self) -> None:
        self._histories: dict[str, History] = {}

    def decide(
        self, now: float, unhealthy: Mapping[str, str], healthy: Mapping[str, str]
    ) -> tuple[list[str], list[str]]:
        """Names of the containers to restart now, and of those to give up now; each counts as done.

        `unhealthy` and `healthy` map names to IDs; a container in neither is starting or stopped.
        """
        restart, give_up = [], []
        self._histories = {name: self._known(name, {**unhealthy, **healthy}) for name in {*self._histories, *unhealthy}}
        for name, history in self._histories.items():
            self._note(history, now, is_unhealthy=name in unhealthy, is_healthy=name in healthy)
            if history.unhealthy_since is None or history.given_up:
                continue
            if len(history.restarts) >= LIMIT:
                history.given_up = True
                give_up.append(name)
            elif now - history.unhealthy_since >= history.wait():
                history.restarts.append(now)
                history.unhealthy_since = None
                restart.append(name)
        return restart, give_up

    def restarts(self, name: str) -> int:
        """The number of remembered restarts of a container."""
        return len(self._histories[name].restarts)

    def _known(self, name: str, seen: Mapping[str, str]) -> History:
        known = self._histories.get(name)
        identifier = seen.get(name, known.identifier if known else "")
        return known if known and known.identifier == identifier else History(identifier)

    @staticmethod
    def _note(history: History, now: float, *, is_unhealthy: bool, is_healthy: bool) -> None:
        history.unhealthy_since = (history.unhealthy_since or now) if is_unhealthy else None
        history.healthy_since = (history.healthy_since or now) if is_healthy else None
        if history.healthy_since is not None and now - history.healthy_since >= FORGOTTEN_AFTER:
            history.restarts.clear()
            history.given_up = False
        if not history.given_up:
            history.restarts = [at for at in history.restarts if now - at < WINDOW]


# ------------------------------------------------------------------------------------------------- Docker


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """See the base class."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """The calls of the Docker Engine that the keeper makes."""

    def __init__(self, path: str, labels: Mapping[str, str], own_service: str) -> None:
        self._path = path
        self._labels = [f"{key}={value}" for key, value in sorted(labels.items())]
        self._own_service = own_service

    def containers(self, health: str) -> dict[str, str]:
        """The stack's running containers with this health, except the keeper and paused ones: name → ID."""
        found = self._list(status=["running"], health=[health])
        return {
            container["Names"][0].lstrip("/"): container["Id"]
            for container in found
            if container["Labels"].get("cslr.component") != self._own_service
        }

    def all(self) -> list[dict[str, Any]]:
        """The Engine's entries of all of the stack's containers, those that do not run included."""
        return self._list()

    def _list(self, **filters: list[str]) -> list[dict[str, Any]]:
        query = quote(json.dumps({"label": self._labels, **filters}))
        found: list[dict[str, Any]] = self._call("GET", f"/containers/json?all=1&filters={query}", CALL_SECONDS)
        return found

    def is_stopped(self, identifier: str) -> bool:
        """Whether the container exists and is not running."""
        try:
            state = self._call("GET", f"/containers/{identifier}/json", CALL_SECONDS)["State"]
        except EngineError:  # it is gone
            return False
        return state.get("Status") in ("created", "exited")

    def last_answer(self, identifier: str) -> str:
        """The output of the container's last health check, in one line."""
        state = self._call("GET", f"/containers/{identifier}/json", CALL_SECONDS)["State"]
        checks = (state.get("Health") or {}).get("Log") or [{}]
        answer = " ".join((checks[-1].get("Output") or "no answer").split())
        return answer if len(answer) <= SHOWN else f"{answer[:SHOWN]}…"

    def restart(self, identifier: str) -> None:
        """Stop the container with its configured grace period, and start it."""
        self._call("POST", f"/containers/{identifier}/restart", RESTART_SECONDS)

    def _call(self, method: str, path: str, seconds: float) -> Any:  # noqa: ANN401 (JSON)
        connection = UnixConnection(self._path, seconds)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= http.client.BAD_REQUEST:
                raise EngineError(f"Docker answered {answer.status}: {' '.join(body.decode(errors='replace').split())}")
            return json.loads(body) if body else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineError(f"Docker does not answer at {self._path}: {error or type(error).__name__}") from error
        finally:
            connection.close()


# ------------------------------------------------------------------------------------------------- the keeper


def listed(found: Iterable[Mapping[str, Any]]) -> ContainerList:
    """The running containers of the Engine's entries, for the exporter."""
    return ContainerList(
        containers=tuple(
            ListedContainer(
                identifier=container["Id"],
                name=container["Names"][0].lstrip("/"),
                service=container["Labels"].get("cslr.component", ""),
                image=container["Image"],
                host_network=container["HostConfig"]["NetworkMode"] == "host",
            )
            for container in sorted(found, key=lambda container: str(container["Id"]))
            if container["State"] == "running"
        )
    )


def states(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """How each service of the Engine's entries is, for the health service."""
    # Of several containers of a service, such as while one is replaced, the one that runs.
    ordered = sorted(found, key=lambda container: container["State"] == "running")
    return {container["Labels"].get("cslr.component", ""): _state(container) for container in ordered}


def _state(container: Mapping[str, Any]) -> str:
    """The Engine's listing gives health only in words: `Up 2 minutes (healthy)`, `Up 2 seconds (health: starting)`."""
    state = str(container["State"])
    word = HEALTH.search(container["Status"]) if state == "running" else None
    return word[1] if word else state


class Told:
    """A file in which others read what the keeper knows, written anew when that changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: object = None
        self._time = 0.0
        self._complaint = ""

    def write(self, known: object, document: object, now: float, *, again: float | None = None) -> None:
        """Replace what it says if `known` is new, or `again` seconds have passed.

        A disk that is full costs others what they would read, and must cost nothing here: the next call tries again.
        """
        if known == self._known and (again is None or now - self._time < again):
            return
        draft = self._file.with_suffix(".draft")
        try:
            draft.unlink(missing_ok=True)  # what is there may be a pipe, on which a writer would wait
            with draft.open("x", encoding="utf-8") as file:
                file.write(dump(document))
            draft.chmod(0o644)
            draft.replace(self._file)
        except OSError as error:
            complaint = f"{self._file} cannot be written: {error.strerror}"
            if complaint != self._complaint:
                say(f"{complaint}. This is tried again every {LOOK_SECONDS:.0f} s.")
            self._complaint = complaint
            return
        self._known, self._time, self._complaint = known, now, ""


class Keeper:
    """Checks all containers periodically; restarts each in its own thread, so that a slow one delays no other.

    `heartbeat` tells `health` when the last check was.
    """

    def __init__(
        self, engine: Engine, heartbeat: Heartbeat, listing: Told | None = None, look: Told | None = None
    ) -> None:
        self._engine = engine
        self._listing = listing
        self._look = look
        self._heartbeat = heartbeat
        self._policy = Policy()
        self._busy: dict[str, threading.Thread] = {}
        self._half: dict[str, str] = {}  # stopped for a restart whose start failed: name → ID

    def look(self, now: float) -> None:
        """Check all containers once and do what is due. Raises EngineError."""
        self._busy = {name: thread for name, thread in self._busy.items() if thread.is_alive()}
        # A container that is being restarted counts as neither: its health is from before.
        unhealthy, healthy = (
            {name: identifier for name, identifier in self._engine.containers(health).items() if name not in self._busy}
            for health in ("unhealthy", "healthy")
        )
        self._half = {name: one for name, one in self._half.items() if self._engine.is_stopped(one)}
        unhealthy |= {name: one for name, one in self._half.items() if name not in self._busy}
        self._tell()
        self._heartbeat.beat()
        restart, give_up = self._policy.decide(now, unhealthy, healthy)
        for name in give_up:
            say(
                f"{name} is unhealthy again after {LIMIT} restarts in {WINDOW / 60:.0f} minutes: giving up. Its log "
                f"says why; `ws up` restarts it. After {FORGOTTEN_AFTER / 60:.0f} healthy minutes it is kept as before."
            )
        for name in restart:
            self._busy[name] = threading.Thread(target=self._restart, args=(name, unhealthy[name]), daemon=True)
            self._busy[name].start()

    def _tell(self) -> None:
        if not self._listing and not self._look:
            return
        found, now = self._engine.all(), time.monotonic()
        if self._listing:
            containers = listed(found)
            self._listing.write(containers, containers, now)
        if self._look:
            services = states(found)
            self._look.write(services, Look(time=now, services=services), now, again=TELL_SECONDS)

    def wait(self) -> None:
        """Wait until every restart that was begun has ended."""
        for thread in self._busy.values():
            thread.join()

    def _restart(self, name: str, identifier: str) -> None:
        number = self._policy.restarts(name)
        try:
            say(f"{name} is unhealthy ({self._engine.last_answer(identifier)}): restart {number} of at most {LIMIT}")
            self._engine.restart(identifier)
        except EngineError as error:
            self._half[name] = identifier
            say(f"{name} could not be restarted, which is tried again: {error}")


def run(environment: Mapping[str, str]) -> int:
    """Watch until SIGTERM; 1 if Docker did not answer for too long, or if the settings are invalid."""
    try:
        settings = load_settings(KeeperSettings, environment)
    except DocumentError as error:
        say(f"{error}.")
        return 1
    # Not an Event, whose lock may be held by the very thread that a signal interrupts.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    labels = {"cslr.project": settings.project, "cslr.stack": settings.stack}
    listing, seen = (Told(file) if file else None for file in (settings.containers, settings.look))
    keeper = Keeper(Engine(str(settings.socket), labels, settings.service), HEARTBEAT, listing, seen)
    say(f"watching the containers of {settings.project}, stack {settings.stack}")
    answered = time.monotonic()
    complaint = ""
    while signals.empty():
        now = time.monotonic()
        try:
            keeper.look(now)
            answered, complaint = now, ""
        except EngineError as error:
            if str(error) != complaint:
                complaint = str(error)
                say(complaint)
            if now - answered > SILENCE_SECONDS:
                return 1
        with suppress(queue.Empty):
            signals.get(timeout=LOOK_SECONDS)
            break
    return 0


def health() -> int:
    """0 if the last check was recent; else 1 and the reason on stdout."""
    age = HEARTBEAT.age()
    if age is None:
        print("has not seen the containers yet: does Docker answer?")
        return 1
    print(f"looked {age:.0f} s ago")
    return 0 if age < STALE_SECONDS else 1


if __name__ == "__main__":
    sys.exit(health() if sys.argv[1:] == ["health"] else run(os.environ))
