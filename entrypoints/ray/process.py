"""Ray's own processes on one node: how `ray start` is told what to do, watched and ended.

Does not decide what the node becomes (node.py, agent.py). Runs with our images and with pulled ones: standard
library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import json
import math
import os
import platform
import queue
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.document import SETTINGS_VARIABLE
from contracts.ray_memory import SHM_SHARE, object_store, own_processes
from contracts.ray_node import NodeConfig
from contracts.ray_nodes import HOST_LABEL, NODE_LABEL
from contracts.redis import RedisAccess
from coordination.own_address import source_address
from coordination.redis_client import Address, RedisLink
from coordination.redis_users import AGENT, Login
from entrypoints.ray.launcher import HOOK, REDIS_PASSWORD, REDIS_USERNAME

HEAD_FLAGS = ("--port", "--ray-client-server-port", "--dashboard-port")  # ports that only a head has
GCS_PORT, CLIENT_PORT, DASHBOARD_PORT = HEAD_FLAGS
AGENT_PORT = "--dashboard-agent-listen-port"
OBJECT_STORE_MINIMUM = 80 * 1024**2  # bytes; Ray refuses less than 75 MiB
STOP_SECONDS = 50.0  # Ray drains for up to 30 s; the container is killed 60 s after SIGTERM
LAST_WORDS = 3.0  # seconds; `ray start` looks once a second for processes that have ended
WORKER_RECONNECT_SECONDS = 600  # a worker outlives its head for so long (Ray: 60), as KubeRay sets it


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[ray-node] {message}", flush=True)


def state_folder() -> Path:
    """Return the folder of a container's own small files: no user's program can fill it, as it can /tmp or a disk."""
    folder = Path(os.environ.get("CSLR_STATE", "/run/state"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


# ------------------------------------------------------------------------------------------- what a node offers


def start_arguments(node: NodeConfig, gcs_address: str | None) -> list[str]:
    """Return the arguments of ``ray start`` for a worker of the head at an address, or (None) for a head."""
    store, tasks = split_memory(node.memory or container_memory(), shared_memory())
    labels = {NODE_LABEL: node.name, **({HOST_LABEL: node.host} if node.host else {})}
    arguments = [
        "--block",
        "--log-color=false",
        f"--num-cpus={node.cpus:g}",
        *([] if node.gpus.count is None else [f"--num-gpus={node.gpus.count}"]),
        f"--object-store-memory={store}",
        f"--memory={tasks}",
        f"--labels={','.join(f'{key}={value}' for key, value in labels.items())}",
        f"--resources={json.dumps({node.name: 1})}",
        *([f"--node-ip-address={node.address}"] if node.address else []),
        *([f"--temp-dir={node.temp_dir}"] if node.temp_dir else []),
        *(f"{flag}={port}" for flag, port in node.ports.items() if gcs_address is None or flag not in HEAD_FLAGS),
    ]
    if gcs_address:
        return [*arguments, f"--address={gcs_address}"]
    return [*arguments, "--head", "--dashboard-host=0.0.0.0", "--disable-usage-stats"]


def link_to(redis: RedisAccess) -> RedisLink:
    """Return a connection to Redis. Raises NodeError without the password's file."""
    return Login(redis.user, redis.password_file).link(Address.parse_all(redis.addresses))


def hidden_from_tasks(redis: RedisAccess) -> Path | None:
    """Return the file of the password that a node takes part in the election with, which no task needs."""
    return redis.password_file if redis.user == AGENT else None


def software_versions() -> dict[str, str]:
    """Return what all nodes of a cluster must agree on; empty where this node cannot know."""
    return {
        "ray": _version_of("ray"),
        "python": platform.python_version(),
        "cuda": cuda_of(_version_of("torch")),
    }


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def cuda_of(torch: str) -> str:
    """Return the CUDA version that a version of torch was built for, as in 2.10.0+cu128; empty for none."""
    digits = torch.partition("+cu")[2]
    return f"{digits[:-1]}.{digits[-1]}" if digits.isdigit() and len(digits) > 1 else ""


def own_address(host: str | None) -> str | None:
    """Return this machine's IPv4 address on the route to a host (None: the default route); None: no such route."""
    address = source_address(host or "8.8.8.8")
    return None if address is None or address.startswith("127.") else address


def container_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes this container may use: the lower of its cgroup's limit (v2 or v1) and the machine's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int((cgroup / name).read_text()))
    return min(limits)


def shared_memory(path: str = "/dev/shm") -> int:  # noqa: S108
    """Return the size of the shared memory file system in bytes, 0 where there is none."""
    try:
        status = os.statvfs(path)
    except OSError:
        return 0
    return status.f_frsize * status.f_blocks


def split_memory(memory: int, shm: int) -> tuple[int, int]:
    """Split the container's memory (bytes) into object store and memory for tasks, warning when /dev/shm is small.

    The rest is for the node's own processes.
    """
    wanted = object_store(memory)
    store = max(min(wanted, int(shm * SHM_SHARE)), OBJECT_STORE_MINIMUM)
    if store < wanted or store > shm * SHM_SHARE:
        say(
            f"warning: /dev/shm has {shm >> 20} MiB, so the object store gets {store >> 20} MiB, "
            f"not {wanted >> 20} MiB; give this container shm_size {int(wanted / SHM_SHARE / 2**20) + 1}m."
        )
    return store, max(memory - own_processes(memory) - store, 0)


def for_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this container as Ray and its tasks see it: without this program's settings."""
    return {key: value for key, value in environment.items() if key != SETTINGS_VARIABLE}


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker's ``ray start``: it waits for a head that moves."""
    return {"RAY_gcs_rpc_server_reconnect_timeout_s": str(WORKER_RECONNECT_SECONDS), **for_ray(environment)}


def head_environment(
    environment: Mapping[str, str], redis: str, namespace: str, username: str, password: str
) -> dict[str, str]:
    """Return the environment of a head's ``ray start``: GCS state in Redis at host:port, under a Ray namespace."""
    return {
        **for_ray(environment),
        "RAY_START_HOOK": HOOK,
        "RAY_REDIS_ADDRESS": redis,
        "RAY_external_storage_namespace": namespace,
        # Else a job's driver runs on the head, and ends when the head does.
        "RAY_JOB_ALLOW_DRIVER_ON_WORKER_NODES": "1",
        REDIS_USERNAME: username,
        REDIS_PASSWORD: password,
    }


# ------------------------------------------------------------------------------------------------ supervision


class Stop:
    """What a signal sets. The lock of a ``threading.Event`` may be held by the very thread that the signal interrupts,
    which then waits for itself; a ``SimpleQueue`` has none that could.
    """

    def __init__(self) -> None:
        self._set = False
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self, *_: object) -> None:
        """Say that it is time to stop; fit to be a signal's handler."""
        self._set = True
        self._wakes.put(None)

    def is_set(self) -> bool:
        """Tell whether it is."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait until it is, for some seconds at most; tell whether it is."""
        if not self._set:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=seconds)
        return self._set


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends, so that none outlives it."""
    set_child_subreaper = 36  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants(root: int, spared: Collection[int] = ()) -> list[int]:
    """Return the process ids below a process, from /proc, without the spared ones and what is below those."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                # The name in parentheses may hold anything, so count fields from its end.
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [root]
    while pending:
        below = [process for process in children.get(pending.pop(), []) if process not in spared]
        found += below
        pending += below
    return found


def reap() -> dict[int, int]:
    """Collect every child that has ended: process id → exit code, negative for a signal."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            ended[process] = os.waitstatus_to_exitcode(status)
    return ended


def end_descendants(grace: float = 5.0, spared: Collection[int] = ()) -> dict[int, int]:
    """End all that is left below this process: SIGTERM, then after ``grace`` seconds SIGKILL; what ``reap`` saw."""
    deadline = time.monotonic() + grace
    signalled: set[tuple[int, int]] = set()
    ended: dict[int, int] = {}
    while True:
        ended |= reap()
        left = descendants(os.getpid(), spared)
        if not left:
            return ended
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for process in left:
            if (process, number) not in signalled:
                signalled.add((process, number))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        time.sleep(0.05)


@dataclass(frozen=True)
class End:
    """Why Ray must end although nobody stops this node."""

    reason: str
    at_once: bool  # without a drain, which would only wait for tasks that are lost


LOST_DATA = End(
    "THE CLUSTER'S DATA IN REDIS WAS LOST: a new cluster has begun, and this node starts anew in it; "
    "actors and jobs of the old one are gone",
    at_once=True,
)


@dataclass
class Watched:
    """A process below another one, by its name: found as soon as it is there, and its end is noticed at once."""

    root: int
    name: str  # as the kernel has it
    _descriptor: int | None = None

    def find(self) -> bool:
        """Look for it, until it is there; tell whether it was found, now or before."""
        if self._descriptor is None:
            for process in descendants(self.root):
                with contextlib.suppress(OSError):  # ended meanwhile
                    if Path(f"/proc/{process}/comm").read_text().strip() == self.name:
                        self._descriptor = os.pidfd_open(process)
                        break
        return self._descriptor is not None

    def has_ended(self) -> bool:
        """Tell whether it was found and is no more."""
        return self._descriptor is not None and bool(select.select([self._descriptor], [], [], 0)[0])

    def close(self) -> None:
        """End the watching."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def supervise(
    process: subprocess.Popen[bytes],
    stop: Stop,
    reason_to_end: Callable[[], End | None],
    interval: float,
    can_drain: Callable[[], bool] = lambda: True,
    tell_ended: Callable[[Mapping[int, int]], None] = lambda _: None,
) -> int:
    """Watch `ray start` until it ends, ``stop`` is set, or there is a reason to end it; then nothing of it is left.

    ``tell_ended`` is given what ``reap`` saw, for other children than `ray start`.

    What was told to stop or has a reason to end is drained first, where ``can_drain`` says that a GCS answers: Ray
    would wait for one. Reasons are asked for every ``interval`` seconds. Returns 0 when it was told to stop, 1 when
    there was a reason, else the exit code as a shell shows it (1 for 0, because a node does not end by itself).
    """
    grace, code, end = 5.0, None, None
    raylet = Watched(process.pid, "raylet")
    try:
        code, end = _watch(process.pid, raylet, stop, reason_to_end, interval, tell_ended)
        if end:
            say(f"{end.reason}: stopping")
        if code is None and (raylet.has_ended() or (end and end.at_once)):
            grace = 0.0
        elif code is None and not can_drain():
            say("no head answers, so that nothing can be drained")
        elif code is None:
            code = terminate(process.pid)
    finally:
        raylet.close()
        ended = end_descendants(grace)
    process.returncode = ended.get(process.pid, -signal.SIGKILL) if code is None else code  # reaped here, not by Popen
    if stop.is_set() and end is None:
        return 0
    if end:
        return 1
    say(f"Ray ended by itself with exit code {code}")
    return 128 - process.returncode if process.returncode < 0 else process.returncode or 1


def _watch(
    process: int,
    raylet: Watched,
    stop: Stop,
    reason_to_end: Callable[[], End | None],
    interval: float,
    tell_ended: Callable[[Mapping[int, int]], None],
) -> tuple[int | None, End | None]:
    """Wait until `ray start` has ended, is to stop, or has a reason to end: its exit code, and the reason.

    The end of its raylet is a reason: after a drain that ends by itself, and `ray start` takes that for no failure. If
    it was one, or followed the end of GCS, `ray start` says so and ends, for which it is given LAST_WORDS.
    """
    ask_at, end_at = time.monotonic() + interval, math.inf
    while not stop.is_set():
        stop.wait(0.2)
        now = time.monotonic()
        ended = reap()
        if process in ended:
            return ended[process], None
        tell_ended(ended)
        if raylet.has_ended():
            end_at = min(end_at, now + LAST_WORDS)
            if now >= end_at:
                return None, End("this node's raylet has ended", at_once=True)
        elif now >= ask_at:
            ask_at = now + interval
            raylet.find()
            if end := reason_to_end():
                return None, end
    return None, None


def terminate(process: int) -> int:
    """Send SIGTERM to the child, SIGKILL after STOP_SECONDS; return its exit code."""
    say("stopping: Ray drains this node for up to 30 s")
    os.kill(process, signal.SIGTERM)
    kill_at = time.monotonic() + STOP_SECONDS
    while (code := reap().get(process)) is None:
        if time.monotonic() > kill_at:
            say(f"Ray did not stop within {STOP_SECONDS:.0f} s: killing it")
            os.kill(process, signal.SIGKILL)
            kill_at = float("inf")
        time.sleep(0.1)
    return code
