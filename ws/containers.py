"""A stack's containers in Docker, for `ws ps` and `ws logs`."""

import heapq
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import docker
import requests
from rich.console import Console
from rich.text import Text

from docker_api.api import DockerApi
from embedded_engine.comparison import drifted_fields
from stack.identity import COMPOSE_LABEL, EMBEDDED_LABEL, VOLUME_OWNER, StackIdentity
from ws.engine_names import EngineName
from ws.errors import WsError

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")
HEALTH_STYLES = {"healthy": "green", "unhealthy": "bold red", "starting": "yellow"}
LOG_SECONDS = 24 * 3600  # for which a followed log may be silent
# `GET /health` of the containers' own checks, and what the health service asks besides; below a path prefix as well.
PROBE = re.compile(
    r"\b(?:GET|HEAD) (?:/[\w.~%-]+)*/(?:health|healthz|version|api/version|api/gcs_healthz|api/status)/? "
    r'HTTP/[\d.]+"? (?:- )?2\d\d\b'
)
MOST_PROBES = 5000  # lines of a log to search for other lines


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """One container of a stack."""

    service: str
    name: str
    identifier: str
    state: str  # running, exited, …
    health: str  # healthy, unhealthy, starting; the state if it has no health check
    status: str  # as Docker words it, to be shown: "Up 2 hours (healthy)"
    image: str
    ports: tuple[str, ...]
    engine: EngineName  # the engine that made it
    compose: bool = False  # whether Docker Compose did, from the file that `ws generate` writes
    image_id: str = ""
    drift: tuple[str, ...] = ()  # fields in which it is not as the embedded engine made it

    @classmethod
    def of(cls, found: dict[str, Any], inspected: dict[str, Any]) -> "ContainerState":
        """From an entry of the Engine's listing, which gives health only as text, and from the inspection."""
        state = inspected["State"]
        health = (state.get("Health") or {}).get("Status", "none")
        published = {
            f"{port.get('IP') or '*'}:{port['PublicPort']} → {port['PrivatePort']}"
            for port in found.get("Ports") or ()
            if "PublicPort" in port
        }
        return cls(
            service=found["Labels"].get("cslr.component", ""),
            name=found["Names"][0].lstrip("/"),
            identifier=found["Id"],
            state=state["Status"],
            health=health if health != "none" and state["Status"] == "running" else state["Status"],
            status=found["Status"],
            image=found["Image"],
            ports=tuple(sorted(published)),
            # Compose keeps no state either: what finds things by their labels can end what it made.
            engine=EngineName.EMBEDDED
            if {EMBEDDED_LABEL, COMPOSE_LABEL} & found["Labels"].keys()
            else EngineName.PULUMI,
            compose=COMPOSE_LABEL in found["Labels"],
            image_id=inspected["Image"],
            drift=drifted_fields(inspected),
        )


def containers(identity: StackIdentity) -> list[ContainerState]:
    """The containers of a stack, running or not, by service."""
    labels = [f"cslr.project={identity.project}", f"cslr.stack={identity.stack}"]
    api = DockerApi()
    every = api.labelled("/containers/json", "", labels)
    listed = [one for one in every if one["Labels"].get("cslr.component") != VOLUME_OWNER]  # it has ended
    inspected = ((entry, api.find(f"/containers/{entry['Id']}/json")) for entry in listed)
    found = (ContainerState.of(entry, state) for entry, state in inspected if state)  # it may be gone since
    return sorted(found, key=lambda container: container.service)


def styled(health: str) -> Text:
    """A health in its colour."""
    return Text(health, style=HEALTH_STYLES.get(health, "red"))


def short(image: str) -> str:
    """An image's name, or the beginning of its ID."""
    return image.removeprefix("sha256:")[:12] if image.startswith("sha256:") else image


def show_logs(
    identity: StackIdentity, services: list[str], *, tail: int, follow: bool, console: Console, probes: bool = False
) -> None:
    """The last `tail` lines of each service, ordered by time; with `follow` also new ones.

    Omits lines of the platform's own health checks in access logs, unless `probes`.
    """
    found = containers(identity)
    if not found:
        raise WsError(f"stack {identity.stack} has no containers. Start it with: ws up --stack {identity.stack}")
    known = {one.service for one in found}
    if unknown := [service for service in services if service not in known]:
        raise WsError(
            f"stack {identity.stack} has no service {', '.join(unknown)}. It has: {', '.join(sorted(known))}."
        )
    wanted = [one for one in found if not services or one.service in services]
    prefixes = _prefixes(wanted)
    client = docker.from_env(timeout=LOG_SECONDS)
    found_there = {one.service: client.containers.get(one.name) for one in wanted}
    tails = {name: tail if probes else _raw_tail(container, tail) for name, container in found_there.items()}
    streams = {
        name: container.logs(stream=True, follow=follow, tail=tails[name], timestamps=True)
        for name, container in found_there.items()
    }
    if not follow:
        lines = [[(*line, service) for line in _lines(stream)] for service, stream in streams.items()]
        shown: Iterable[tuple[str, str]] = ((text, service) for _, text, service in heapq.merge(*lines))
    else:
        shown = _as_they_come(streams)
    for text, service in shown:
        if probes or not is_probe(text):
            _print(console, prefixes[service], text)


def is_probe(text: str) -> bool:
    """Whether a line of an access log belongs to a successful health check."""
    return bool(PROBE.search(text))


def _raw_tail(container: Any, tail: int) -> int:  # noqa: ANN401 - docker is not typed
    """How many lines to read for the last `tail` that are not health checks."""
    if not tail:
        return 0
    lines = container.logs(tail=tail + MOST_PROBES).decode(errors="replace").splitlines()
    ours = [place for place, line in enumerate(reversed(lines), 1) if not is_probe(line)]
    return ours[tail - 1] if len(ours) >= tail else len(lines)


def _prefixes(wanted: list[ContainerState]) -> dict[str, Text]:
    width = max(len(one.service) for one in wanted)
    colours = cycle(COLOURS)
    return {one.service: Text(f"{one.service:<{width}} │ ", style=next(colours)) for one in wanted}


def _lines(stream: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    """Time and text of each line; the Engine's chunks need not be lines."""
    pending = b""
    for piece in stream:
        *whole, pending = (pending + piece).split(b"\n")
        for line in whole:
            time, _, text = line.decode(errors="replace").partition(" ")
            yield time, text


def _as_they_come(streams: Mapping[str, Iterator[bytes]]) -> Iterator[tuple[str, str]]:
    """Text and service of each line of several streams, until all have ended."""
    lines: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def read(service: str, stream: Iterator[bytes]) -> None:
        # A removed container ends its stream, one way or another.
        with suppress(docker.errors.DockerException, requests.RequestException):
            for _, text in _lines(stream):
                lines.put((text, service))
        lines.put(None)

    for service, stream in streams.items():
        threading.Thread(target=read, args=(service, stream), daemon=True).start()
    ended = 0
    while ended < len(streams):
        line = lines.get()
        if line is None:
            ended += 1
        else:
            yield line


def _print(console: Console, prefix: Text, text: str) -> None:
    # The program's own colours are kept on a terminal and dropped elsewhere.
    console.print(prefix + Text.from_ansi(text), soft_wrap=True)


def made_by(found: Iterable[ContainerState]) -> EngineName | None:
    """The engine that made a stack's containers; None without any. One container of Pulumi's decides for Pulumi."""
    engines = {one.engine for one in found if one.service != "verification"}
    return next((engine for engine in EngineName if engine in engines), None)
