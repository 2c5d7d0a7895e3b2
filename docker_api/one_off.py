"""Options of docker-py for a container that runs one command beside the services, and is then removed."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import docker

CPUS = 1.0  # which every host has: Docker refuses more than there are
PROCESSES = 512  # with threads, of which a client of Ray starts some dozens


def hardened(*capabilities: str) -> dict[str, Any]:
    """Of one that runs as root with no more capabilities than it needs; image and command are the caller's."""
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


def limits(memory: int) -> dict[str, Any]:
    """Of the most that it may take of its host. memory: bytes, without swap."""
    return {"mem_limit": memory, "memswap_limit": memory, "nano_cpus": int(CPUS * 10**9), "pids_limit": PROCESSES}


# Of one that ends when the connection to it does, and with it all that was started in it.
WHILE_CONNECTED = {"entrypoint": ["cat"], "command": [], "stdin_open": True, "auto_remove": True}


@contextmanager
def connected(client: docker.DockerClient, container: str) -> Iterator[None]:
    """Starts a container with `WHILE_CONNECTED`, which ends with the block, or when this process is killed."""
    with closing(client.api.attach_socket(container, params={"stdin": 1, "stream": 1})):
        client.api.start(container)
        yield
