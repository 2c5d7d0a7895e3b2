"""Records builds of the genuine Pulumi in the build report, from its provider's messages.

pulumi-docker forwards BuildKit's messages as text and without their times: a step is mentioned when it is planned, when
it starts and when it ends. So times here are those of the mentions, slightly late, and a step without duration was
cached.
"""

import contextlib
import time
from collections import deque
from typing import Any

from build_report.records import BuildRecord, subject_of
from build_report.runs import current_run
from build_report.store import Store, StoreError, record_build
from docker_api.api import DockerApi, DockerError
from docker_api.step import Step

DIGEST, ERROR = "digest: ", "error: "
INTERNAL = "[internal] "  # steps that begin without being planned
NO_TIME = 0.05  # seconds
LOG_LINES = 30


class BuildWatch:
    """One build in progress."""

    def __init__(self) -> None:
        self._started = time.time()
        self._names: dict[str, str] = {}  # by the step's digest
        self._errors: dict[str, str] = {}
        self._mentions: dict[str, list[float]] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def log(self) -> str:
        """The end of what its steps printed."""
        return "\n".join(self._log)

    def take(self, text: str) -> None:
        """One message of the provider."""
        lines = iter(text.splitlines())
        digest = ""
        for line in lines:
            if line.startswith(DIGEST):
                digest = line.removeprefix(DIGEST)
                self._names[digest] = next(lines, "")
                self._mentions.setdefault(digest, []).append(time.time())
            elif line.startswith(ERROR) and digest:
                self._errors[digest] = line.removeprefix(ERROR)
            elif line.strip():
                self._log.append(line.strip())

    def steps(self) -> tuple[Step, ...]:
        """The steps that began, with approximate times."""
        found = []
        for digest, mentions in self._mentions.items():
            name, error = self._names[digest], self._errors.get(digest, "")
            times = mentions if name.startswith(INTERNAL) else mentions[1:]
            if times:
                cached = times[-1] - times[0] < NO_TIME and not error
                found.append(Step(name=name, started=times[0], completed=times[-1], cached=cached, error=error))
        return tuple(found)

    def record(self, state: dict[str, Any], error: str | None = None) -> None:
        """Records the build, whose resource has this `state`."""
        build, tag, ended = state["inputs"]["build"], state["inputs"]["imageName"], time.time()
        with contextlib.suppress(DockerError, StoreError):  # a gap in the report is no reason to stop a deployment
            api = DockerApi()
            found = None if error else api.find(f"/images/{tag}/json")
            record_build(
                BuildRecord(
                    tag=tag,
                    subject=subject_of(tag, platform=build["platform"], target=build.get("target")),
                    engine="pulumi",
                    started=self._started,
                    ended=ended,
                    result="failed" if error else "built",
                    error=error or "",
                    image_id=found["Id"] if found else None,
                    steps=self.steps(),
                    builder=api.call("GET", "/version")["Version"],
                    usage=Store().usage(current_run(), self._started, ended),
                )
            )
