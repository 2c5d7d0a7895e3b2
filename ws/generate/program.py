"""Runs the program for its declarations alone: the embedded engine's way, without making containers.

Files that containers mount (programs, secrets) are written, as a deployment does. Images are built only on request.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.stack_file import StackConfig
from docker_api.api import DockerApi, DockerError
from embedded_engine.changes import COMMAND, IMAGE, PULLED_IMAGE, Change, Display
from embedded_engine.deployment import Deployment
from embedded_engine.program import Monitor, Outcome, run_program
from embedded_engine.registration import Registration
from embedded_engine.resources.base import ResourceType
from embedded_engine.resources.command import Command
from embedded_engine.resources.image import Image, RemoteImage
from stack.identity import GENERATES, StackIdentity
from stack.state import stack_folder
from verification.spec import ENVIRONMENT, VerificationSpec

# Modules of commands that are not about images.
OF_CONTAINERS = ("verification", "docker_api.volume_owner", "docker_api.database_dump")


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the program declares of one stack."""

    project: str
    stack: str
    resources: tuple[Registration, ...]
    tags: Mapping[str, str] = field(default_factory=dict)  # image ID → tag, of images that were built or looked up
    verification: VerificationSpec | None = None  # None: no service can run the checks
    failed: tuple[Change, ...] = ()  # builds that failed

    def of_type(self, kind: str) -> list[Registration]:
        """The resources of a type."""
        return [one for one in self.resources if one.type == kind]

    @property
    def images(self) -> tuple[str, ...]:
        """The images that containers run, by the names that they have in the file."""
        return tuple(sorted(_name(one) for one in self.resources if _is_image(one)))

    @property
    def local_images(self) -> frozenset[str]:
        """Those of them that are built and pushed nowhere."""
        return frozenset(_name(one) for one in self.of_type(IMAGE) if one.inputs.get("skipPush"))


class _Exporter:
    """Answers each registration; builds images if there is a deployment for them."""

    def __init__(self, deployment: Deployment | None) -> None:
        self._deployment = deployment
        self._lock = threading.Lock()
        self.found: list[Registration] = []
        self.tags: dict[str, str] = {}

    def handle(self, wanted: Registration) -> Outcome:
        with self._lock:
            self.found.append(wanted)
        outcome = self._deployment.handle(wanted) if self._deployment and _makes_image(wanted) else _as_made(wanted)
        if outcome and _is_image(wanted):
            outputs = outcome[1]
            with self._lock:
                self.tags |= {str(outputs[key]): _name(wanted) for key in ("repoDigest", "imageId") if key in outputs}
        return outcome


def declared(folder: Path, config: StackConfig, display: Display, *, build: bool) -> Declared:
    """Runs the program of `folder`. With `build` images that are missing are built or pulled.

    Raises `ProgramError` for what the program refuses.
    """
    cancelled = threading.Event()
    deployment = _image_deployment(config, display, cancelled) if build else None
    exporter = _Exporter(deployment)
    with _told_so():
        run_program(folder, config, Monitor(exporter.handle), preview=False, on_interrupt=cancelled.set)
    specs = (one.inputs.get("environment", {}).get(ENVIRONMENT) for one in exporter.found if one.type == COMMAND)
    spec = next(filter(None, specs), None)
    return Declared(
        project=config.project,
        stack=config.stack,
        resources=tuple(exporter.found),
        tags=exporter.tags,
        verification=VerificationSpec.model_validate_json(spec) if spec else None,
        failed=tuple(change for change in deployment.changes.values() if change.error) if deployment else (),
    )


def missing(images: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the images that this Docker host lacks; none where no Docker answers."""
    api = DockerApi()
    try:
        return tuple(image for image in images if api.find(f"/images/{image}/json") is None)
    except DockerError:
        return ()


def _image_deployment(config: StackConfig, display: Display, cancelled: threading.Event) -> Deployment:
    api = DockerApi()
    commands = stack_folder(StackIdentity(project=config.project, stack=config.stack)) / "commands"
    types: dict[str, ResourceType] = {
        IMAGE: Image(api),
        PULLED_IMAGE: RemoteImage(api),
        COMMAND: Command(commands, lambda tag: api.find(f"/images/{tag}/json") is not None, cancelled),
    }
    return Deployment(types, display, preview=False, cancelled=cancelled)


def _is_image(wanted: Registration) -> bool:
    return wanted.type in (IMAGE, PULLED_IMAGE)


def _name(image: Registration) -> str:
    return str(image.inputs.get("imageName") or image.inputs["name"])


def _makes_image(wanted: Registration) -> bool:
    """Whether it is an image, or a command about images: those of bases, tags and reports."""
    return _is_image(wanted) or (
        wanted.type == COMMAND and not any(f"-m {one}" in wanted.inputs["create"] for one in OF_CONTAINERS)
    )


def _as_made(wanted: Registration) -> Outcome:
    """The answer of an engine that has made it; an image's ID is its tag, which is one for its content."""
    inputs = wanted.inputs
    outputs = {"name": inputs["name"]} if "name" in inputs else {}
    if wanted.type == IMAGE:
        outputs |= {"repoDigest": inputs["imageName"]}
    if wanted.type == PULLED_IMAGE:
        outputs |= {"imageId": inputs["name"]}
    if wanted.type == COMMAND:
        outputs |= {"stdout": ""}
    return wanted.name, outputs


@contextmanager
def _told_so() -> Iterator[None]:
    """Tells the program that nothing is deployed: it then leaves the record of who owns the stack as it is."""
    os.environ[GENERATES] = "1"
    try:
        yield
    finally:
        del os.environ[GENERATES]
