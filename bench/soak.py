"""An hour of a group's work on a deployed stack: ``python -m bench.soak --minutes 60``.

Two users do at random what people do (bench/soak_work.py) while single services are restarted. A ledger says what was
saved, and is checked during the soak and at its end. Nothing may be lost, and the head may restart only where it was
asked to. Progress lines while it runs; Ctrl-C ends it early, with the report of what there was. It cleans up.
"""

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import docker
import requests
from docker.models.containers import Container

from bench.document import machine, write_section
from bench.soak_ledger import Ledger
from bench.soak_use import Uses, use_table
from bench.soak_work import WORK, Failed, Rig, Work, clean_up
from testing.harness import PROJECT
from testing.live.day import Head
from testing.live.deployment import LiveStack
from testing.live.users import User

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
USERS = 2
SAMPLE_SECONDS = 10.0
RESTART_EVERY = (60.0, 180.0)  # seconds
AFTER_RESTART = 60.0  # for this long work may be affected by a restart of a service
LOOK_AT = 6  # entries of the ledger, drawn every time a user has done a piece of work
CALM_SECONDS = 120.0  # before the last look: Ray gives idle workers back, janitors tidy
STOP_SECONDS = 500.0  # for work that is under way to end
RESTARTED = ("redis", "mlflow", "postgres", "marimo", "health", "keeper")
HEAD, STATE = "ray-cpu", "redis"  # Ray's GCS does not connect again to a Redis that was away: its head restarts
METHOD = """\
Two users, each with one piece of work after the other, drawn at random. A service is restarted by `docker restart` each
one to three minutes, {head} twice in all. Work that needs a restarted service may fail and is counted apart. What was
reported as saved before must be there all the same: files by their digest, results of Tune and Train, runs and models
of MLflow by its API, logs of jobs, notebooks."""


@dataclass(frozen=True, kw_only=True)
class Restart:
    """One that was asked for."""

    service: str
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Done:
    """A piece of work and its outcome."""

    work: str
    seconds: float
    error: str = ""
    reached_by: str = ""  # the service whose restart explains the error


@dataclass(kw_only=True)
class Soak:
    """The users, the restarts and the samples, and what they saw."""

    rig: Rig
    seed: str
    deadline: float
    over: bool = False
    restarts: list[Restart] = field(default_factory=list)
    under_way: str = ""  # the service that is being restarted now
    done: list[Done] = field(default_factory=list)
    head_restarts: int = 0  # unexpected ones
    followed: int = 0  # restarts of the head after one of Redis on purpose
    heads: list[str] = field(default_factory=list)  # what was seen of them
    uses: Uses = field(default_factory=Uses)

    def run(self) -> None:
        """Until the deadline, or Ctrl-C."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(USERS)]
        threads += [threading.Thread(target=self._restart), threading.Thread(target=self._sample)]
        for thread in threads:
            thread.daemon = True
            thread.start()
        try:
            while time.monotonic() < self.deadline:
                time.sleep(1)
        except KeyboardInterrupt:
            tell("interrupted: finishing the work under way, then the report; interrupt again to stop immediately")
        self.over = True
        end = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    # --- users ---

    def _work(self, number: int) -> None:
        draw = random.Random(f"{self.seed}-{number}")  # noqa: S311 (no secret)
        while not self.over:
            work = draw.choices(WORK, [one.weight for one in WORK])[0]
            self.done.append(done := self._one(work, draw))
            how = f"failed ({done.reached_by} restarted)" if done.reached_by else "FAILED" if done.error else "done"
            tell(f"user {number}: {work.name} {how} in {done.seconds:.0f} s {' '.join(done.error.split())[-400:]}")
            entries = self.rig.ledger.entries()
            self.rig.ledger.look(draw.sample(entries, min(LOOK_AT, len(entries))), rest=lambda: time.sleep(10))

    def _one(self, work: Work, draw: random.Random) -> Done:
        began = time.monotonic()
        try:
            work.do(self.rig, draw)
        except (Failed, AssertionError, LookupError, OSError) as error:
            text = f"{'' if isinstance(error, Failed) else type(error).__name__ + ': '}{error}"
            seconds = time.monotonic() - began
            return Done(work=work.name, seconds=seconds, error=text, reached_by=self._reached(work, began))
        except (requests.RequestException, docker.errors.DockerException) as error:
            seconds = time.monotonic() - began
            return Done(work=work.name, seconds=seconds, error=str(error), reached_by=self._reached(work, began))
        return Done(work=work.name, seconds=time.monotonic() - began)

    def _reached(self, work: Work, began: float) -> str:
        """The service whose restart explains this failure."""
        for service in work.needs:
            if self.under_way == service:
                return service
            if any(r.service == service and began < r.ended + AFTER_RESTART for r in self.restarts):
                return service
        return ""

    # --- restarts ---

    def _restart(self) -> None:
        draw = random.Random(f"{self.seed}-restarts")  # noqa: S311 (no secret)
        began, whole = time.monotonic(), self.deadline - time.monotonic()
        of_the_head = [began + whole / 3, began + 2 * whole / 3]
        while self._rest(draw.uniform(*RESTART_EVERY)):
            service = draw.choice(RESTARTED)
            if of_the_head and time.monotonic() > of_the_head[0]:
                of_the_head.pop(0)
                service = HEAD
            if service in self.rig.stack.containers():
                self._restart_one(service)

    def _restart_one(self, service: str) -> None:
        self.under_way, began = service, time.monotonic()
        try:
            self.rig.stack.container(service).restart(timeout=60)
            deadline = began + 300
            time.sleep(SAMPLE_SECONDS)  # what follows from it begins by then
            while self.rig.stack.unhealthy() and time.monotonic() < deadline:
                time.sleep(1)
        except docker.errors.DockerException as error:
            tell(f"restart of {service} failed: {error}")
        self.restarts.append(Restart(service=service, began=began, ended=time.monotonic()))
        self.under_way = ""
        tell(f"{service} restarted on purpose, healthy again after {time.monotonic() - began:.0f} s")

    def _rest(self, seconds: float) -> bool:
        """Waits; returns whether the soak continues."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over:
            time.sleep(1)
        return not self.over

    # --- samples ---

    def _sample(self) -> None:
        before: Head | None = None
        while self._rest(SAMPLE_SECONDS):
            try:
                self.uses.sample(self.rig)
                if self.under_way == HEAD:
                    before = None
                    continue
                now = Head.seen(self.rig.stack.container(HEAD))
                before = self._compared(before, now)
            except (docker.errors.DockerException, requests.RequestException, LookupError, ValueError) as error:
                tell(f"no sample: {error}")

    def _compared(self, before: Head | None, now: Head) -> Head:
        """Notes where a process of the node has an unexpected new process ID."""
        if before is None or (now.started, now.processes) == (before.started, before.processes):
            return now
        names = sorted(
            name
            for name in {**before.processes, **now.processes}
            if before.processes.get(name) != now.processes.get(name)
        )
        near = {r.service for r in self.restarts if time.monotonic() < r.ended + AFTER_RESTART} | {self.under_way}
        if HEAD in near:
            return now
        if STATE in near:
            self.followed += now.started != before.started
            return now
        self.head_restarts += 1
        where = f" (restarted before: {', '.join(sorted(near - {''})) or 'nothing'})"
        self.heads.append(f"{time.strftime('%H:%M:%S')}: {', '.join(names) or 'container'}{where}")
        tell(f"HEAD RESTARTED: {self.heads[-1]}")
        return now


def main() -> int:
    """Soaks, and writes the section of the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of work (default: %(default)g)")
    parser.add_argument("--stack", default="dev", help="a stack that runs on this host (default: %(default)s)")
    parser.add_argument("--seed", default=f"{time.time_ns() % 2**32}", help="seed of the work and the restarts")
    parser.add_argument("--keep", action="store_true", help="leave what it made")
    arguments = parser.parse_args()
    rig = rig_of(arguments.stack)
    soak = Soak(rig=rig, seed=arguments.seed, deadline=time.monotonic() + 60 * arguments.minutes)
    tell(f"seed {arguments.seed}, {arguments.minutes:g} minutes on {rig.stack.identity.prefix}, as {rig.prefix}")
    soak.uses.start(rig)
    began = time.monotonic()
    left: dict[str, str] = {}
    try:
        soak.run()
        minutes = (time.monotonic() - began) / 60
        tell(f"last look at {len(rig.ledger.entries())} entries of the ledger")
        rig.ledger.look(rig.ledger.entries(), rest=lambda: time.sleep(10))
    except KeyboardInterrupt:
        minutes = (time.monotonic() - began) / 60
    if not arguments.keep:
        left = dict(clean_up(rig))
    try:
        time.sleep(CALM_SECONDS)
    except KeyboardInterrupt:
        tell("the last figures are taken immediately")
    soak.uses.end(rig)
    command = " ".join(["python -m bench.soak", *sys.argv[1:]])
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    ending = ["", METHOD.format(head=HEAD), "", f"{host}. Seed {arguments.seed}. Command: `{command}`."]
    lines = [*report(soak, minutes), *(f"Not cleaned up: {what}: {why}" for what, why in left.items()), *ending]
    print("\n".join(lines), flush=True)
    write_section("soak", "\n".join(lines), document=DOCUMENT)
    return 1 if rig.ledger.lost or soak.head_restarts or unexpected(soak) else 0


def rig_of(name: str) -> Rig:
    """The stack as it is deployed on this host."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    stack = LiveStack(name=name, folder=PROJECT, state_home=state, settings={}, engine=docker.from_env(timeout=180))
    dashboard, mlflow = (url_of(stack.container(service), port) for service, port in ((HEAD, 8265), ("mlflow", 5000)))
    user = User(dashboard=dashboard, token=stack.secrets()["ray-token"].strip())
    prefix = f"soak-{time.time_ns() // 10**9 % 10**7}"
    return Rig(stack=stack, user=user, mlflow=mlflow, ledger=Ledger(), prefix=prefix)


def url_of(container: Container, port: int) -> str:
    """Where a port of a container is published on this host."""
    published = container.attrs["NetworkSettings"]["Ports"][f"{port}/tcp"][0]
    return f"http://127.0.0.1:{published['HostPort']}"


def tell(line: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


# --- the report ---


def unexpected(soak: Soak) -> list[Done]:
    """Work that failed though nothing that it needs was restarted."""
    return [done for done in soak.done if done.error and not done.reached_by]


def report(soak: Soak, minutes: float) -> list[str]:
    """The section."""
    ledger, failed = soak.rig.ledger, unexpected(soak)
    saved = ", ".join(f"{count} {kind}" for kind, count in sorted(ledger.counts().items()))
    return [
        "## A group's work",
        "",
        "| figure | goal |  |",
        "|---|---|---|",
        f"| saved and then lost, of {len(ledger.entries())} ({saved}) | 0 | {bold(len(ledger.lost))} |",
        f"| unexpected restarts of the head | 0 | {bold(soak.head_restarts)} |",
        f"| restarts of the head that followed one of {STATE} on purpose | - | {soak.followed} |",
        f"| work that failed though nothing it needs was restarted, of {len(soak.done)} | 0 | {bold(len(failed))} |",
        f"| restarts of services on purpose in {minutes:.0f} min | - | {restarted(soak.restarts)} |",
        "",
        *work_table(soak.done),
        "",
        *use_table(soak.uses),
        "",
        *(f"- lost: {name}: {why}" for name, why in ledger.lost.items()),
        *(f"- head: {what}" for what in soak.heads),
        *(f"- {done.work}: {' '.join(done.error.split())[-300:]}" for done in failed),
    ]


def bold(number: int) -> str:
    """Bold if the goal is missed."""
    return f"**{number}**" if number else "0"


def restarted(restarts: Sequence[Restart]) -> str:
    """The number of restarts of each service."""
    counted = Counter(restart.service for restart in restarts)
    return ", ".join(f"{count} {service}" for service, count in sorted(counted.items())) or "none"


def work_table(done: Sequence[Done]) -> list[str]:
    """By kind of work."""
    by_kind: dict[str, list[Done]] = defaultdict(list)
    for one in done:
        by_kind[one.work].append(one)
    lines = [
        "| work | done | failed | ended by a restart on purpose | median, s | worst, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for work in WORK:
        if found := by_kind.get(work.name):
            well = [one.seconds for one in found if not one.error]
            ended = sum(bool(one.reached_by) for one in found)
            times = f"{median(well):.0f} | {max(well):.0f}" if well else "- | -"
            lines.append(f"| {work.name} | {len(well)} | {len(found) - len(well) - ended} | {ended} | {times} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
