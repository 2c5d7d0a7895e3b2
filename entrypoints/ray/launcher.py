"""The process that becomes `ray start`: prepared early, since it imports Ray for seconds, and told later what to start.

Runs as a file of its own, so it imports nothing of ours: standard library only, Python 3.10 or newer.

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

# Ray Client's server, for the kernel's choice when memory is used up: between GCS, raylet and dashboard (0) and workers
# (Ray: 1000), since the processes that it starts for its clients hold their objects.
CLIENT_SERVER_SCORE = 300
HOOK = "__main__.keep_the_password"
# How `ray start` of a head gets what it logs in to Redis with. Not on its command line, and not in the environment that
# it is started with, which /proc shows to every task for as long as it runs.
REDIS_USERNAME, REDIS_PASSWORD = "RAY_NODE_REDIS_USERNAME", "RAY_NODE_REDIS_PASSWORD"


def host_ids() -> int:
    """Return how many processes and threads the host can have."""
    found = []
    for name in ("pid_max", "threads-max"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path("/proc/sys/kernel", name).read_text()))
    return min(found, default=32768)


def keep_half() -> None:
    """Let the kernel refuse this process and all that it starts a new one, when its user holds half of the host's ids.

    The kernel counts those of the user in all containers, but refuses only who was told so: guards and health checks go
    on.
    """
    most = host_ids() // 2
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY or hard > most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def prepare(environment: Mapping[str, str], hidden: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a process that imports Ray (seconds) and then waits to be told what to start: see ``begin``.

    Its environment stays visible in /proc to every task. A file may be hidden from it and from all that it starts.
    """
    command = [sys.executable, __file__, *([str(hidden)] if hidden else [])]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def begin(process: subprocess.Popen[bytes], arguments: list[str], environment: Mapping[str, str]) -> None:
    """Let a prepared process be ``ray start``. Without an error also when it has ended; its exit code tells."""
    with contextlib.suppress(BrokenPipeError), process.stdin or contextlib.nullcontext() as stdin:
        if stdin:
            stdin.write(json.dumps({"arguments": arguments, "environment": dict(environment)}).encode() + b"\n")


def hide_from_tasks(secret: Path) -> None:
    """Hide a file from all that Ray will start, where that is possible."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from entrypoints.ray.hidden_files import hide

    sys.path.pop(0)
    with contextlib.suppress(OSError):
        hide(secret)


def stand_by(arguments: list[str]) -> int:
    """Import Ray, wait for one line on stdin, and be ``ray start`` as it says; 0 when none comes."""
    for hidden in arguments:
        hide_from_tasks(Path(hidden))
    # Not this folder: its other modules must not stand in for any that Ray imports.
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
    """Give Ray what it logs in to Redis with; Ray calls this in ``ray start`` of a head (RAY_START_HOOK).

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
            # A head is back when its GCS is: dashboard and monitors, which take longer to start, must not slow it down.
            command = ["nice", "-n", "10", *command]
        options["env_updates"] = {**(options.get("env_updates") or {}), **variables}
        return start_ray_process(command, process_type, *arguments, **options)

    services.start_ray_process = start_adapted


if __name__ == "__main__":
    sys.exit(stand_by(sys.argv[1:]))
