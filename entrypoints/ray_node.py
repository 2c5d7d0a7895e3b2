"""One Ray node: decides whether it is head or worker, starts Ray and stops it cleanly.

Runs in every Ray container, with our images and with pulled ones, so it is one file, needs only the standard library of
Python 3.10 or newer, and imports nothing from this repository.

    ray_node.py [run]     decide, start `ray start --block`, supervise it (0 after a clean stop)
    ray_node.py health    0 when this node serves, else 1 and the reason
    ray_node.py start-ray ...  internal: `ray start` that takes the Redis password from its file

Environment (components/ray.py sets it): see NodeSettings.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# Fixed, so that a firewall can know them. Kept clear of the GCS (6379), dashboard (8265), Ray Client (10001, and 23000
# to 24000 for its per-client servers) and of the ephemeral ports of the kernel (32768 and above), which it gives away.
PORT_FLAGS = {
    "--node-manager-port": 11001,
    "--object-manager-port": 11002,
    "--dashboard-agent-grpc-port": 11003,
    "--runtime-env-agent-port": 11004,
    "--metrics-export-port": 11005,
    "--dashboard-agent-listen-port": 52365,
    "--min-worker-port": 12000,
    "--max-worker-port": 12999,
}
AGENT_PORT = PORT_FLAGS["--dashboard-agent-listen-port"]
OBJECT_STORE_SHARE = 0.3  # of the container's memory: Ray's own default
SHM_SHARE = 0.95  # of /dev/shm: Ray's own cap; more would spill to disk
OBJECT_STORE_MINIMUM = 80 * 1024**2  # bytes; Ray refuses less than 75 MiB
CLAIM_SECONDS = 15.0  # a dead head's claim ends after this; longer than a GCS lives without Redis (4 s)
RENEW_SECONDS = 5.0
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
TCP_SECONDS = 1.0
STOP_SECONDS = 50.0  # Ray drains for up to 30 s; the container is killed 60 s after SIGTERM
WORKER_RECONNECT_SECONDS = 600  # a worker outlives its head for so long (Ray: 60), as KubeRay sets it
HOOK = "__main__.hand_over_redis_password"


class NodeError(Exception):
    """A mistake or a failure that the user can act on: one sentence, shown without a traceback."""


class RedisRefusedError(NodeError):
    """Redis answered with an error that waiting does not cure, such as a wrong password."""


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[ray-node] {message}", flush=True)


@dataclass(frozen=True)
class Address:
    """A host (name or IP address) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, source: str) -> Address:
        """Read ``host:port``, with or without ``redis://``; raise NodeError naming ``source`` for anything else."""
        host, _, port = text.removeprefix("redis://").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise NodeError(f"{source}={text!r} is no host:port; write for example ray-cpu:6379.")
        return cls(host, int(port))

    def answers(self) -> bool:
        """Tell whether something accepts a TCP connection there within TCP_SECONDS."""
        try:
            socket.create_connection((self.host, self.port), timeout=TCP_SECONDS).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class NodeSettings:
    """What this node is told by its container."""

    name: str  # RAY_NODE_NAME, as in the network: ray-cpu
    candidates: tuple[str, ...]  # RAY_NODE_CANDIDATES: nodes that may be head, comma separated
    head: Address | None  # RAY_NODE_HEAD_ADDRESS: join this head; empty: decide
    health_url: str  # RAY_NODE_HEALTH_URL of the health service; empty: do not ask
    health_timeout: float  # RAY_NODE_HEALTH_TIMEOUT, seconds
    deadline: float  # RAY_NODE_DEADLINE, seconds to find or become a head
    cpus: float  # RAY_NODE_CPUS
    gpus: float  # RAY_NODE_GPUS
    memory: int  # RAY_NODE_MEMORY, bytes; 0: the cgroup's limit
    gcs_port: int  # RAY_NODE_GCS_PORT
    dashboard_port: int  # RAY_NODE_DASHBOARD_PORT
    client_port: int  # RAY_NODE_CLIENT_PORT
    redis: Address | None  # RAY_REDIS_ADDRESS: keeps the GCS state and the claim to be head
    redis_password_file: Path  # RAY_NODE_REDIS_PASSWORD_FILE
    namespace: str  # RAY_external_storage_namespace: one per cluster
    token_file: Path | None  # RAY_AUTH_TOKEN_PATH where RAY_AUTH_MODE=token

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> NodeSettings:
        """Read the environment; raise NodeError naming the variable that is missing or wrong."""

        def number(key: str, default: str) -> float:
            text = environment.get(key, default)
            try:
                return float(text)
            except ValueError:
                raise NodeError(f"{key}={text!r} is no number; this node's container must set one.") from None

        def address(key: str) -> Address | None:
            text = environment.get(key, "")
            return Address.parse(text, key) if text else None

        name = environment.get("RAY_NODE_NAME", "")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", name):
            raise NodeError(f"RAY_NODE_NAME={name!r} is no node name; set the node's name in the network: ray-cpu.")
        token = environment.get("RAY_AUTH_MODE") == "token"
        return cls(
            name=name,
            candidates=tuple(filter(None, environment.get("RAY_NODE_CANDIDATES", "").split(","))),
            head=address("RAY_NODE_HEAD_ADDRESS"),
            health_url=environment.get("RAY_NODE_HEALTH_URL", ""),
            health_timeout=number("RAY_NODE_HEALTH_TIMEOUT", "1.0"),
            deadline=number("RAY_NODE_DEADLINE", "300"),
            cpus=number("RAY_NODE_CPUS", "1"),
            gpus=number("RAY_NODE_GPUS", "0"),
            memory=int(number("RAY_NODE_MEMORY", "0")),
            gcs_port=int(number("RAY_NODE_GCS_PORT", "6379")),
            dashboard_port=int(number("RAY_NODE_DASHBOARD_PORT", "8265")),
            client_port=int(number("RAY_NODE_CLIENT_PORT", "10001")),
            redis=address("RAY_REDIS_ADDRESS"),
            redis_password_file=Path(environment.get("RAY_NODE_REDIS_PASSWORD_FILE", "/run/secrets/redis-password")),
            namespace=environment.get("RAY_external_storage_namespace", "default"),
            token_file=Path(environment.get("RAY_AUTH_TOKEN_PATH", "/run/secrets/ray-token")) if token else None,
        )


def read_secret(path: Path, purpose: str) -> str:
    """Return the secret in the file without its line end; raise NodeError when there is none."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NodeError(f"{path} ({purpose}) cannot be read: {error.strerror}; mount it into this container.") from None
    if not secret:
        raise NodeError(f"{path} ({purpose}) is empty; write the secret into it.")
    return secret


# ---------------------------------------------------------------------------------------------------- Redis


class Redis:
    """As much of a Redis client as the claim needs: one password and EVAL, a new connection for each call."""

    def __init__(self, address: Address, password: str) -> None:
        self.address = address
        self._password = password

    def evaluate(self, script: str, key: str, *arguments: str) -> str | None:
        """Run a Lua script on one key. OSError: Redis is not there (yet); RedisRefusedError: it will not do it."""
        endpoint = (self.address.host, self.address.port)
        with (
            socket.create_connection(endpoint, timeout=TCP_SECONDS) as connection,
            connection.makefile("rb") as replies,
        ):
            for command in (["AUTH", self._password], ["EVAL", script, "1", key, *arguments]):
                connection.sendall(self._encode(command))
                reply = self._reply(replies.readline, replies.read)
            return reply

    @staticmethod
    def _encode(words: list[str]) -> bytes:
        encoded = [word.encode() for word in words]
        return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)

    def _reply(self, readline: Callable[[], bytes], read: Callable[[int], bytes]) -> str | None:
        line = readline().decode().rstrip("\r\n")
        if not line:
            raise ConnectionResetError(f"Redis at {self.address} closed the connection")
        kind, text = line[0], line[1:]
        if kind == "-":
            if text.startswith(("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN")):
                raise ConnectionRefusedError(f"Redis at {self.address}: {text}")
            raise RedisRefusedError(
                f"Redis at {self.address} refuses this node ({text.split('.')[0]}); "
                "the password files of this node and of Redis must be the same."
            )
        if kind == "$":
            return None if text == "-1" else read(int(text) + 2)[:-2].decode()
        return text


# --------------------------------------------------------------------------------------------- head election


@dataclass(frozen=True)
class Role:
    """The outcome: this node is the head, or a worker of the head at an address."""

    head: Address | None  # None: this node is the head

    @property
    def is_head(self) -> bool:
        """Tell whether this node is the head."""
        return self.head is None


class HeadElection(Protocol):
    """Decides who is head. A node holds what it was given from ``decide`` until ``release``."""

    def decide(self) -> Role:
        """Wait until the role is certain; raise NodeError when the deadline passes."""

    def keep(self) -> bool:
        """Renew; called every RENEW_SECONDS while the head runs. False: another node is head, stop at once."""

    def release(self) -> None:
        """Give headship up after Ray has ended."""


class HeadClaim:
    """The right to be head: one key in the Redis that also keeps the GCS state, so both are there or neither is.

    Atomic, so nodes that start together never both become head. It does not fence off a head that hangs and wakes up.
    """

    _TAKE = """
    local holder = redis.call('GET', KEYS[1])
    if not holder or holder == ARGV[1] or string.match(holder, '^%S+') == ARGV[3] then
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return ARGV[1]
    end
    return holder
    """
    _RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return ''"
    _LOOK = "return redis.call('GET', KEYS[1])"

    def __init__(self, redis: Redis, namespace: str, node: str, address: Address) -> None:
        self._redis = redis
        self._key = f"cslr:head:{namespace}"
        self._node = node
        # The last word tells this run from an earlier one of the same node, whose renewals must fail.
        self._value = f"{node} {address} {uuid.uuid4().hex}"

    def take(self) -> Address | None:
        """Claim headship, also from an earlier run of this node. None: it is ours; else the holder's GCS address."""
        return self._holder(self._set(takes_over_from=self._node))

    def renew(self) -> bool:
        """Hold on for another CLAIM_SECONDS; False when another node (or a later run of this one) holds it."""
        return self._holder(self._set(takes_over_from="")) is None

    def look(self) -> Address | None:
        """Return the GCS address of the holder, None when nobody else holds it."""
        return self._holder(self._redis.evaluate(self._LOOK, self._key) or self._value)

    def release(self) -> None:
        """Let the next candidate in, unless another node holds it already."""
        self._redis.evaluate(self._RELEASE, self._key, self._value)

    def _set(self, takes_over_from: str) -> str | None:
        return self._redis.evaluate(
            self._TAKE, self._key, self._value, str(int(CLAIM_SECONDS * 1000)), takes_over_from or "-"
        )

    def _holder(self, value: str | None) -> Address | None:
        if value == self._value:
            return None
        words = (value or "").split()
        if len(words) < 2:
            raise RedisRefusedError(f"The key {self._key} in Redis holds no claim; delete the key.")
        return Address.parse(words[1], self._key)


def head_by_health_service(settings: NodeSettings) -> Address | None:
    """Ask the health service for the head; any failure, and a head that is this node's former self, is no answer."""
    if not settings.health_url:
        return None
    # No proxy: the service is in our own network, and a proxy of the site cannot reach it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{settings.health_url.rstrip('/')}/status", timeout=settings.health_timeout) as response:
            head = json.load(response)["ray"]["head"]
        return None if head["node"] == settings.name else Address.parse(head["address"], "health service")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException, NodeError):
        return None


class ClaimElection:
    """Election on one host: an existing head is joined, else the first candidate to claim headship has it."""

    def __init__(self, settings: NodeSettings, claim: HeadClaim | None, stop: threading.Event) -> None:
        self._settings = settings
        self._claim = claim
        self._stop = stop

    def decide(self) -> Role:
        """See HeadElection; raises NodeError also when told to stop meanwhile."""
        settings = self._settings
        began = reported = time.monotonic()
        while not self._stop.is_set():
            try:
                role, obstacle = self._attempt()
            except OSError as error:
                role, obstacle = None, f"Redis at {settings.redis} does not answer ({error})"
            if role:
                return role
            now = time.monotonic()
            if now - began > settings.deadline:
                raise NodeError(f"No Ray head within {settings.deadline:.0f} s: {obstacle}; see that service's log.")
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                say(f"waiting for a Ray head since {now - began:.0f} s: {obstacle}")
            self._stop.wait(POLL_SECONDS)
        raise NodeError("Stopped before a Ray head was found.")

    def keep(self) -> bool:
        """See HeadElection. Without Redis the GCS ends by itself, so an outage is not a loss of the claim."""
        try:
            return self._claim is None or self._claim.renew()
        except (OSError, NodeError) as error:
            say(f"warning: the claim to be head was not renewed ({error})")
            return True

    def release(self) -> None:
        """See HeadElection; without Redis the claim ends by itself."""
        if self._claim:
            with contextlib.suppress(OSError, NodeError):
                self._claim.release()

    def _attempt(self) -> tuple[Role | None, str]:
        """Try once; with the reason when there is no role yet."""
        settings = self._settings
        if settings.head and settings.head.host != settings.name:
            return self._join(settings.head, f"{settings.head} (the explicit head address) does not answer")
        for address in filter(None, (head_by_health_service(settings), *self._other_candidates())):
            if address.answers():
                return Role(address), ""
        if not self._claim:
            return None, "this node has no RAY_REDIS_ADDRESS, and no other node is head"
        if settings.name not in settings.candidates and not settings.head:
            holder = self._claim.look()
            none_yet = "this node is not on the head whitelist, and no other node is head"
            return self._join(holder, f"{holder} is starting") if holder else (None, none_yet)
        holder = self._claim.take()
        return self._join(holder, f"{holder} claimed headship and is starting") if holder else (Role(None), "")

    def _join(self, head: Address, obstacle: str) -> tuple[Role | None, str]:
        return (Role(head), "") if head.answers() else (None, obstacle)

    def _other_candidates(self) -> list[Address]:
        if self._settings.head:  # names this node: the others cannot be head
            return []
        return [
            Address(name, self._settings.gcs_port) for name in self._settings.candidates if name != self._settings.name
        ]


# ------------------------------------------------------------------------------------------ this node's means


def own_address(peer: Address | None) -> str | None:
    """Return this machine's IPv4 address on the route to the peer (None: the default route); None: no such route."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((peer.host, peer.port) if peer else ("8.8.8.8", 53))  # UDP: nothing is sent
            address = str(probe.getsockname()[0])
    except OSError:
        return None
    return None if address.startswith("127.") else address


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
    """Split the container's memory (bytes) into object store and memory for tasks, warning when /dev/shm is small."""
    wanted = int(memory * OBJECT_STORE_SHARE)
    store = max(min(wanted, int(shm * SHM_SHARE)), OBJECT_STORE_MINIMUM)
    if store < wanted or store > shm * SHM_SHARE:
        say(
            f"warning: /dev/shm has {shm >> 20} MiB, so the object store gets {store >> 20} MiB, "
            f"not {wanted >> 20} MiB; give this container shm_size {int(wanted / SHM_SHARE / 2**20) + 1}m."
        )
    return store, max(memory - store, 0)


def start_arguments(settings: NodeSettings, role: Role) -> list[str]:
    """Return the arguments of ``ray start`` for the role."""
    store, tasks = split_memory(settings.memory or container_memory(), shared_memory())
    arguments = [
        "--block",
        "--log-color=false",
        f"--num-cpus={settings.cpus:g}",
        f"--num-gpus={settings.gpus:g}",
        f"--object-store-memory={store}",
        f"--memory={tasks}",
        f"--labels=cslr.node={settings.name}",
        f"--resources={json.dumps({settings.name: 1})}",
        *(f"{flag}={port}" for flag, port in PORT_FLAGS.items()),
    ]
    if role.head:
        # A worker's Ray takes the address on the route to the head, which is what other nodes can reach.
        return [*arguments, f"--address={role.head}"]
    return [
        *arguments,
        "--head",
        f"--port={settings.gcs_port}",
        f"--ray-client-server-port={settings.client_port}",
        "--dashboard-host=0.0.0.0",
        f"--dashboard-port={settings.dashboard_port}",
        "--disable-usage-stats",
        *head_address_flag(own_address(settings.redis), own_address(None)),
    ]


def head_address_flag(to_redis: str | None, default: str | None) -> list[str]:
    """Return --node-ip-address only where Ray would take another address than the one the cluster's network knows.

    A head's Ray takes the address on the default route. On a bridge that is the container's only address, which Docker
    may change at every start, so nothing is fixed there. A host with several networks, or none that leads outside,
    needs the flag.
    """
    if to_redis is None or to_redis == default:
        return []
    return [f"--node-ip-address={to_redis}"]


def ray_environment(environment: Mapping[str, str], role: Role) -> dict[str, str]:
    """Return the environment of ``ray start``: the container's, with what only a head or only a worker needs."""
    result = dict(environment)
    if role.is_head:
        result["RAY_START_HOOK"] = HOOK
    else:
        result.pop("RAY_REDIS_ADDRESS", None)  # only the GCS talks to Redis
        result.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(WORKER_RECONNECT_SECONDS))
    return result


# ------------------------------------------------------------------------- `ray start` without a visible password


def hand_over_redis_password(ray_parameters: Any, head: bool) -> None:  # noqa: ANN401  (Ray's RayParams)
    """Give Ray the Redis password from its file; Ray calls this in ``ray start`` (RAY_START_HOOK).

    Ray 2.60 has no other way in than --redis-password, and writes it on the command lines of gcs_server, raylet and
    every worker. Only ``ray start`` itself and gcs_server need it: gcs_server gets it as an environment variable, by
    the gflags option --fromenv, and then it is forgotten.
    """
    from ray._private import services

    os.environ.pop("RAY_START_HOOK", None)
    if not head:
        return
    settings = NodeSettings.from_environment(os.environ)
    password = ray_parameters.redis_password = read_secret(settings.redis_password_file, "the password of Redis")
    start_ray_process = services.start_ray_process

    def start_adapted(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        variables = {}
        if process_type == "gcs_server":
            flag = f"--redis_password={password}"
            command = ["--fromenv=redis_password" if word == flag else word for word in command]
            variables = {"FLAGS_redis_password": password}
            ray_parameters.redis_password = ""
        elif process_type == "ray_client_server":
            # It forks a server for each client while its own gRPC runs; gRPC's fork handlers then at times crash the
            # child (epoll_wait: Bad file descriptor), and the client reads "Starting Ray client server failed".
            variables = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
        options["env_updates"] = {**(options.get("env_updates") or {}), **variables}
        return start_ray_process(command, process_type, *arguments, **options)

    services.start_ray_process = start_adapted


def start_ray(arguments: list[str]) -> int:
    """Be ``ray start`` with these arguments, in this process."""
    from ray.scripts import scripts

    sys.argv = ["ray", "start", *arguments]
    ray: Callable[[], int | None] = scripts.main
    return ray() or 0


# ------------------------------------------------------------------------------------------------ supervision


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends, so that none outlives it."""
    set_child_subreaper = 36  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Return the process ids below a process, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                # The name in parentheses may hold anything, so count fields from its end.
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [root]
    while pending:
        below = children.get(pending.pop(), [])
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


def end_descendants(grace: float = 5.0) -> None:
    """End all that is left below this process: SIGTERM, then after ``grace`` seconds SIGKILL."""
    deadline = time.monotonic() + grace
    signalled: set[tuple[int, int]] = set()
    while True:
        reap()
        left = descendants(os.getpid())
        if not left:
            return
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for process in left:
            if (process, number) not in signalled:
                signalled.add((process, number))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        time.sleep(0.05)


def supervise(command: list[str], environment: dict[str, str], stop: threading.Event, keep: Callable[[], bool]) -> int:
    """Run the command until it ends, ``stop`` is set, or ``keep`` says no; then nothing of it is left.

    Returns 0 when it was told to stop, 1 when ``keep`` said no, else the exit code of the command as a shell shows it
    (1 for 0, because a node does not end by itself).
    """
    adopt_orphans()
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        code, outcome = watch(child.pid, stop, keep)
        if code is None:
            code = terminate(child.pid)
    finally:
        end_descendants()
    child.returncode = code  # reaped here, not by Popen
    if outcome is not None:
        return outcome
    say(f"Ray ended by itself with exit code {code}")
    return 128 - code if code < 0 else code or 1


def watch(process: int, stop: threading.Event, keep: Callable[[], bool]) -> tuple[int | None, int | None]:
    """Wait for a reason to end: the child's exit code if it has ended, and our own exit code if it is decided."""
    renew_at = time.monotonic() + RENEW_SECONDS
    code = None
    while code is None:
        stop.wait(0.5)
        code = reap().get(process)
        if stop.is_set():
            return code, 0
        if time.monotonic() >= renew_at:
            renew_at = time.monotonic() + RENEW_SECONDS
            if not keep():
                say("another node is head now: stopping")
                return code, 1
    return code, None


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


# ------------------------------------------------------------------------------------------------- subcommands


def state_file() -> Path:
    """Return where ``run`` tells ``health`` the role."""
    return Path(tempfile.gettempdir()) / "cslr-ray-node.json"


def run() -> int:
    """Decide, start Ray, supervise it; see the module."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.chdir(tempfile.gettempdir())  # where tasks begin; the image's own folder cannot be written to
    settings = NodeSettings.from_environment(os.environ)
    if settings.token_file:
        read_secret(settings.token_file, "Ray's authentication token, RAY_AUTH_TOKEN_PATH")
    state_file().unlink(missing_ok=True)
    claim = None
    if settings.redis:
        redis = Redis(settings.redis, read_secret(settings.redis_password_file, "the password of Redis"))
        claim = HeadClaim(redis, settings.namespace, settings.name, Address(settings.name, settings.gcs_port))
    election: HeadElection = ClaimElection(settings, claim, stop)
    try:
        role = election.decide()
    except NodeError:
        if stop.is_set():
            return 0
        raise
    say(f"{settings.name} is head" if role.is_head else f"{settings.name} is a worker of {role.head}")
    state_file().write_text(json.dumps({"head": role.is_head}), encoding="utf-8")
    command = [sys.executable, __file__, "start-ray", *start_arguments(settings, role)]
    try:
        return supervise(
            command, ray_environment(os.environ, role), stop, election.keep if role.is_head else lambda: True
        )
    finally:
        if role.is_head:
            election.release()


def http_failure(port: int, path: str) -> str:
    """Return why a GET on this machine is not answered with 200; empty when it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return "" if response.status == 200 else f"{path} on port {port} answered {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {port}: {error}"
    finally:
        connection.close()


def health() -> int:
    """Check what the node's role must serve; 0 or 1 with the reason on stdout."""
    try:
        is_head = bool(json.loads(state_file().read_text(encoding="utf-8"))["head"])
    except (OSError, ValueError, LookupError, TypeError):
        print("undecided: neither head nor worker yet")
        return 1
    failures = [http_failure(AGENT_PORT, "/api/healthz")]
    if is_head:
        settings = NodeSettings.from_environment(os.environ)
        failures.append(http_failure(settings.dashboard_port, "/api/gcs_healthz"))
        if not Address("127.0.0.1", settings.client_port).answers():
            failures.append(f"the Ray Client port {settings.client_port} is closed")
    failures = [failure for failure in failures if failure]
    print("; ".join(failures) or ("head" if is_head else "worker"))
    return 1 if failures else 0


def main(arguments: list[str]) -> int:
    """Dispatch to the subcommand; a NodeError becomes one line and exit code 1."""
    commands: dict[str, Callable[[], int]] = {
        "run": run,
        "health": health,
        "start-ray": lambda: start_ray(arguments[1:]),
    }
    command = commands.get(arguments[0] if arguments else "run")
    if command is None:
        say(f"unknown subcommand {arguments[0]!r}: use run or health.")
        return 2
    try:
        return command()
    except NodeError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
