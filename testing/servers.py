"""Servers for single tests, on free ports of this host."""

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

# Below those that Linux gives to clients: one of these could take the port before the server that it is meant for.
PORTS = range(27_000, 30_000)


def free_port() -> int:
    """A port that nothing listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port of {PORTS} is free")


def wait_for_port(port: int, seconds: float = 10) -> None:
    """Waits until it is listened on."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")


@contextlib.contextmanager
def server_process(command: list[str], port: int, stop: int = signal.SIGTERM, **options: Any) -> Iterator[int]:
    """A program that listens there, for as long as it is needed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.send_signal(stop)
        process.wait(10)
