"""A working day on a deployed stack: checks that no case disturbs other users.

Before and after each case are compared: the head's container and processes, another user's running job, health, and
whether the next small job works.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import requests
from docker.models.containers import Container

from testing.live.deployment import wait_until
from testing.live.users import ENDED, User

# Part of the command line → what it is. None of them may ever end for what a user does.
OF_THE_NODE = {
    "entrypoints.ray.node": "ray_node",
    "/gcs/gcs_server": "gcs_server",
    "/raylet/raylet": "raylet",
    "dashboard/dashboard.py": "dashboard",
    "--mode=proxy": "client server",
    "log_monitor.py": "log monitor",
    "ray::DashboardAgent": "dashboard agent",
    "ray::RuntimeEnvAgent": "runtime_env agent",
}
HEARTBEAT_SECONDS = 3 * 60 * 60
BEAT_WITHIN = 30.0  # seconds in which another user's job must make progress, while the machine is busy with a case
HEALTHY_WITHIN = 60.0


@dataclass(frozen=True)
class Head:
    """The node that is head, as Docker sees it."""

    container: str
    started: str
    restarts: int
    processes: dict[str, int]

    @classmethod
    def seen(cls, container: Container) -> "Head":
        container.reload()
        table = container.top(ps_args="-eo pid,args")["Processes"]
        processes = {
            name: int(pid)
            for part, name in OF_THE_NODE.items()
            for pid, arguments in reversed(table)
            if part in arguments and not arguments.endswith(" health")
        }
        state = container.attrs["State"]
        return cls(str(container.id), state["StartedAt"], container.attrs["RestartCount"], processes)


@dataclass(kw_only=True)
class Day:
    """The stack as its users have it, and one of them whose job runs on beside everything."""

    user: User
    health: str  # URL without a slash at the end
    head: Container
    heartbeat: str = ""  # ID of the job
    told: set[str] = field(default_factory=set)  # what health said during the case

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Nothing but the case itself is touched by it."""
        self.keep_beating()
        before, beats = Head.seen(self.head), self.beats()
        with self.health_watched():
            yield
        self.is_the_same(before)
        wait_until(lambda: self.beats() > beats, "the heartbeat of another job", BEAT_WITHIN)
        assert self.user.status(self.heartbeat) == "RUNNING", self.user.job(self.heartbeat).said
        wait_until(lambda: self.healthy() == "", "health", HEALTHY_WITHIN)
        follower = self.user.wait(self.user.submit("small"))
        assert "small: FINE" in follower.log, follower.said
        self.is_the_same(before)

    def is_the_same(self, before: Head) -> None:
        """No container and no process of the node was restarted."""
        now = Head.seen(self.head)
        assert now == before, f"the node was {before}, and is {now}"

    def keep_beating(self) -> None:
        """Starts the heartbeat, if it does not run."""
        if self.heartbeat and self.user.status(self.heartbeat) not in ENDED:
            return
        self.heartbeat = self.user.submit("heartbeat", HEARTBEAT_SECONDS)
        wait_until(lambda: self.beats() > 0, "the first heartbeat", 60)

    def beats(self) -> int:
        """How often the heart has beaten."""
        lines = [line for line in self.user.log(self.heartbeat).splitlines() if line.startswith("beat ")]
        return int(lines[-1].split()[1]) if lines else 0

    def healthy(self) -> str:
        """What health has to complain of; empty where all is well."""
        answer = requests.get(f"{self.health}/health", timeout=10)
        return "" if answer.ok else answer.text

    @contextlib.contextmanager
    def health_watched(self) -> Iterator[None]:
        """Collects what health and status say meanwhile."""
        self.told = set()
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                with contextlib.suppress(requests.RequestException):
                    for path in ("/health", "/status"):
                        self.told.add(requests.get(self.health + path, timeout=5).text)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def is_up_again(self, before: Head, seconds: float = 180.0) -> None:
        """Waits until the head that was restarted on purpose takes jobs again."""
        wait_until(lambda: Head.seen(self.head).started != before.started, "the restart", seconds)
        deadline = time.monotonic() + seconds
        while True:
            try:
                assert "small: FINE" in self.user.run("small", seconds=seconds).log
                return
            except (AssertionError, requests.RequestException):
                assert time.monotonic() < deadline, f"no job within {seconds:.0f} s of the restart"
                time.sleep(1)
