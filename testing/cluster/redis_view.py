"""The election's state in a cluster's Redis, queried from inside its own host, so that no fault cuts the test off."""

import contextlib
import ctypes
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from testing.cluster.history import History

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
SAMPLE_SECONDS = 0.1
CLIENT_NAME = "cluster-test"
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_of(namespace: str) -> Iterator[None]:
    """This thread opens sockets in a network namespace. Sockets stay where they were opened."""

    def enter(path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if LIBC.setns(descriptor, NEW_NETWORK):
                raise OSError(ctypes.get_errno(), path)
        finally:
            os.close(descriptor)

    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(f"/run/netns/{namespace}")
        yield
    finally:
        enter(f"/proc/self/fd/{here}")
        os.close(here)


class Connection(redis.Connection):
    """A connection that begins in a network namespace."""

    def __init__(self, namespace: str, **options: Any) -> None:
        self._namespace = namespace
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        with network_of(self._namespace):
            return super()._connect()  # type: ignore[no-untyped-call]


class RedisView:
    """The keys and users of one cluster's election."""

    def __init__(self, *, namespace: str, address: str, port: int, password: str, cluster: str) -> None:
        """`namespace`: of the network; `cluster`: what the keys of the election begin with."""
        self._keys = f"cslr:{cluster}:"
        self.redis: Any = redis.Redis(
            connection_pool=redis.ConnectionPool(
                connection_class=Connection,
                namespace=namespace,
                host=address,
                port=port,
                password=password,
                decode_responses=True,
                socket_timeout=1,
                socket_connect_timeout=1,
                retry=Retry(NoBackoff(), 0),
                client_name=CLIENT_NAME,
            )
        )

    def lease(self) -> dict[str, str]:
        """Its holder; empty without one."""
        return dict(self.redis.hgetall(self._keys + "lease"))

    def end_lease(self) -> None:
        """Lets it end now, as when the clock of Redis's host jumps ahead, by which Redis counts."""
        self.redis.pexpire(self._keys + "lease", 1)

    def members(self) -> dict[str, dict[str, Any]]:
        """What each host last reported."""
        return {host: json.loads(text) for host, text in self.redis.hgetall(self._keys + "members").items()}

    def leader(self) -> str | None:
        """The host whose head is ready."""
        try:
            lease = self.lease()
        except redis.RedisError:
            return None
        return lease["host"] if lease.get("ready") == "1" else None

    def sample(self) -> dict[str, Any]:
        """All at one moment that the rules look at."""
        pipe = self.redis.pipeline(transaction=True)
        pipe.get(self._keys + "epoch")
        pipe.hgetall(self._keys + "lease")
        pipe.execute_command("ACL USERS")
        pipe.client_list()
        epoch, lease, users, clients = pipe.execute()
        return {
            "epoch": int(epoch) if epoch else None,
            "lease": lease,
            "users": [user for user in users if user != "default"],
            "connections": dict(Counter(client["user"] for client in clients if is_in_use(client))),
        }


def is_in_use(client: Mapping[str, str]) -> bool:
    """Whether a client in Redis's list has done more than log in.

    An agent tries the user of its new head while the former head may still be connected: before it fences that one
    (coordination/lease.py). It logs in, and closes the connection.
    """
    return client["name"] != CLIENT_NAME and client["cmd"] != "auth"


class Recorder:
    """Samples Redis into a history until it is stopped."""

    def __init__(self, view: Callable[[], RedisView], history: History) -> None:
        self._view, self._history = view, history
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                facts = self._view().sample()
            except (redis.RedisError, OSError) as error:
                facts = {"error": str(error)[:200]}
            self._history.now("sample", **facts)
            self._stop.wait(max(0.0, began + SAMPLE_SECONDS - time.monotonic()))
