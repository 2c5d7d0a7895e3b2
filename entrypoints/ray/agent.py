"""The agent of a host that may lead: takes part in the election, and starts and kills the head of this host.

Only the agent starts a head. coordination/election.py makes the decisions; this module provides the clock, Redis,
processes and files. The watchdog kills head and agent if the agent hangs. Runs with our images and with pulled ones:
standard library only (Ray is imported by the process that becomes the head), Python 3.10 or newer.

    -m entrypoints.ray.agent [run]         take part until SIGTERM
    -m entrypoints.ray.agent health        0 while the agent works, leading or not, with its state; else 1
    -m entrypoints.ray.agent watchdog FD   internal: the watchdog

Settings: AgentSettings of contracts/ray_node.py.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from contracts.document import load_settings
from contracts.ray_node import AgentSettings
from coordination import election
from coordination.election import Operation, Phase, Timer
from coordination.errors import NodeError
from coordination.lease import DEADLINE_SECONDS, Grant, Lease, Refusal, View, boottime, ray_namespace
from coordination.redis_client import Address
from entrypoints.command_line import dispatch
from entrypoints.log import logger
from entrypoints.ray.command import (
    AGENT_PORT,
    CLIENT_PORT,
    DASHBOARD_PORT,
    GCS_PORT,
    for_ray,
    head_environment,
    hidden_from_tasks,
    link_to,
    start_arguments,
)
from entrypoints.ray.container import software_versions, state_folder
from entrypoints.ray.epoch_store import EpochStore, lock
from entrypoints.ray.jobs import Jobs, end_lost_jobs
from entrypoints.ray.launcher import begin, prepare
from entrypoints.ray.node_guard import Guard, token
from entrypoints.ray.scratch import Layout, prepare_folders
from entrypoints.ray.supervision import Stop, Watched, adopt_orphans, end_descendants, reap
from entrypoints.ray.watchdog import Heartbeat, watchdog

TURN_SECONDS = 0.1  # interval at which the agent checks its processes
JITTER_SECONDS = 0.1
CONNECT_SECONDS = 0.5  # a host that does not answer a connection within this has no GCS
PERSIST_SECONDS = 3.0  # Redis syncs its append-only file each second
HEALTH_SECONDS, ANSWER_SECONDS = 1.0, 2.0  # interval between health checks of the GCS, and the time-out of each
UNHEALTHY_SECONDS = 8.0  # without any answer; a shorter time would treat a busy host as hung
SPARE_SECONDS = 15.0  # the spare process imports Ray this long after a head began to serve, so as not to slow it down
STALE_SECONDS = 10.0  # a loop that has not run for this long counts as hung


say = logger("ray-head")


def election_config(settings: AgentSettings) -> election.ElectionConfig | None:
    """Return the election's constants for this host; None: it takes no part."""
    host = settings.node.host
    if settings.static_head:
        here = Address.parse(settings.static_head, "head_address").host in (host, settings.node.address)
        return election.ElectionConfig(host, (host,)) if here else None
    return election.ElectionConfig(host, settings.candidates) if host in settings.candidates else None


# ------------------------------------------------------------------------------------------------------- the head


@dataclass
class HeadProcess:
    """One attempt to run a head: the `ray start` process, and its GCS, whose end `ray start` notices too late."""

    process: int
    redis: Address  # the server that its GCS writes to, for as long as it lives
    cancelled: threading.Event = field(default_factory=threading.Event)
    gcs: Watched = field(init=False)

    def __post_init__(self) -> None:
        """Begin to watch for the GCS."""
        self.gcs = Watched(self.process, "gcs_server")

    def reason_to_end(self, ended: Mapping[int, int], primary: Address | None) -> str:
        """Tell why this attempt is over; empty while it is not.

        `ended`: exit codes of children that have ended; `primary`: Redis's, None while unknown. A GCS whose Redis lost
        its power waits for it, for up to 15 minutes (the kernel resends), and answers health checks meanwhile.
        """
        self.gcs.find()
        if self.process in ended:
            return f"exit code {ended[self.process]}"
        if self.gcs.has_ended():
            return "its GCS has ended"
        if primary and primary != self.redis:
            return f"it uses the Redis at {self.redis}, and the primary is the one at {primary} now"
        return ""

    def forget(self) -> None:
        """Stop watching this attempt."""
        self.cancelled.set()
        self.gcs.close()


def accepts(address: Address) -> bool:
    """Tell whether something accepts connections at this address, on this host or another of the LAN."""
    try:
        socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def gcs_is_healthy(dashboard: Address) -> bool:
    """Ask the head's dashboard, which asks the GCS."""
    connection = http.client.HTTPConnection(dashboard.host, dashboard.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/api/gcs_healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------ the agent


@dataclass(frozen=True)
class _Reply:
    """An answer from Redis, and when the call was sent."""

    event: election.Event
    sent: float


@dataclass(frozen=True)
class _OfHead:
    """An event of one attempt; events of former attempts are dropped."""

    event: election.Event
    head: HeadProcess


class Agent:
    """Carries out the state machine's actions; one loop, and a thread for each action that may block."""

    def __init__(self, settings: AgentSettings, config: election.ElectionConfig, lease: Lease) -> None:
        self._settings = settings
        self._config = config
        self._node = settings.node
        self._lease = lease
        self._jobs = Jobs(lambda: str(self._dashboard), token(settings.guard.token_file))
        self._instance = uuid.uuid4().hex
        self._epoch_store = EpochStore(settings.state_folder)
        self._state = election.AgentState()
        self._events: queue.SimpleQueue[election.Event | _Reply | _OfHead] = queue.SimpleQueue()
        self._calls: queue.SimpleQueue[election.Call] = queue.SimpleQueue()
        self._timers: dict[Timer, float] = {}
        self._sent = 0.0  # of the call that was answered last
        self._heartbeat = Heartbeat.new()
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._spare: subprocess.Popen[bytes] | None = None  # a process that has imported Ray and waits
        self._spare_at = 0.0
        self._head: HeadProcess | None = None
        self._persisting: threading.Thread | None = None
        self._exiting = False

    @property
    def _gcs(self) -> Address:
        return Address(self._node.address, self._node.ports[GCS_PORT])

    @property
    def _dashboard(self) -> Address:
        return Address(self._node.address, self._node.ports[DASHBOARD_PORT])

    def run(self) -> None:
        """Take part until SIGTERM, then end the head and all its processes."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(election.StopRequested()))
        adopt_orphans()
        self._spare_at = boottime()
        self._look_after_processes()
        for duty in (self._answer_calls, self._listen):
            threading.Thread(target=duty, daemon=True).start()
        say(f"{self._config.host} takes part in the election; whitelist: {', '.join(self._config.candidates)}")
        self._take(election.Begin())
        try:
            while not self._exiting:
                self._turn()
        finally:
            self._heartbeat.beat(0.0)
            end_descendants(grace=0.0)

    def _turn(self) -> None:
        wake_at = min(self._timers.values(), default=float("inf"))
        timeout = min(max(wake_at - boottime(), 0.0), TURN_SECONDS)
        event: election.Event | _Reply | _OfHead | None = None
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout)
        # First of all: events that arrived while this process was frozen may be too old to act upon.
        self._expire(Timer.DEADLINE)
        if isinstance(event, _Reply):
            self._sent = event.sent
            self._take(event.event)
        elif isinstance(event, _OfHead):
            if event.head is self._head:
                self._take(event.event)
        elif event is not None:
            self._take(event)
        for timer in list(self._timers):
            self._expire(timer)
        self._look_after_processes()
        self._beat()

    def _expire(self, timer: Timer) -> None:
        if self._timers.get(timer, float("inf")) <= boottime():
            del self._timers[timer]
            self._take(election.Expired(timer))

    def _beat(self) -> None:
        self._heartbeat.beat(self._timers.get(Timer.DEADLINE, 0.0) if self._head else 0.0)
        write_status(self._state.phase, self._state.grant, self._state.said)

    # ---- the machine

    def _take(self, event: election.Event) -> None:
        if isinstance(event, election.Answered) and isinstance(event.result, (View, Grant)):
            self._epoch_store.note(event.result.epoch, event.result.incarnation)
        self._state, actions = election.step(self._config, self._state, event)
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: election.Action) -> None:
        if isinstance(action, election.Call):
            self._calls.put(action)
        elif isinstance(action, election.Arm):
            jitter = random.uniform(0, JITTER_SECONDS) if action.timer is Timer.RETRY else 0.0  # noqa: S311
            self._timers[action.timer] = boottime() + action.seconds + jitter
        elif isinstance(action, election.ArmDeadline):
            self._timers[Timer.DEADLINE] = self._sent + DEADLINE_SECONDS
            self._beat()
        elif isinstance(action, election.WatchPort):
            threading.Thread(target=self._watch_port, args=(action.address,), daemon=True).start()
        elif isinstance(action, election.StartHead):
            self._start_head(action)
        elif isinstance(action, election.KillHead):
            self._kill_head()
        elif isinstance(action, election.Say):
            say(action.text)
        else:
            self._exiting = True

    # ---- Redis

    def _answer_calls(self) -> None:
        while True:
            call = self._calls.get()
            sent = boottime()
            event: election.Event
            try:
                event = election.Answered(self._ask(call))
            except (OSError, NodeError) as error:
                event = election.Failed(str(error))
            self._events.put(_Reply(event, sent))

    def _ask(self, call: election.Call) -> election.Result:
        lease, grant = self._lease, call.grant
        if call.operation is Operation.LOOK:
            return lease.look()
        if call.operation is Operation.ACQUIRE:
            return self._acquire()
        assert grant is not None  # noqa: S101
        if call.operation is Operation.ANNOUNCE:
            return self._announce(grant)
        if call.operation is Operation.FENCE:
            lease.fence(grant, keep=call.user)
            return None
        if call.operation is Operation.RELEASE:
            return lease.release(grant, call.reason, call.hold_down)
        methods: dict[Operation, Callable[[Grant], election.Result]] = {
            Operation.CREATE_USER: lease.create_user,
            Operation.RENEW: lease.renew,
            Operation.RETRACT: lease.retract,
            Operation.REVOKE: lease.fence,
        }
        return methods[call.operation](grant)

    def _acquire(self) -> Grant | Refusal:
        # This agent holds the host's lock, so no other agent of the host lives and its lease may be taken over.
        answer = self._lease.acquire(self._config.host, self._instance, self._epoch_store.epoch, takeover=True)
        if isinstance(answer, Grant):
            self._persisting = threading.Thread(target=self._persist, args=(answer,), daemon=True)
            self._persisting.start()
        return answer

    def _persist(self, grant: Grant) -> None:
        with contextlib.suppress(OSError, NodeError):
            self._lease.persist(grant, PERSIST_SECONDS)

    def _announce(self, grant: Grant) -> bool:
        # Redis had enough time while the head was starting, so only a slow disk makes this wait.
        if self._persisting:
            self._persisting.join(timeout=1.0)
        client = Address(self._node.address, self._node.ports[CLIENT_PORT])
        return self._lease.announce(grant, self._gcs, client, self._dashboard, software_versions())

    def _listen(self) -> None:
        link = self._lease.link.another(1.0)
        while True:
            with contextlib.suppress(OSError, NodeError):
                for event in link.subscribe(self._lease.channel):
                    if event:
                        self._events.put(election.Woken())
            time.sleep(1.0)

    def _watch_port(self, address: Address) -> None:
        until = boottime() + election.PORT_SECONDS
        while boottime() < until:
            if not accepts(address):
                self._events.put(election.PortClosed())
                return
            time.sleep(TURN_SECONDS)

    # ---- processes

    def _look_after_processes(self) -> None:
        ended = reap()
        self._replace_ended(ended)
        if self._head and (reason := self._head.reason_to_end(ended, self._lease.link.primary)):
            self._take(election.HeadEnded(reason))

    def _replace_ended(self, ended: Mapping[int, int]) -> None:
        if self._watchdog is None or self._watchdog.pid in ended:
            command = [sys.executable, "-m", "entrypoints.ray.agent", "watchdog", str(self._heartbeat.descriptor)]
            folder = Path(__file__).parents[2]
            self._watchdog = subprocess.Popen(command, cwd=folder, pass_fds=(self._heartbeat.descriptor,))
        if self._guard is None:
            self._guard = Guard(self._settings.guard)
        self._guard.replace_ended(ended)
        if self._spare and self._spare.pid in ended:
            self._spare, self._spare_at = None, boottime() + SPARE_SECONDS
        if self._spare is None and boottime() >= self._spare_at:
            self._spare = self._prepare()

    def _prepare(self) -> subprocess.Popen[bytes]:
        return prepare(for_ray(os.environ), hidden_from_tasks(self._settings.redis))

    def _start_head(self, action: election.StartHead) -> None:
        """Start a head in the spare process, or in a new one."""
        grant, credentials = action.grant, action.credentials
        process = self._spare or self._prepare()
        self._spare, self._spare_at = None, float("inf")
        redis = self._lease.link.address
        self._head = HeadProcess(process.pid, redis)
        self._beat()
        namespace = ray_namespace(self._settings.redis.namespace, grant.incarnation)
        environment = head_environment(os.environ, str(redis), namespace, credentials.username, credentials.password)
        begin(process, start_arguments(self._node, None), environment)
        threading.Thread(target=self._watch_head, args=(self._head,), daemon=True).start()

    def _watch_head(self, head: HeadProcess) -> None:
        """Send events when the GCS begins to serve, and when it stops serving although its process is running."""
        while not accepts(self._gcs):
            if head.cancelled.wait(0.05):
                return
        self._events.put(_OfHead(election.HeadServes(), head))
        lost = (self._jobs, self._node.ports[AGENT_PORT], head.cancelled)
        threading.Thread(target=end_lost_jobs, args=lost, daemon=True).start()
        self._spare_at = boottime() + SPARE_SECONDS
        healthy_at: float | None = None
        while not head.cancelled.wait(HEALTH_SECONDS):
            if gcs_is_healthy(self._dashboard):
                healthy_at = boottime()
            elif healthy_at and boottime() - healthy_at > UNHEALTHY_SECONDS:
                reason = f"its GCS has not answered for {UNHEALTHY_SECONDS:.0f} s"
                self._events.put(_OfHead(election.HeadEnded(reason), head))
                return

    def _kill_head(self) -> None:
        head, self._head = self._head, None
        if head:
            head.forget()
        guard = self._guard.process if self._guard else None
        spared = {process.pid for process in (self._watchdog, self._spare, guard) if process}
        self._replace_ended(end_descendants(grace=0.0, spared=spared))
        if head and self._spare is None:
            self._spare_at = boottime()


# ----------------------------------------------------------------------------------------------------- subcommands


def status_file() -> Path:
    """Return the file in which ``run`` gives ``health`` its state."""
    return state_folder() / "head-agent.json"


@dataclass
class _Status:
    time: float = 0.0
    text: str = ""


_written = _Status()


def write_status(phase: Phase, grant: Grant | None, said: str) -> None:
    """Write the state for ``health``, once a second or on a change; on a full disk `health` sees that it is old."""
    text = f"{phase.value}{f' in epoch {grant.epoch}' if grant else ''}{f': {said}' if said else ''}"
    if text == _written.text and boottime() - _written.time < 1.0:
        return
    _written.time, _written.text = boottime(), text
    draft = status_file().with_suffix(".draft")  # `health` never reads half of it
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(asdict(_written)), encoding="utf-8")
        draft.replace(status_file())


def health() -> int:
    """Tell whether the agent's loop runs; 0 or 1 with its state on stdout."""
    try:
        status = json.loads(status_file().read_text(encoding="utf-8"))
        age, text = boottime() - float(status["time"]), str(status["text"])
    except (OSError, ValueError, LookupError, TypeError):
        print("the agent does not take part in the election (yet); see its log")
        return 1
    if age > STALE_SECONDS:
        print(f"the agent has hung for {age:.0f} s; before: {text}")
        return 1
    print(text)
    return 0


def run() -> int:
    """Take part in the election; see the module."""
    settings = load_settings(AgentSettings, os.environ)
    status_file().unlink(missing_ok=True)
    prepare_folders(Layout(settings.guard.service) if settings.node.temp_dir else None)
    config = election_config(settings)
    if config is None:
        return idle(settings)
    link = link_to(settings.redis)
    held = lock(settings.state_folder)
    if held is None:
        say(f"another agent of this host has {settings.state_folder}/agent.lock: waiting until it ends")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while held is None:
            time.sleep(1.0)
            held = lock(settings.state_folder)
    if settings.static_head:
        head = settings.static_head.rpartition(":")[0]
        say(f"election is off: head_address is this host, {head}; no other host leads when it fails")
    Agent(settings, config, Lease(link, settings.redis.namespace)).run()
    return 0


def idle(settings: AgentSettings) -> int:
    """Do nothing until SIGTERM, on a host that never leads."""
    reason = f"head_address is {settings.static_head}" if settings.static_head else "it is not on the head whitelist"
    say(f"no head is ever started on {settings.node.host}: {reason}")
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.set)
    while not stop.wait(1.0):
        write_status(Phase.STANDBY, None, reason)
    return 0


def main(arguments: list[str]) -> int:
    """Do what the arguments say; see the module."""
    commands = {"run": run, "health": health, "watchdog": lambda: watchdog(int(arguments[1]))}
    return dispatch(commands, arguments, say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
