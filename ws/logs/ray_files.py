"""Ray's log files on a stack's scratch volume, read by a short-lived container that sees only that, and cannot write.

So they are read alike whether the node's container runs, is stopped, was replaced or is gone. The container has the
image and the user of one that works in the volume, no network and no capabilities; its program is ws/logs/reader.py.
"""

import io
import json
import secrets
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests

from docker_api.internals import frames
from docker_api.one_off import hardened, limits
from stack.identity import StackIdentity
from ws.inside import ENTER
from ws.logs.containers import Container, split
from ws.logs.entry import Entry
from ws.logs.query import Query

SCRATCH = "/scratch"
MEMORY = 512 * 2**20
FOLDER = "opt/cslr-logs"  # in the container
ATTACHED = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
STANDARD_ERROR = 2  # of the streams of a connection
MODULES = ("__init__", "entry", "kinds", "grouping", "query", "files", "reader")
PROGRAM = ENTER + 'exec python3 -m ws.logs.reader "$@"'


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the reader read."""

    read: dict[str, dict[str, int]] = field(default_factory=dict)  # service → session → number of files
    left_out: int = 0  # lines
    aside: int = 0  # lines that are no output of the user's programs
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A stack's scratch volume, and a container that shows with which image and user it can be read."""

    identity: StackIdentity
    container: Container
    nodes: dict[str, str]  # service → name of its node

    @classmethod
    def of(cls, identity: StackIdentity, found: Sequence[Container]) -> "Scratch | None":
        """The scratch volume of a stack; None if no container has it."""
        holders = [one for one in found if SCRATCH in one.mounts]
        # Those that may write have the files' owner as their user.
        holders.sort(key=lambda one: (not one.mounts[SCRATCH]["RW"], not one.service.startswith("ray-")))
        if not holders:
            return None
        return cls(identity=identity, container=holders[0], nodes={one.service: one.node for one in found})

    @contextmanager
    def reading(self, client: Any, query: Query) -> Iterator[Iterator[Entry | Summary]]:  # noqa: ANN401
        """Starts the reader, and removes it at the end: its entries by time, and one summary after those that are
        there already.
        """
        reader = client.containers.create(self.container.image, **self._options(query))
        try:
            reader.put_archive("/", program())
            with closing(client.api.attach_socket(reader.id, params=ATTACHED)) as connection:
                reader.start()
                yield messages(frames(connection))
        finally:
            with suppress(docker.errors.DockerException, requests.RequestException):
                reader.remove(force=True)

    def _options(self, query: Query) -> dict[str, Any]:
        mount = self.container.mounts[SCRATCH]
        source = mount.get("Name") or mount["Source"]
        return {
            **hardened(),
            "name": self.identity.object_name(f"logs-{secrets.token_hex(4)}"),
            "entrypoint": ["sh", "-c", PROGRAM, "sh", SCRATCH, json.dumps(self.nodes), query.to_json()],
            "environment": {"PYTHONPATH": f"/{FOLDER}", "PYTHONDONTWRITEBYTECODE": "1", "TZ": self.container.zone},
            "user": self.container.user,
            "read_only": False,  # Docker copies no program into what is read-only
            "working_dir": "/",
            "network_mode": "none",
            **limits(MEMORY),
            "healthcheck": {"test": ["NONE"]},
            "mounts": [docker.types.Mount(SCRATCH, source, type=mount["Type"], read_only=True)],
            # It ends when the connection to it does, even if `ws` is killed, and is then gone.
            "stdin_open": True,
            "auto_remove": True,
            "log_config": docker.types.LogConfig(type="none"),  # its output is others' logs, and is read as it comes
        }


def messages(came: Iterator[tuple[int, bytes]]) -> Iterator[Entry | Summary]:
    """What the reader printed, with a summary in any case."""
    errors: list[bytes] = []

    def printed() -> Iterator[bytes]:
        for stream, data in came:
            if stream == STANDARD_ERROR:
                errors.append(data)
            else:
                yield data

    complete = False
    for line in split(printed()):
        found = json.loads(line)
        complete = complete or isinstance(found, dict)
        yield Summary(**found) if isinstance(found, dict) else Entry(*found)
    if not complete:
        said = b"".join(errors).decode(errors="replace").strip().splitlines()
        yield Summary(
            problems=[f"Ray's log files could not be read: {said[-1] if said else 'their reader was killed'}"]
        )


def program() -> bytes:
    """The reader's modules as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for module in MODULES:
            text = Path(__file__).with_name(f"{module}.py").read_bytes()
            info = tarfile.TarInfo(f"{FOLDER}/ws/logs/{module}.py")
            info.size, info.mode = len(text), 0o644
            tar.addfile(info, io.BytesIO(text))
    return archive.getvalue()
