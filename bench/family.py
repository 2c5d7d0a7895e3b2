"""A copy of the project in which ``ws matrix`` builds the image family, and the results of each run."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.process import run
from build_report.layers import unique
from build_report.store import Store
from components.image import REPOSITORY
from config.project import FOLDER
from docker_api.api import DockerApi
from testing.live.deployment import copy_project

STACK_FILE = "Pulumi.matrix.yaml"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of one command."""

    seconds: float  # wall time, with the start of the program
    images: int  # that were built
    sent: int  # bytes of build context
    retried: int  # builds that failed first


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the family is. Bytes, unpacked."""

    images: dict[str, int]  # by title
    unique: int  # what a daemon needs for all of them

    @property
    def sum(self) -> int:
        """What they would need if they shared nothing."""
        return sum(self.images.values())


class Family:
    """The copy, and the Engine that builds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_project(folder)
        shutil.copy(FOLDER / STACK_FILE, self.folder)
        self.state = folder / "state"
        self.store = Store(self.state / "cslr" / "builds.sqlite")
        self.api = DockerApi()

    def build(self, *select: str) -> Run:
        """``ws matrix`` with these options. Raises `RuntimeError` with its output if it fails."""
        before = self.store.last_run()
        began = time.monotonic()
        self.call("-m", "ws", "matrix", "--engine", "embedded", "--yes", *select)
        seconds = time.monotonic() - began
        last = self.store.last_run()
        builds = self.store.builds_of_run(last) if last and last != before else []
        return Run(
            seconds=round(seconds, 1),
            images=sum(build.result == "built" and build.timing == "steps" for build in builds),
            sent=sum(build.sent or 0 for build in builds),
            retried=sum(build.result == "failed" for build in builds),
        )

    def sizes(self) -> Sizes:
        """The sizes of all images that were built last."""
        found = {build.subject.title: self.store.image(build.image_id) for build in self.store.newest()}
        images = {title: image for title, image in found.items() if image}
        return Sizes(
            images={title: image.size for title, image in images.items()},
            unique=unique(image.layers for image in images.values()),
        )

    def call(self, *arguments: str) -> None:
        """Runs Python in the copy. Raises `RuntimeError` with its output where it fails."""
        run(self.folder, sys.executable, *arguments, XDG_STATE_HOME=str(self.state))

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Changes a file of the copy. Raises `RuntimeError` if nothing changes: then the scenario tests nothing."""
        file = self.folder / path
        before = file.read_text()
        after = change(before)
        if after == before:
            raise RuntimeError(f"{path}: there is nothing to change any more; adapt the scenario")
        file.write_text(after)

    def forget(self) -> None:
        """No image of the project, no build cache, no package cache, as on a machine that never built it."""
        images = self.api.call("GET", "/images/json")
        tags = [tag for image in images for tag in image["RepoTags"] or () if tag.startswith(f"{REPOSITORY}/")]
        for tag in tags:
            self.api.call("DELETE", f"/images/{tag}", query={"force": "true"})
        self.api.call("POST", "/build/prune", query={"all": "true"})
        self.api.call("POST", "/images/prune", query={"filters": json.dumps({"dangling": ["true"]})})
