"""Fixtures for process tests of several modules."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.redis_client import Address, RedisLink
from testing.redis_users import REDIS_PASSWORD, makers_of_users

HERE = Path(__file__).parent
# The files that take longest, so that none of them is begun last and leaves one worker with it alone.
LONGEST_FIRST = (
    "test_any_stack",
    "test_election_model",
    "test_cluster_alerts",
    "test_verify_cluster_on_ray",
    "test_ray_job",
    "test_hostile_arguments",
    "test_loop",
    "test_postgres",
)
NAMESPACES = ("cslr-lab", "cslr-lab-2", "cslr-test")  # of clusters whose heads get users


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the order of the others, and that within a file, stays."""
    own = [item for item in items if item.path.is_relative_to(HERE)]
    others = [item for item in items if not item.path.is_relative_to(HERE)]
    order = [*LONGEST_FIRST, *dict.fromkeys(item.path.stem for item in own)]
    items[:] = [*others, *sorted(own, key=lambda item: order.index(item.path.stem))]


@pytest.fixture(scope="session")
def redis_address(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A real Redis for all tests of this process that want one."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", int(probe.getsockname()[1]))
    (folder / "redis.conf").write_text(
        f'port {address.port}\nbind 127.0.0.1\nrequirepass "{REDIS_PASSWORD}"\nsave ""\n'
    )
    server = subprocess.Popen([redis_server, folder / "redis.conf"], cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not address.answers() and time.monotonic() < deadline:
        time.sleep(0.05)
    with makers_of_users(address, REDIS_PASSWORD, *NAMESPACES):
        yield address
    server.terminate()
    server.wait()


@pytest.fixture
def redis_link(redis_address: Address) -> Iterator[RedisLink]:
    """A client of it, with data and users as in a new one."""
    link = RedisLink((redis_address,), REDIS_PASSWORD)
    link.command("FLUSHALL")
    users = link.command("ACL", "USERS")
    for user in users if isinstance(users, list) else []:
        if user != "default":
            link.command("ACL", "DELUSER", str(user))
    yield link
    link.close()
