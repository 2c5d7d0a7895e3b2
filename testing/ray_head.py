"""One real Ray node on the loopback, with token authentication."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from contracts.ray_nodes import NODE_LABEL

START_SECONDS = 180.0  # a busy machine is not a failure


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def running_head(
    *, gpus: int, node: str, cpus: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[SimpleNamespace]:
    """A head with token authentication, in a session of its own so that it can be ended as a whole."""
    gcs, dashboard, client, agent = free_ports(4)
    # Not pytest's folder: Ray's socket paths must stay below 108 characters.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        token = Path(folder, "token")
        token.write_text("correct-horse-battery-staple-0123456789")
        variables = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "GRPC_ENABLE_FORK_SUPPORT": "0",  # as in entrypoints/ray/launcher.py
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **(environment or {}),
        }
        arguments = {
            "port": gcs,
            "dashboard-port": dashboard,
            "ray-client-server-port": client,
            "dashboard-agent-listen-port": agent,
            "num-cpus": cpus,
            "num-gpus": gpus,
            "memory": 10**9,
            "object-store-memory": 10**8,
            "temp-dir": folder,
            "labels": f"{NODE_LABEL}={node}",
        }
        start = ["ray", "start", "--head", "--block", "--disable-usage-stats"]
        command = [*start, *(f"--{name}={value}" for name, value in arguments.items())]
        with Path(folder, "log").open("w") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for_head(f"http://127.0.0.1:{dashboard}/api/gcs_healthz", process, Path(folder, "log"))
            yield SimpleNamespace(dashboard=dashboard, client=client, token=token)
        finally:
            end_session(process)


def wait_for_head(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    pytest.fail(f"Ray did not start: {log.read_text()}")


def end_session(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
