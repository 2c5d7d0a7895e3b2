"""Drift: differences between the host and what a stack declares. Changes nothing.

Runs the program as a preview does, and compares each resource with the object of its name. Objects of this engine carry
the inputs that they were made with; those count, so that an edit that is not deployed yet is no drift. What Pulumi made
is compared with what the program declares.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.stack_file import StackConfig
from docker_api.api import DockerApi, DockerError, Json
from embedded_engine import comparison
from embedded_engine.changes import CONTAINER, IMAGE, NETWORK, PULLED_IMAGE, VOLUME
from embedded_engine.comparison import MISSING, UNDECLARED, Drift
from embedded_engine.differences import differences
from embedded_engine.labels import recorded_inputs
from embedded_engine.program import Monitor, Outcome, run_program
from embedded_engine.registration import Registration
from stack.identity import VOLUME_OWNER, StackIdentity
from stack.owner import CLIENT

PATHS = {CONTAINER: "/containers/{}/json", NETWORK: "/networks/{}", VOLUME: "/volumes/{}"}
COME_AND_GO = (CLIENT, VOLUME_OWNER)  # components of containers that no resource declares
# Types of images → the input with their name, the output with their ID.
IMAGES = {IMAGE: ("imageName", "repoDigest"), PULLED_IMAGE: ("name", "imageId")}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The host beside the declaration."""

    drifts: tuple[Drift, ...]
    images: Mapping[str, str | None] = field(default_factory=dict)  # declared name → ID of what has it on this host
    pulled: frozenset[str] = frozenset()  # of these names, those that no build makes
    pending: tuple[str, ...] = ()  # resources that `up` would change, whatever the host has


class _Observer:
    """Answers each registration with what the host has, and compares the two."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self.drifts: list[Drift] = []
        self.images: dict[str, str | None] = {}
        self.pulled: set[str] = set()
        self.pending: list[str] = []
        self.error: DockerError | None = None
        self.names: dict[str, set[str]] = {CONTAINER: set(), NETWORK: set()}

    def handle(self, wanted: Registration) -> Outcome:
        """Never raises: the program would report it as a defect of its own."""
        try:
            if wanted.type in IMAGES:
                return self._image(wanted)
            return self._object(wanted) if wanted.type in PATHS else ("", {})
        except DockerError as error:
            self.error = error
            return None

    def _object(self, wanted: Registration) -> Outcome:
        name = wanted.inputs["name"]
        found = self._api.find(PATHS[wanted.type].format(name))
        drifts = list(self._compared(wanted, found))
        with self._lock:
            self.names.get(wanted.type, set()).add(name)
            self.drifts += drifts
        return (found or {}).get("Id", name), {"name": name}

    def _image(self, wanted: Registration) -> Outcome:
        key, output = IMAGES[wanted.type]
        name = wanted.inputs[key]
        found = self._api.find(f"/images/{name}/json")
        with self._lock:
            self.images[name] = found["Id"] if found else None
            if wanted.type == PULLED_IMAGE:
                self.pulled.add(name)
            if found is None:
                self.drifts.append(Drift(kind="image", name=name, difference=MISSING))
        return (found["Id"], {output: found["Id"], "name": name}) if found else ("", {})

    def _compared(self, wanted: Registration, found: Json | None) -> Iterator[Drift]:
        if found is None:
            yield Drift(kind=comparison.KINDS[wanted.type], name=wanted.inputs["name"], difference=MISSING)
        elif wanted.type == CONTAINER:
            image = self._api.find(f"/images/{found['Image']}/json")
            yield from comparison.container(self._deployed(wanted, found["Config"]["Labels"]), found, image)
        elif wanted.type == NETWORK:
            yield from comparison.network(self._deployed(wanted, found["Labels"]), found)
        else:
            yield from comparison.volume(wanted.inputs, found)

    def _deployed(self, wanted: Registration, labels: dict[str, str] | None) -> dict[str, Any]:
        """The inputs that an object was made with, if this engine made it; else those that are declared."""
        deployed = comparison.made_with(labels) if wanted.type == CONTAINER else recorded_inputs(labels)
        if deployed is None:
            return wanted.inputs
        if differences(deployed, wanted.recorded):
            with self._lock:
                self.pending.append(wanted.inputs["name"])
        return deployed


def observe(folder: Path, config: StackConfig) -> Observation:
    """Compares a stack with the host.

    Raises:
        ProgramError: the program refuses the config.
        DockerError: Docker does not answer.
    """
    api = DockerApi()
    observer = _Observer(api)
    run_program(folder, config, Monitor(observer.handle), preview=True)
    if observer.error:
        raise observer.error
    strangers = _strangers(api, StackIdentity(project=config.project, stack=config.stack), observer.names)
    drifts = sorted([*observer.drifts, *strangers], key=lambda one: (one.kind, one.name))
    return Observation(
        drifts=tuple(drifts),
        images=observer.images,
        pulled=frozenset(observer.pulled),
        pending=tuple(sorted(observer.pending)),
    )


def _strangers(api: DockerApi, identity: StackIdentity, declared: Mapping[str, set[str]]) -> Iterator[Drift]:
    """Objects that carry the stack's labels and that the program does not declare."""
    labels = identity.label_filters
    for one in api.labelled("/containers/json", "", labels):
        name = one["Names"][0].removeprefix("/")
        if name not in declared[CONTAINER] and one["Labels"].get("cslr.component") not in COME_AND_GO:
            yield Drift(kind="container", name=name, difference=UNDECLARED)
    for one in api.labelled("/networks", "", labels):
        if one["Name"] not in declared[NETWORK]:
            yield Drift(kind="network", name=one["Name"], difference=UNDECLARED)
