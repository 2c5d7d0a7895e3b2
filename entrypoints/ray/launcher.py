"""The process that becomes `ray start`: it imports Ray early, which takes seconds, and learns later what to start.

Runs as a stand-alone file, so it imports nothing of ours: standard library only, Python 3.10 or newer.

    launcher.py [HIDDEN]    internal: imports Ray, reads one line of JSON from its stdin, {"arguments": [...],
                            "environment": {...}}, and then is `ray start` with these, unable to read the file HIDDEN;
                            ends when stdin is closed before
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# OOM score of Ray Client's server: between GCS, raylet and dashboard (0) and workers (Ray: 1000), because the processes
# that it starts for its clients hold their objects.
CLIENT_SERVER_SCORE = 300
HOOK = "__main__.keep_the_password"
# How `ray start` of a head gets its Redis login: not on its command line, and not in its initial environment, which
# /proc shows to every task for as long as it runs.
REDIS_USERNAME, REDIS_PASSWORD = "RAY_NODE_REDIS_USERNAME", "RAY_NODE_REDIS_PASSWORD"


def host_ids() -> int:
    """Return how many processes and threads the host can have."""
    found = []
    for name in ("pid_max", "threads-max"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path("/proc/sys/kernel", name).read_text()))
    return min(found, default=32768)


def keep_half() -> None:
    """Make the kernel refuse new processes to this one and its descendants while its user holds half of the host's ids.

    The kernel counts the user's ids in all containers, but refuses only processes with this limit: guards and health
    checks continue.
    """
    most = host_ids() // 2
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY or hard > most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def prepare(environment: Mapping[str, str], hidden: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a process that imports Ray (which takes seconds) and then waits for ``begin``.

    Its environment stays visible in /proc to every task. A file may be hidden from it and from its descendants.
    """
    command = [sys.executable, __file__, *([str(hidden)] if hidden else [])]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def begin(process: subprocess.Popen[bytes], arguments: list[str], environment: Mapping[str, str]) -> None:
    """Make a prepared process become ``ray start``. No error if it has ended; its exit code tells."""
    with contextlib.suppress(BrokenPipeError), process.stdin or contextlib.nullcontext() as stdin:
        if stdin:
            stdin.write(json.dumps({"arguments": arguments, "environment": dict(environment)}).encode() + b"\n")


def hide_from_tasks(secret: Path) -> None:
    """Hide a file from everything that Ray will start, if that is possible."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from entrypoints.ray.hidden_files import hide

    sys.path.pop(0)
    with contextlib.suppress(OSError):
        hide(secret)


def stand_by(arguments: list[str]) -> int:
    """Import Ray, wait for one line on stdin, and become the ``ray start`` that it describes; 0 if none comes."""
    for hidden in arguments:
        hide_from_tasks(Path(hidden))
    # Not this folder: its other modules must not shadow any that Ray imports.
    sys.path.pop(0)
    from ray._private import node, services  # noqa: F401  (what `ray start` needs, so that it does not wait for it)
    from ray.scripts import scripts

    line = sys.stdin.readline()
    if not line:
        return 0
    order = json.loads(line)
    keep_half()
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["ray", "start", *order["arguments"]]
    ray: Callable[[], int | None] = scripts.main
    return ray() or 0


def keep_the_password(ray_parameters: Any, head: bool) -> None:  # noqa: ANN401  (Ray's RayParams)
    """Give Ray its Redis login; Ray calls this in ``ray start`` of a head (RAY_START_HOOK).

    Ray 2.60 has no other way in than --redis-password, and writes it on the command lines of gcs_server, raylet and
    every worker. Only ``ray start`` itself and gcs_server need it: gcs_server gets it as environment variables, by the
    gflags option --fromenv, and then it is forgotten.
    """
    from ray._private import services

    del os.environ["RAY_START_HOOK"]
    if not head:
        return
    username = ray_parameters.redis_username = os.environ.pop(REDIS_USERNAME)
    password = ray_parameters.redis_password = os.environ.pop(REDIS_PASSWORD)
    flags = {f"--redis_username={username}", f"--redis_password={password}"}
    start_ray_process = services.start_ray_process

    def start_adapted(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        variables = {}
        if process_type == "gcs_server":
            command = [*(word for word in command if word not in flags), "--fromenv=redis_username,redis_password"]
            variables = {"FLAGS_redis_username": username, "FLAGS_redis_password": password}
            ray_parameters.redis_username = ray_parameters.redis_password = ""
        elif process_type == "ray_client_server":
            # It forks a server for each client while its own gRPC runs; gRPC's fork handlers then at times crash the
            # child (epoll_wait: Bad file descriptor), and the client reads "Starting Ray client server failed".
            variables = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
            command = ["sh", "-c", 'echo "$0" >/proc/self/oom_score_adj; exec "$@"', str(CLIENT_SERVER_SCORE), *command]
        if process_type not in ("gcs_server", "raylet"):
            # A head serves again once its GCS does: dashboard and monitors, which start more slowly, must not delay it.
            command = ["nice", "-n", "10", *command]
        options["env_updates"] = {**(options.get("env_updates") or {}), **variables}
        return start_ray_process(command, process_type, *arguments, **options)

    services.start_ray_process = start_adapted


if __name__ == "__main__":
    sys.exit(stand_by(sys.argv[1:]))
