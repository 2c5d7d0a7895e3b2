"""Objects that a deployment by Pulumi left on the host, and whether others have changed them since."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from docker_api.api import DockerApi
from stack.identity import StackIdentity
from stack.owner import CLIENT
from stack.state import make_closed, stack_folder, write_atomically

FILE = "pulumi-left.json"  # in the stack's folder
Host = list[list[str]]  # each object with the properties that Pulumi should notice


@dataclass(frozen=True, kw_only=True)
class Left:
    """The state of a stack's containers and networks when a deployment had ended, and its images by their URNs."""

    host: Host | None = None  # None: it failed, or the result is unknown
    images: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, identity: StackIdentity) -> "Left":
        """Reads the record of the last deployment."""
        try:
            found = json.loads(_file(identity).read_text())
            return cls(host=found["host"], images=found["images"])
        except (OSError, ValueError, TypeError, KeyError):
            return cls()

    def write(self, identity: StackIdentity) -> None:
        """Writes the record."""
        file = _file(identity)
        make_closed(file.parent)
        write_atomically(file, json.dumps({"host": self.host, "images": self.images}).encode(), 0o600)


def host_now(identity: StackIdentity) -> Host:
    """A stack's containers, each with its state and networks, and its networks."""
    api, labels = DockerApi(), identity.label_filters
    containers = [
        [one["Id"], one["State"], *sorted(one["NetworkSettings"]["Networks"])]
        for one in api.labelled("/containers/json", "", labels)
        if one["Labels"].get("cslr.component") != CLIENT
    ]
    return sorted([*containers, *([one["Id"]] for one in api.labelled("/networks", "", labels))])


def _file(identity: StackIdentity) -> Path:
    return stack_folder(identity) / FILE
