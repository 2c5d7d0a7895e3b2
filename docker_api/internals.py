"""Private interfaces of Docker's SDK that this project uses; no other module may use them.

Written for the version `PINNED` (requirements.txt). tests/process/docker_api/test_internals.py fails where an upgrade
changes it.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import docker
import requests
from docker import auth
from docker.utils.build import exclude_paths
from docker.utils.socket import frames_iter

__all__ = ["PINNED", "auth", "exclude_paths", "frames", "hang_up"]

PINNED = "7.2.0"


def hang_up(client: docker.APIClient, answer: requests.Response) -> None:
    """Ends a connection from which another thread reads; to close it would not wake that."""
    with contextlib.suppress(OSError, AttributeError):
        raw = cast(Any, client)._get_raw_response_socket(answer)
        raw._sock.shutdown(socket.SHUT_RDWR)


def frames(connection: Any) -> Iterator[tuple[int, bytes]]:  # noqa: ANN401 - docker has no type for it
    """What an attached container writes: numbers of streams, with bytes. Ends with the connection."""
    came = cast(Iterator[tuple[int, bytes]], cast(Any, frames_iter)(connection, tty=False))
    while True:
        try:
            yield next(came)
        except (StopIteration, ValueError):  # the latter from a file that was closed meanwhile
            return
