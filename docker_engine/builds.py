"""Builds by the Engine's own BuildKit: ``POST /build?version=2`` with the context as a tar body.

Needs no docker CLI and no buildx; tried on Engine 20.10. Each step is reported while it runs.
"""

import base64
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docker.utils.build import exclude_paths
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from docker_engine.api import DockerApi

LOG_LINES = 30
TRACE = "moby.buildkit.trace"


class BuildError(Exception):
    """A step failed; names it and shows the end of its output."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One image to build. Paths are relative to the project."""

    tag: str
    context: Path
    dockerfile: Path
    target: str | None
    args: dict[str, str]
    platform: str


def build(api: DockerApi, wanted: Build, progress: Callable[[str], None]) -> str:
    """Builds and tags the image; returns its ID. Raises `BuildError`."""
    progress("sending the context")
    trace = _Trace(progress)
    query = {
        "version": "2",
        "t": wanted.tag,
        "dockerfile": "Dockerfile",
        "buildargs": json.dumps(wanted.args),
        "platform": wanted.platform,
        **({"target": wanted.target} if wanted.target else {}),
    }
    body = context_tar(wanted)
    for message in api.stream("/build", query=query, data=body, headers={"Content-Type": "application/x-tar"}):
        if "error" in message:
            raise BuildError(trace.explain(message["error"]))
        if message.get("id") == TRACE:
            trace.take(base64.b64decode(message["aux"]))
    found = api.find(f"/images/{wanted.tag}/json")
    if found is None:
        raise BuildError(f"the build of {wanted.tag} ended without an image")
    return str(found["Id"])


def context_tar(wanted: Build) -> bytes:
    """The context as it is sent: sorted, with normal modes and no times, so that only contents count."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "Dockerfile", wanted.dockerfile)
        for name in context_files(wanted.context, wanted.dockerfile):
            _add(tar, name, wanted.context / name)
    return buffer.getvalue()


def context_files(context: Path, dockerfile: Path) -> list[str]:
    """Paths, relative to `context`, of the files that ``<Dockerfile>.dockerignore`` lets in; sorted."""
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    rules = ignore.read_text().splitlines() if ignore.is_file() else []
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


class _Trace:
    """What BuildKit tells of its steps (``moby.buildkit.v1.StatusResponse``)."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._names: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._logs: dict[str, list[str]] = {}
        self._shown = 0.0

    def take(self, message: bytes) -> None:
        status = _status_response()()
        status.ParseFromString(message)
        for vertex in status.vertexes:
            self._names[vertex.digest] = vertex.name
            if vertex.error:
                self._errors[vertex.digest] = vertex.error
            elif vertex.started and not vertex.completed and not vertex.cached:
                self._progress(vertex.name)
        for log in status.logs:
            lines = self._logs.setdefault(log.vertex, [])
            lines.extend(self._lines(log.msg))
            del lines[:-LOG_LINES]
            if lines and time.monotonic() - self._shown > 0.5:
                self._shown = time.monotonic()
                self._progress(f"{self._names.get(log.vertex, '')} │ {lines[-1]}")

    def explain(self, error: str) -> str:
        """The error, the step that failed and the end of what it printed."""
        # A step that was cancelled because another failed is no cause.
        failed = [d for d, text in self._errors.items() if "context canceled" not in text] or list(self._errors)
        if not failed:
            return error
        log = "\n".join(self._logs.get(failed[0], []))
        return f"{self._names.get(failed[0], 'a step')} failed: {error}\n{log}".rstrip()

    @staticmethod
    def _lines(content: bytes) -> Iterator[str]:
        for line in content.decode(errors="replace").replace("\r", "\n").splitlines():
            if line.strip():
                yield line.strip()


@cache
def _status_response() -> Any:  # noqa: ANN401 (a class made at run time)
    """The message class, from the few fields that we read of api/services/control/control.proto in moby/buildkit."""
    field = descriptor_pb2.FieldDescriptorProto
    string, message, boolean, raw = field.TYPE_STRING, field.TYPE_MESSAGE, field.TYPE_BOOL, field.TYPE_BYTES
    messages = {
        "Vertex": (
            ("digest", 1, string), ("name", 3, string), ("cached", 4, boolean), ("started", 5, raw),
            ("completed", 6, raw), ("error", 7, string),
        ),
        "VertexLog": (("vertex", 1, string), ("msg", 4, raw)),
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="cslr/buildkit.proto", package="cslr.buildkit", syntax="proto3")
    for name, fields in messages.items():
        declared = file.message_type.add(name=name)
        for label, number, scalar in fields:
            declared.field.add(name=label, number=number, type=scalar, label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="StatusResponse")
    for label, number, kind in (("vertexes", 1, "Vertex"), ("logs", 3, "VertexLog")):
        response.field.add(
            name=label, number=number, type=message, label=field.LABEL_REPEATED, type_name=f".cslr.buildkit.{kind}"
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cslr.buildkit.StatusResponse"))
