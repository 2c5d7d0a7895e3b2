"""What measurements of one image's build share: a copy of its context to change, and builds that are timed."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from build_report.units import whole_duration
from config.project import FOLDER
from docker_api.api import DockerApi
from docker_api.builds import Build, build, context_files
from images.base.recipe import PLATFORM, base_tag
from images.catalog import Image

# In each change, so that no step comes from what an earlier run of the measurement left in the build cache.
RUN = str(time.time_ns())


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A kind of change."""

    name: str
    former: str
    goal: float  # seconds
    change: Callable[[Path, str], None]  # of a copy of the context, and of the Dockerfile in it


def nothing(_folder: Path, _dockerfile: str) -> None:
    """Cold: all is as it was."""


def base_of(image: Image, api: DockerApi) -> str:
    """The tag of its base, made if it is not here."""
    base = base_tag(image.suite, "bootstrap")
    if not api.find(f"/images/{base}/json"):
        command = [sys.executable, "-m", "images.base.bootstrap", "--suite", image.suite, "--source", "bootstrap"]
        subprocess.run([*command, "--tag", base], check=True)
    return base


def copy_context(image: Image, folder: Path) -> None:
    """Copies what the build is sent, and the Dockerfile."""
    for file in (*context_files(image.folder, image.dockerfile), image.recipe, f"{image.recipe}.dockerignore"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.folder / file, folder / file)


def timed(api: DockerApi, folder: Path, dockerfile: str, tag: str, args: dict[str, str], *, fresh: bool) -> float:
    """Builds the folder's present content; returns the seconds. `fresh`: no step comes from the build cache."""
    wanted = Build(
        tag=tag,
        context=folder,
        dockerfile=folder / dockerfile,
        target=None,
        args=args,
        platform=PLATFORM,
        fresh=fresh,
    )
    began = time.monotonic()
    build(api, wanted, lambda _: None)
    return time.monotonic() - began


def size(api: DockerApi, tag: str) -> int:
    """Bytes of an image, unpacked."""
    return int(api.call("GET", f"/images/{tag}/json")["Size"])


def remove(api: DockerApi, *tags: str) -> None:
    """Removes images of a measurement."""
    for tag in tags:
        if api.find(f"/images/{tag}/json"):
            api.call("DELETE", f"/images/{tag}", query={"force": "true"})


def relative(file: Path) -> str:
    """A file of the project, as its documents name it."""
    return file.relative_to(FOLDER).as_posix()


def seconds(value: float) -> str:
    """For people."""
    return f"{value:.1f} s" if value < 60 else whole_duration(value)


def verdict(reached: bool) -> str:
    """Whether a goal was met."""
    return "reached" if reached else "**missed**"
