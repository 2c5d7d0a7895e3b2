"""Runs the program that makes users of heads beside a test's Redis server, as in Redis's container."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator

from coordination import redis_users
from coordination.redis_client import Address
from testing.harness import PROJECT

REDIS_PASSWORD = "correct horse: battery'staple"  # of the server that tests of one process share
PROGRAM = PROJECT / "entrypoints/redis/users.sh"


@contextlib.contextmanager
def makers_of_users(address: Address, password: str, *namespaces: str) -> Iterator[None]:
    """Runs one for each namespace."""
    rights = [right for right, _ in redis_users.HEAD_RIGHTS]
    environment = {**os.environ, "REDIS_PORT": str(address.port)}
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        makers = [
            subprocess.Popen(["sh", PROGRAM, file.name, namespace, *rights], env=environment, start_new_session=True)
            for namespace in namespaces
        ]
        try:
            yield
        finally:
            for maker in makers:
                os.killpg(maker.pid, signal.SIGKILL)
                maker.wait()
