"""What Docker keeps of the output of a stack's containers."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from contracts.document import SETTINGS_VARIABLE, DocumentError, load_settings
from contracts.ray_node import AgentSettings, NodeSettings
from docker_api.api import DockerApi, Json
from stack.identity import StackIdentity
from ws.containers import containers
from ws.logs.entry import CONTAINER, Entry
from ws.logs.grouping import Grouper
from ws.logs.kinds import CONTAINER_KIND, time_of
from ws.logs.probes import is_probe
from ws.logs.query import Query

MOST_PROBES = 5000  # lines of a log to search for other lines


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of the stack, as far as its logs are concerned."""

    service: str
    node: str
    identifier: str
    image: str
    user: str
    zone: str  # the variable TZ; empty for UTC
    mounts: dict[str, Json]  # by target

    @classmethod
    def of(cls, service: str, found: Json) -> "Container":
        """From what Docker says on inspection."""
        env = dict(entry.split("=", 1) for entry in found["Config"].get("Env") or () if "=" in entry)
        return cls(
            service=service,
            node=_node_name(env) or service,
            identifier=found["Id"],
            image=found["Image"],
            user=found["Config"].get("User") or "0:0",
            zone=env.get("TZ", ""),
            mounts={mount["Destination"]: mount for mount in found.get("Mounts") or ()},
        )


def of_stack(identity: StackIdentity, api: DockerApi) -> list[Container]:
    """The containers of a stack, running or not, by service."""
    listed = ((one.service, api.find(f"/containers/{one.identifier}/json")) for one in containers(identity))
    return [Container.of(service, found) for service, found in listed if found]  # it may be gone since


def _node_name(env: dict[str, str]) -> str:
    """The name of a Ray node in the cluster; empty for other services."""
    kinds: tuple[type[NodeSettings | AgentSettings], ...] = (NodeSettings, AgentSettings)
    for kind in kinds if SETTINGS_VARIABLE in env else ():
        with suppress(DocumentError):
            return load_settings(kind, env).node.name
    return ""


class ContainerLog:
    """The log of one container. Docker rotates it: three files of 10 MB (components/docker.py)."""

    def __init__(self, container: Container, docker: Any, *, probes: bool) -> None:  # noqa: ANN401 - docker is not typed
        self.service = container.service
        self.left_out = 0
        self._docker = docker
        self._identifier = container.identifier
        self._probes = probes
        pattern = Entry(0.0, container.service, container.node, CONTAINER, "", "", "", "")
        self.grouper = Grouper(pattern, CONTAINER_KIND, undated=0.0)

    def entries(self, query: Query) -> Iterator[Entry]:
        """The wanted entries until now."""
        for stamp, text in self.lines(query):
            yield from filter(query.admits, self.grouper.feed(text, stamp))
        yield from filter(query.admits, self.grouper.flush())

    def lines(self, query: Query) -> Iterator[tuple[float, str]]:
        """Time and text of each line that may belong to a wanted entry; with `follow` also of new ones."""
        tail: int | str = "all"
        if query.tail is not None and not query.selects_lines:
            tail = query.tail if self._probes else self._raw_tail(query.tail)
        bounds = {name: int(value) for name in ("since", "until") if (value := getattr(query, name)) is not None}
        if query.follow:
            bounds.pop("until", None)
        chunks = self._docker.api.logs(
            self._identifier, stream=True, follow=query.follow, tail=tail, timestamps=True, **bounds
        )
        for line in split(chunks):
            stamp, _, text = line.partition(" ")
            if self._probes or not is_probe(text):
                yield time_of(stamp) or 0.0, text

    def _raw_tail(self, tail: int) -> int:
        """How many lines to read for the last `tail` that are not health checks."""
        if not tail:
            return 0
        read = self._docker.api.logs(self._identifier, tail=tail + MOST_PROBES)
        lines = read.decode(errors="replace").splitlines()
        ours = [place for place, line in enumerate(reversed(lines), 1) if not is_probe(line)]
        self.left_out = max(len(ours) - tail, 0)
        return ours[tail - 1] if len(ours) >= tail else len(lines)


def split(chunks: Iterator[bytes]) -> Iterator[str]:
    """The lines of a stream; Docker's chunks need not be lines."""
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if pending:
        yield pending.decode(errors="replace")
