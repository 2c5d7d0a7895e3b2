"""One cluster over three hosts, each deployed by its own run of the program, and a client that works on it."""

import contextlib
import fcntl
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import docker
import redis
import yaml
from docker.models.containers import Container

from testing.cluster.checker import Violation, check
from testing.cluster.history import Event, History
from testing.cluster.hosts import Host, Lan, hosts, run
from testing.cluster.images import IMAGES, copy_images, make_images
from testing.cluster.redis_view import Recorder, RedisView
from testing.harness import merged
from testing.live.deployment import LiveStack, copy_project, wait_until

NAMES = ("alpha", "beta", "gamma")
CANDIDATES = ("alpha", "beta")  # the third is always a worker
REDIS_HOST = "gamma"
REDIS_PORT = 6381
REPLICA_HOST = "beta"
REPLICA_PORT = 6382
CLUSTER = "rig"
CLUSTER_KEY = f"cluster-{CLUSTER}.key"
# As small as Ray allows: three hosts share this machine.
SETTINGS: dict[str, Any] = merged(
    IMAGES,
    {"ray": {"cpu": {"cpus": 1, "memory": "2g"}, "head": {"cpus": 2, "memory": "2g"}}, "health": {"enabled": False}},
)
CLIENT_MARK = "A client of the cluster"  # in the client's command line
WORKLOAD = Path(__file__).with_name("workload.py").read_text()
RECOVERY_SECONDS = 120.0
RAY_CHATTER = "scripts.py:"  # what `ray start` says to people


def block(names: Sequence[str] = NAMES, *, replica: bool = False) -> dict[str, Any]:
    """The shared block of the stack config."""
    replica_keys = {"replica": REPLICA_HOST, "replica_port": REPLICA_PORT} if replica else {}
    return {
        "name": CLUSTER,
        "hosts": {name: {"address": f"10.88.0.{number}"} for number, name in enumerate(names, start=1)},
        "head_whitelist": list(CANDIDATES),
        "redis": {"host": REDIS_HOST, "port": REDIS_PORT, **replica_keys},
    }


@dataclass(kw_only=True)
class HostStack(LiveStack):
    """A host's stack, deployed from its own copy of the project and within its own network."""

    host: Host

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with the state folder and the Docker of the host."""
        return {**super().environment, "DOCKER_HOST": self.host.docker_host}

    @property
    def cluster_key(self) -> Path:
        """The file with the secret that all hosts must have."""
        return self.state.parent / CLUSTER_KEY


@dataclass(kw_only=True)
class Cluster:
    """The hosts with their stacks, the state of the election, and the history."""

    hosts: dict[str, Host]
    stacks: dict[str, HostStack]
    history: History
    redis_host: str = REDIS_HOST  # where the primary is
    _views: dict[str, RedisView] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def make(cls, folder: Path) -> Iterator["Cluster"]:
        """Hosts with images and stack files, nothing deployed; all are removed at the end.

        Waits while another run has hosts on this machine.
        """
        lock = folder.with_suffix(".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            tags, sources = make_images(folder / "images")
            with hosts(NAMES, folder) as found:
                copy_images(tags, found.values())
                stacks = {name: make_stack(host, sources) for name, host in found.items()}
                yield cls(hosts=found, stacks=stacks, history=History(folder / "history.jsonl"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()

    @property
    def lan(self) -> Lan:
        return self.hosts[REDIS_HOST].lan

    # --- deploying ---

    def up(self, name: str) -> str:
        """`ws up` on a host; returns its output."""
        stack = self.stacks[name]
        if name != REDIS_HOST:
            wait_until(self.stacks[REDIS_HOST].cluster_key.exists, f"a cluster key on {REDIS_HOST}", seconds=120)
            shutil.copy(self.stacks[REDIS_HOST].cluster_key, stack.cluster_key)  # as its user would
        done = stack.ws("up", "--engine", "embedded", "--yes")  # a client may work on it
        assert done.returncode == 0, (
            f"{name}: {done.stdout}\n{self.views_of_nodes()}\n{self.logs('ray-head', 'ray-cpu')}"
        )
        return str(done.stdout)

    def ws(self, name: str, *words: str) -> str:
        """Any command of `ws` on a host's stack; returns its output."""
        stack = self.stacks[name]
        command = [*stack.enter, sys.executable, "-m", "ws", *words, "--stack", name]
        return run(*command, folder=stack.folder, environment=stack.environment)

    def up_all(self) -> None:
        """On all hosts at the same moment."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.up, self.hosts))

    # --- what is there ---

    def add_replica(self) -> None:
        """Redeploys all hosts, with a Redis replica on another host."""
        for stack in self.stacks.values():
            (stack.folder / "cluster.yaml").write_text(yaml.safe_dump(block(replica=True)))
        self.up_all()

    @property
    def view(self) -> RedisView:
        """The election's state in Redis."""
        name = self.redis_host
        if name not in self._views:
            self._views[name] = RedisView(
                namespace=self.hosts[name].namespace,
                address=self.hosts[name].address,
                port=REDIS_PORT if name == REDIS_HOST else REPLICA_PORT,
                password=self.redis_password(),
                cluster=f"cslr-{CLUSTER}",
            )
        return self._views[name]

    def redis_password(self) -> str:
        """As it is mounted into the container of Redis."""
        mounts = self.container(REDIS_HOST, "redis").attrs["Mounts"]
        return next(Path(m["Source"]).read_text() for m in mounts if m["Destination"].endswith("/redis-password"))

    def container(self, host: str, service: str) -> Container:
        return self.stacks[host].container(service)

    def leader(self, seconds: float = RECOVERY_SECONDS) -> str:
        """The host whose head is ready; waits for one."""
        wait_until(lambda: self.view.leader() is not None, "a head that is ready", seconds)
        return str(self.view.leader())

    def victim(self) -> str:
        """The host of the head that is ready; while there is none, a host with power that could lead."""
        able = [name for name in CANDIDATES if self.hosts[name].is_up]
        assert able, "no host that could lead has power"
        leader = self.view.leader()
        return leader if leader in able else able[0]

    def lease_or_none(self) -> dict[str, str]:
        """The holder of the lease; empty without one, or if Redis does not answer."""
        with contextlib.suppress(redis.RedisError):
            return self.view.lease()
        return {}

    def services(self, host: str, *among: str) -> list[str]:
        """Which of some services a host has."""
        return [service for service in self.stacks[host].containers() if service in among]

    def others(self, *names: str) -> list[str]:
        """All hosts but these."""
        return [name for name in self.hosts if name not in names]

    def nodes(self, leader: str) -> list[str]:
        """Names of the expected Ray nodes."""
        return sorted([*(f"{name}-ray-cpu" for name in self.hosts), f"{leader}-ray-head"])

    # --- the client and the recorder ---

    @contextlib.contextmanager
    def observed(self) -> Iterator[None]:
        """A client works on the cluster, and events are recorded. At the end the counters report their values."""
        recorder, client = Recorder(lambda: self.view, self.history), Client(self, REDIS_HOST)
        try:
            self.history.wait_for("increment", since=time.monotonic(), seconds=RECOVERY_SECONDS, ok=True)
            yield
        finally:
            client.stop()
            recorder.stop()

    def want_actor(self) -> None:
        """Makes the client create an actor now."""
        with contextlib.suppress(docker.errors.DockerException):
            container = self.container(REDIS_HOST, "ray-cpu")
            self.hosts[REDIS_HOST].signal(container, CLIENT_MARK, signal.SIGUSR1)

    def settle(self, since: float) -> Event:
        """Waits until everything works that began at `since` or later, and the tables are right; tells it."""
        for name in self.hosts:
            self.history.wait_for("increment", since=since, seconds=RECOVERY_SECONDS, counter=name, ok=True)
            self.history.wait_for("task", since=since, seconds=RECOVERY_SECONDS, host=name, ok=True)
        self.history.wait_for("creation", since=since, seconds=RECOVERY_SECONDS, ok=True)

        def right() -> Event | None:
            told, leader = self.history.since(since, "nodes"), self.view.leader()
            return told[-1] if leader and told and told[-1]["alive"] == self.nodes(leader) else None

        with contextlib.suppress(AssertionError):  # the checker says what is wrong with the tables
            self.history.wait("right tables", RECOVERY_SECONDS, right)
        return self.history.now("settled", expected=self.nodes(self.leader()))

    def violations(self, since: float = 0.0) -> list[Violation]:
        """Violations of the rules."""
        return check([event for event in list(self.history.events) if event["time"] >= since])

    def views_of_nodes(self) -> str:
        """Which nodes the scheduler of each Ray node knows, as Ray dumps it every ten seconds."""
        state = "cat /scratch/*/ray/session_latest/logs/debug_state.txt"
        dumps = f"{state} | grep '^Local id' | grep -o '\"cslr.node\"[^}}]*'"
        found = []
        for name in self.hosts:
            for service in self.services(name, "ray-head", "ray-cpu"):
                output = cast(bytes, self.container(name, service).exec_run(["sh", "-c", dumps]).output)
                found.append(f"--- the scheduler of {name} {service} knows\n{output.decode(errors='replace')}")
        return "\n".join(found)

    def logs(self, *services: str, lines: int = 40) -> str:
        """The ends of logs, for a message of failure."""
        found = []
        for name, host in self.hosts.items():
            for service, container in self.stacks[name].containers().items() if host.is_up else ():
                if not services or service in services:
                    text = container.logs(tail=lines, timestamps=True).decode(errors="replace")
                    told = "\n".join(line for line in text.splitlines() if RAY_CHATTER not in line)
                    found.append(f"--- {name} {service} ({container.status})\n{told}")
        return "\n".join(found)


def make_stack(host: Host, sources: Path) -> HostStack:
    """A host's copy of the project, with its stack file and the cluster's."""
    stack = HostStack(
        name=host.name,
        folder=copy_project(host.folder),
        state_home=host.folder / "state",
        settings=SETTINGS,
        further_config={"cslr:cluster": "cluster.yaml"},
        engine=host.engine,
        enter=host.enter,
        host=host,
    )
    stack.configure()
    (stack.folder / "cluster.yaml").write_text(yaml.safe_dump(block()))
    stack.state.mkdir(parents=True, mode=0o700)
    shutil.copy(sources, stack.state)
    return stack


class Client:
    """Runs `workload.py` in the worker's container of a host, again whenever it ends, and writes down what it says."""

    def __init__(self, cluster: Cluster, host: str) -> None:
        self._cluster, self._host = cluster, host
        self._stop = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Lets it ask the counters, and ends it."""
        self._stop.set()
        host, deadline = self._cluster.hosts[self._host], time.monotonic() + 120
        while self._thread.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(docker.errors.DockerException):
                host.signal(self._cluster.container(self._host, "ray-cpu"), CLIENT_MARK, signal.SIGTERM)
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._count += 1
            with contextlib.suppress(docker.errors.DockerException, OSError):
                self._once(f"client{self._count}")
            self._cluster.history.now("client-ended", client=self._count)
            self._stop.wait(1.0)

    def _once(self, name: str) -> None:
        command = ["sh", "/run/cslr/with_python.sh", "-c", WORKLOAD, name, *self._cluster.hosts]
        answer = self._cluster.container(self._host, "ray-cpu").exec_run(command, stream=True, workdir="/tmp")
        for line in lines(cast("Iterator[bytes]", answer.output)):
            try:
                self._cluster.history.tell(json.loads(line))
            except ValueError:
                self._cluster.history.now("said", text=line)


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The whole lines in a stream."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
