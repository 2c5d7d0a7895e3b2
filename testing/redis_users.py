"""Runs the program that makes users of heads beside a test's Redis server, as in Redis's container."""

import contextlib
import os
import signal
import subprocess
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
    environment = {**os.environ, "REDISCLI_AUTH": password, "REDIS_PORT": str(address.port)}
    makers = [
        subprocess.Popen(["sh", PROGRAM, namespace, *rights], env=environment, start_new_session=True)
        for namespace in namespaces
    ]
    try:
        yield
    finally:
        for maker in makers:
            os.killpg(maker.pid, signal.SIGKILL)
            maker.wait()
