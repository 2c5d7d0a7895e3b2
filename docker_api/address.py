"""Which Docker Engine this process talks to, as Docker's own client finds it in the environment."""

import os
from pathlib import Path

SOCKET = "unix:///var/run/docker.sock"


def named_address() -> str:
    """The address in ``DOCKER_HOST``; empty where it names none."""
    return os.environ.get("DOCKER_HOST", "")


def engine_address() -> str:
    """Where the Docker Engine is asked."""
    return named_address() or SOCKET


def engine_is_local() -> bool:
    """Whether the Docker Engine is the one of this host."""
    return engine_address().startswith(("unix:", "/"))


def socket_path() -> Path | None:
    """The socket on this host at which the Engine is asked; None where it is reached in another way."""
    path = Path(engine_address().removeprefix("unix://"))
    return path if path.is_absolute() else None


def named_context() -> str:
    """The context of Docker's client that ``DOCKER_CONTEXT`` names; empty where it names none."""
    return os.environ.get("DOCKER_CONTEXT", "")


def client_folder() -> Path:
    """Where Docker's client keeps its configuration and its contexts."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
