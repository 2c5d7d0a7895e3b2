"""BuildKit's status messages: the steps of a build, their times, output and errors.

The Engine forwards ``moby.buildkit.v1.StatusResponse`` messages; only the fields that we read are declared here.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from docker_api.step import Step

MESSAGE_ID = "moby.buildkit.trace"
CACHE_IMPORT = "importing cache manifest"  # beginning of a step's name
LOG_LINES = 30
SHOW_SECONDS = 0.5


class Trace:
    """Collects the messages of one build, and reports progress."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._steps: dict[str, Step] = {}  # by digest, in order of appearance
        self._logs: dict[str, list[str]] = {}
        self._shown = 0.0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps known so far."""
        return tuple(self._steps.values())

    def take(self, message: bytes) -> None:
        """One message."""
        status = _status_response()()
        status.ParseFromString(message)
        for vertex in status.vertexes:
            self._step(vertex)
        for log in status.logs:
            self._log(log)

    def explain(self, error: str) -> str:
        """The error, the step that failed and the end of what it printed."""
        failed = {digest: step for digest, step in self._steps.items() if step.error}
        if not failed:
            return error
        # A step cancelled because another failed is not the cause, nor is a missing cache.
        causes = [
            digest
            for digest, step in failed.items()
            if "context canceled" not in step.error and not step.name.startswith(CACHE_IMPORT)
        ]
        digest = (causes or list(failed))[0]
        log = "\n".join(self._logs.get(digest, []))
        return f"{failed[digest].name or 'a step'} failed: {error}\n{log}".rstrip()

    def _step(self, vertex: Any) -> None:  # noqa: ANN401 (a class made at run time)
        told = Step(
            name=vertex.name,
            started=_seconds(vertex.started) if vertex.HasField("started") else None,
            completed=_seconds(vertex.completed) if vertex.HasField("completed") else None,
            cached=vertex.cached,
            error=vertex.error,
        )
        known = self._steps.get(vertex.digest, told)
        # BuildKit reports a step twice: when it looks it up in the cache, and when it runs it.
        longest = known if known.completed and told.completed and known.seconds > told.seconds else told
        self._steps[vertex.digest] = replace(told, started=longest.started, completed=longest.completed)
        if told.started and not told.completed and not told.cached and not told.error:
            self._progress(told.name)

    def _log(self, log: Any) -> None:  # noqa: ANN401
        lines = self._logs.setdefault(log.vertex, [])
        lines.extend(_lines(log.msg))
        del lines[:-LOG_LINES]
        if lines and time.monotonic() - self._shown > SHOW_SECONDS:
            self._shown = time.monotonic()
            step = self._steps.get(log.vertex)
            self._progress(f"{step.name if step else ''} │ {lines[-1]}")


def _seconds(stamp: timestamp_pb2.Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def _lines(content: bytes) -> Iterator[str]:
    for line in content.decode(errors="replace").replace("\r", "\n").splitlines():
        if line.strip():
            yield line.strip()


@cache
def _status_response() -> Any:  # noqa: ANN401
    """The message class, from the few fields that we read of api/services/control/control.proto in moby/buildkit."""
    field = descriptor_pb2.FieldDescriptorProto
    string, boolean, raw = field.TYPE_STRING, field.TYPE_BOOL, field.TYPE_BYTES
    stamp = f".{timestamp_pb2.Timestamp.DESCRIPTOR.full_name}"
    messages: dict[str, tuple[tuple[str, int, Any], ...]] = {
        "Vertex": (
            ("digest", 1, string), ("name", 3, string), ("cached", 4, boolean), ("started", 5, stamp),
            ("completed", 6, stamp), ("error", 7, string),
        ),
        "VertexLog": (("vertex", 1, string), ("msg", 4, raw)),
        "StatusResponse": (("vertexes", 1, ".cslr.buildkit.Vertex"), ("logs", 3, ".cslr.buildkit.VertexLog")),
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(
        name="cslr/buildkit.proto",
        package="cslr.buildkit",
        syntax="proto3",
        dependency=[timestamp_pb2.DESCRIPTOR.name],
    )
    for name, fields in messages.items():
        declared = file.message_type.add(name=name)
        for label, number, kind in fields:
            repeated = name == "StatusResponse"
            declared.field.add(
                name=label,
                number=number,
                type=field.TYPE_MESSAGE if isinstance(kind, str) else kind,
                type_name=kind if isinstance(kind, str) else None,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cslr.buildkit.StatusResponse"))
