"""Builds with the Engine's own BuildKit: ``POST /build?version=2`` with the context as a tar body.

Needs neither the docker CLI nor buildx; works from Engine 20.10 on. Reports each step while it runs, and its times at
the end.
"""

import base64
import io
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docker_api.api import DockerApi, DockerError
from docker_api.internals import exclude_paths
from docker_api.step import Step
from docker_api.trace import MESSAGE_ID, Trace

# The kernel's error for a program of another architecture without an emulator.
FOREIGN_PROGRAM = "exec format error"
INSTALL_EMULATOR = "apt-get install qemu-user-static binfmt-support"


# A step that unpacks gigabytes prints nothing for minutes; one that downloads times out by itself (uv, pip, apt) and is
# tried again there. What is silent for longer than this hangs.
BUILD_SILENCE = 1800.0  # seconds


class BuildError(Exception):
    """A step failed. The message names it and has the end of its output."""

    def __init__(self, message: str, steps: tuple[Step, ...] = ()) -> None:
        super().__init__(message)
        self.steps = steps


@dataclass(frozen=True, kw_only=True)
class Build:
    """One image to build. Paths are relative to the project."""

    tag: str
    context: Path
    dockerfile: Path
    target: str | None
    args: dict[str, str]
    platform: str
    cache_from: tuple[str, ...] = ()  # images with an inline cache, local or in a registry; missing ones are ignored
    fresh: bool = False  # whether no step is taken from the build cache


@dataclass(frozen=True, kw_only=True)
class Built:
    """The result of a build. Times are in seconds since the epoch."""

    image_id: str
    steps: tuple[Step, ...]
    started: float
    ended: float
    sent: int  # bytes of the context


class _Shown:
    """Repeats the last progress: long steps print nothing, and reporting it raises an interrupt."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._text = ""

    def show(self, text: str) -> None:
        self._text = text
        self._progress(text)

    def repeat(self) -> None:
        self._progress(self._text)


def build(api: DockerApi, wanted: Build, progress: Callable[[str], None]) -> Built:
    """Builds and tags the image. Raises `BuildError`, and whatever `progress` raises, which ends the build."""
    shown = _Shown(progress)
    shown.show("sending the context")
    started = time.time()
    trace = Trace(shown.show)
    query = {
        "version": "2",
        "t": wanted.tag,
        "dockerfile": "Dockerfile",
        "buildargs": json.dumps(wanted.args),
        "platform": wanted.platform,
        **({"target": wanted.target} if wanted.target else {}),
        **({"nocache": "1"} if wanted.fresh else {}),
        **({"cachefrom": json.dumps(wanted.cache_from)} if wanted.cache_from else {}),
    }
    body = context_tar(wanted)
    try:
        headers = {"Content-Type": "application/x-tar"}
        for message in api.stream(
            "/build", query=query, data=body, headers=headers, on_tick=shown.repeat, silence=BUILD_SILENCE
        ):
            if "error" in message:
                raise BuildError(_explain(trace, message["error"], wanted.platform), trace.steps)
            if message.get("id") == MESSAGE_ID:
                trace.take(base64.b64decode(message["aux"]))
        found = api.find(f"/images/{wanted.tag}/json")
    except DockerError as error:
        raise BuildError(str(error), trace.steps) from error
    if found is None:
        raise BuildError(f"the build of {wanted.tag} ended without an image", trace.steps)
    return Built(image_id=str(found["Id"]), steps=trace.steps, started=started, ended=time.time(), sent=len(body))


def _explain(trace: Trace, error: str, platform: str) -> str:
    text = trace.explain(error)
    if FOREIGN_PROGRAM in text:
        text += f"\n  This host cannot run programs for {platform}. Install an emulator, as root: {INSTALL_EMULATOR}"
    return text


def context_tar(wanted: Build) -> bytes:
    """The context to send: sorted, with uniform modes and no times, so that only contents count."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "Dockerfile", wanted.dockerfile)
        for name in context_files(wanted.context, wanted.dockerfile):
            _add(tar, name, wanted.context / name)
    return buffer.getvalue()


def context_files(context: Path, dockerfile: Path) -> list[str]:
    """Paths, relative to `context`, of the files that ``<Dockerfile>.dockerignore`` lets in, or where there is none,
    ``.dockerignore`` of the context; sorted.
    """
    ignores = (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), context / ".dockerignore")
    rules = next((ignore.read_text().splitlines() for ignore in ignores if ignore.is_file()), [])
    patterns = [rule.strip() for rule in rules if rule.strip() and not rule.startswith("#")]
    # The Dockerfile, which is always kept, is sent apart.
    found = exclude_paths(str(context), patterns, dockerfile=dockerfile.name)
    return sorted(name for name in found - {dockerfile.name, ".dockerignore"} if (context / name).is_file())


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    content = path.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))
