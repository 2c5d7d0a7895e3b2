"""The owner of a stack's Docker objects: the one engine state that knows them and may change them.

Pulumi keeps its state in a backend, the embedded engine in labels of the objects. A run whose state does not know the
existing objects would create them a second time and fail half-way, or end everything that runs; so it is refused before
anything changes, with the steps to change owners. Data is in volumes, which both engines adopt.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from config.problems import Problem, SettingsError
from docker_api.api import DockerApi, DockerError
from stack.identity import COMPOSE_LABEL, EMBEDDED_LABEL, StackIdentity
from stack.state import make_closed, stack_folder, write_atomically

Engine = Literal["pulumi", "embedded"]
IN_WORDS = {"pulumi": "Pulumi", "embedded": "the embedded engine"}
RECORD = "owner.json"  # in the stack's folder
CLIENT = "verification"  # the component of a container that comes and goes with a verification
SHOWN = 3  # names in a message
OWN_TARGETS = ("/run/cslr/", "/run/secrets/")  # where a container has programs and secrets, and nothing of the user's


@dataclass(frozen=True, kw_only=True)
class StackObject:
    """A container or network that carries the labels of a stack."""

    kind: Literal["container", "network"]
    name: str
    identifier: str
    embedded: bool  # whether the embedded engine made it
    compose: bool = False  # whether Docker Compose did, from the file that `ws generate` writes
    sources: tuple[str, ...] = ()  # programs and secrets of this host that a container mounts

    @property
    def removal(self) -> str:
        """The command that removes it."""
        return f"docker rm -f {self.name}" if self.kind == "container" else f"docker network rm {self.name}"

    def state_folder(self, identity: StackIdentity) -> str | None:
        """The folder with the stack's secrets and programs that it was made from."""
        inner = f"/{identity.project}/{identity.stack}/"
        found = (re.match(rf"(.+{re.escape(inner)})(?:programs|secrets)/", source) for source in self.sources)
        return next((match[1].rstrip("/") for match in found if match), None)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The objects that the running engine's state knows."""

    engine: Engine
    identifiers: frozenset[str] = frozenset()  # of Docker objects in Pulumi's state

    def knows(self, one: StackObject) -> bool:
        """Whether an object is this state's."""
        return one.embedded if self.engine == "embedded" else one.identifier in self.identifiers


@dataclass(frozen=True, kw_only=True)
class OwnerRecord:
    """The record of a stack's last deployer, in its state folder."""

    engine: Engine
    backend: str = ""  # where Pulumi's state is, without its credentials
    checkout: str = ""

    @classmethod
    def read(cls, folder: Path) -> "OwnerRecord | None":
        """None where it is not known to have been deployed."""
        try:
            found = json.loads((folder / RECORD).read_text())
            return cls(**found) if found["engine"] in IN_WORDS else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, folder: Path) -> None:
        """Keeps it, if it is not what is there."""
        if self != self.read(folder):
            make_closed(folder)
            write_atomically(folder / RECORD, json.dumps(vars(self)).encode(), 0o600)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A stack's objects on this host, and the run that would change them."""

    identity: StackIdentity
    objects: Sequence[StackObject]
    known: Known
    own: OwnerRecord  # of this run
    last: OwnerRecord | None = None
    folder: Path = field(default_factory=Path)  # of the stack, of this run

    @property
    def strangers(self) -> list[StackObject]:
        """The objects that the state of this run does not know."""
        return [one for one in self.objects if not self.known.knows(one)]

    @property
    def leftovers(self) -> list[StackObject]:
        """Those of them that an interrupted run of this same state left: made, and not written down any more."""
        strangers = self.strangers
        if self.known.engine == "embedded" or any(one.embedded for one in strangers):
            return []
        nothing_runs = all(one.kind == "network" for one in strangers)
        last = self.last
        same = bool(last and (last.engine, last.backend) == ("pulumi", self.own.backend) and self.known.identifiers)
        return strangers if nothing_runs or same or len(strangers) < len(self.objects) else []


def stack_objects(identity: StackIdentity, api: DockerApi | None = None) -> tuple[StackObject, ...]:
    """The containers, running or not, and networks of a stack. Raises `DockerError`."""
    api = api or DockerApi()
    labels = identity.label_filters
    found = [
        *_containers(api.labelled("/containers/json", "", labels)),
        *_networks(api.labelled("/networks", "", labels)),
    ]
    return tuple(sorted(found, key=lambda one: (one.kind, one.name)))


def _containers(found: Iterable[Mapping[str, Any]]) -> Iterator[StackObject]:
    for one in found:
        if one["Labels"].get("cslr.component") != CLIENT:
            yield StackObject(
                kind="container",
                name=one["Names"][0].removeprefix("/"),
                identifier=one["Id"],
                embedded=EMBEDDED_LABEL in one["Labels"],
                compose=COMPOSE_LABEL in one["Labels"],
                sources=tuple(
                    mount.get("Source", "")
                    for mount in one.get("Mounts") or ()
                    if mount.get("Destination", "").startswith(OWN_TARGETS)
                ),
            )


def _networks(found: Iterable[Mapping[str, Any]]) -> Iterator[StackObject]:
    for one in found:
        yield StackObject(
            kind="network",
            name=one["Name"],
            identifier=one["Id"],
            embedded=EMBEDDED_LABEL in one["Labels"],
            compose=COMPOSE_LABEL in one["Labels"],
        )


def pulumi_backend(environment: Mapping[str, str]) -> str:
    """Where the Pulumi CLI of this run keeps states, without credentials; empty where that is not known."""
    url = environment.get("PULUMI_BACKEND_URL", "")
    if not url:
        home = environment.get("PULUMI_HOME") or Path.home() / ".pulumi"
        try:
            url = json.loads((Path(home) / "credentials.json").read_text()).get("current") or ""
        except (OSError, ValueError, AttributeError):
            return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def look(identity: StackIdentity, known: Known, checkout: Path, environment: Mapping[str, str]) -> Situation:
    """The situation of a run. If Docker does not answer, there are no objects: other checks report that."""
    try:
        objects = stack_objects(identity)
    except DockerError:
        objects = ()
    folder = stack_folder(identity)
    backend = pulumi_backend(environment) if known.engine == "pulumi" else ""
    own = OwnerRecord(engine=known.engine, backend=backend, checkout=str(checkout))
    last = OwnerRecord.read(folder)
    return Situation(identity=identity, objects=objects, known=known, own=own, last=last, folder=folder)


def check(now: Situation) -> None:
    """Passes if all that is here of the stack is the running state's.

    Raises:
        SettingsError: it is not; says whose it is, and how to change over.
    """
    problem = next((problem for find in CHECKS if (problem := find(now))), None)
    if problem:
        raise SettingsError([problem], f"stack {now.identity.stack}", "")


def of_another_folder(now: Situation) -> Problem | None:
    """Another user's, or of this one with another state folder: its secrets are not this run's."""
    for one in now.objects:
        folder = one.state_folder(now.identity)
        if folder and not _same(folder, now.folder):
            home = str(Path(folder).parents[2])
            return Problem(
                (),
                f"{_listed(now.objects)} of it belong to the state folder {folder}, and this run has {now.folder}",
                "With other secrets all of it would be recreated, and what runs would end. Nothing was changed.\n"
                "Run this as the user who deployed it, or, where the folder is yours, name it:",
                (
                    f"export XDG_STATE_HOME={home}",
                    *_change_over(now, "To take it over with secrets of its own; data is kept:"),
                ),
            )
    return None


def of_compose(now: Situation) -> Problem | None:
    """Started by Docker Compose."""
    others = [one for one in now.objects if one.compose]
    if not others:
        return None
    stack = now.identity.stack
    return Problem(
        (),
        f"{_listed(others)} of it were started by Docker Compose, from the file that `ws generate` writes",
        "What runs in them would end. Nothing was changed. To go on with Compose, write the file again:",
        (
            f"ws generate -s {stack}",
            *_change_over(now, f"To change over to {IN_WORDS[now.known.engine]}; all data is kept:"),
        ),
    )


def of_the_other_engine(now: Situation) -> Problem | None:
    """Made by the other engine."""
    others = [one for one in now.strangers if now.known.engine == "embedded" or one.embedded]
    if not others:
        return None
    other: Engine = "pulumi" if now.known.engine == "embedded" else "embedded"
    stack, own = now.identity.stack, IN_WORDS[now.known.engine]
    go_on = f"ws up -s {stack}" if other == "embedded" else f"pulumi up -s {stack}"
    where = f" in {now.last.backend}" if now.last and now.last.engine == "pulumi" and now.last.backend else ""
    return Problem(
        (),
        f"{_listed(others)} of it were made by {IN_WORDS[other]}{where}, and {own} does not know them",
        f"What runs in them would end. Nothing was changed. To continue with {IN_WORDS[other]}:",
        (go_on, *_change_over(now, f"To change over to {own}, which recreates containers and keeps all data:")),
    )


def of_another_state(now: Situation) -> Problem | None:
    """Made by Pulumi, with another state: another backend, another organisation, or one that was emptied."""
    strangers = now.strangers
    if not strangers or now.leftovers:
        return None
    last, here = now.last, now.own.backend or "this backend"
    known = last and last.engine == "pulumi" and last.backend and last.backend != now.own.backend
    reason = f"{_listed(strangers)} of it are not in Pulumi's state of {here}"
    first = (
        (f"export PULUMI_BACKEND_URL={last.backend}",)
        if last and known
        else (f"pulumi stack import -s {now.identity.stack} --file BACKUP",)
    )
    advice = f"It was deployed to {last.backend}. Choose" if last and known else "The state was lost? Restore"
    return Problem(
        (),
        reason,
        f"Pulumi would make all of it a second time, and fail. Nothing was changed. {advice} that:",
        (*first, *_change_over(now, "To start over with this state; data is kept:")),
    )


def of_an_interrupted_run(now: Situation) -> Problem | None:
    """Made by a run of this state that was killed before it could write that down."""
    left = now.leftovers
    if not left:
        return None
    containers_first = sorted(left, key=lambda one: one.kind)
    return Problem(
        (),
        f"a run that was interrupted left {_listed(left)}, which Pulumi's state does not know",
        f"`ws up -s {now.identity.stack}` removes that by itself. By hand, then run this again; no volume is touched:",
        tuple(one.removal for one in containers_first),
    )


CHECKS = (of_another_folder, of_compose, of_the_other_engine, of_another_state, of_an_interrupted_run)


def another_checkout(now: Situation) -> str | None:
    """A notice if the stack was last deployed from another copy of this program."""
    last, stack = now.last, now.identity.stack
    if not now.objects or last is None or not last.checkout or _same(last.checkout, Path(now.own.checkout)):
        return None
    return (
        f"stack {stack} was deployed last from {last.checkout}; where this checkout differs, it replaces what is there"
    )


def _change_over(now: Situation, advice: str) -> tuple[str, ...]:
    stack = now.identity.stack
    up = f"ws up -s {stack} --engine embedded" if now.known.engine == "embedded" else f"pulumi up -s {stack}"
    return (f"# {advice}", f"ws down -s {stack}", up)


def _same(folder: str, other: Path) -> bool:
    return os.path.realpath(folder) == os.path.realpath(other)


def _listed(objects: Sequence[StackObject]) -> str:
    """How many, and the first of them by name: ``3 containers and 1 network (cslr-dev-redis, …)``."""
    counts = {kind: sum(one.kind == kind for one in objects) for kind in ("container", "network")}
    words = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    names = [one.name for one in objects[:SHOWN]] + (["…"] if len(objects) > SHOWN else [])
    return f"{' and '.join(words)} ({', '.join(names)})"
