"""Options for a container that runs one command as root, with only the capabilities that it needs."""

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
        # Its log is read, which some default log drivers cannot do.
        "log_config": docker.types.LogConfig(type="json-file"),
    }
