"""What images, volumes and the build cache take on the disk, as the Engine measures it."""

import time
from typing import cast

from docker_api.api import DockerApi, DockerError, Json

BUSY = "a disk usage operation is already running"  # Docker 20.10 measures for one caller, and refuses all others
PAUSE_SECONDS, PATIENCE_SECONDS = 0.5, 120.0


def disk_usage(api: DockerApi, *kinds: str) -> Json:
    """The Engine's ``/system/df`` of these kinds: ``image``, ``volume``, ``build-cache``. Waits while it measures for
    somebody else. Raises `DockerError`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return cast(Json, api.call("GET", "/system/df", query={"type": kinds}))
        except DockerError as error:
            if BUSY not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)
