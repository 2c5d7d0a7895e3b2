"""A container that runs one command and goes: root without rights, but for the capabilities that the command needs."""

from typing import Any

import docker


def hardened(*capabilities: str) -> dict[str, Any]:
    """Options of docker-py for such a container; network, image and command are the caller's."""
    return {
        "command": [],  # the image's own
        "user": "0:0",
        "cap_drop": ["ALL"],
        "cap_add": list(capabilities),
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        # What it says is read, and with some defaults of the Engine nothing would come.
        "log_config": docker.types.LogConfig(type="json-file"),
    }
