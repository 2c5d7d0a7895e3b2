"""Checks that this program takes over a deployment of an older commit: ``python -m bench.takeover --from COMMIT``.

Deploys a small stack with the older commit, leaves data in it, replaces the program's files as ``git pull`` does, and
runs `ws preview` and `ws up`. Says which containers were kept, replaced or created, whether all data is there, and how
long each service was away. A second `ws up` must find nothing to change, and a stack file that the older commit took
and this one refuses must be refused in one message. It cleans up. Ten minutes where the older commit's images must be
built. Exit code: 0 taken over, 1 not, 77 nothing was tried, for the reason that is printed.
"""

import argparse
import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from rich.console import Console
from rich.table import Table

from bench.document import WIDE
from bench.takeover_away import Away
from bench.takeover_data import Data, NotTakenOverError
from testing.harness import PROJECT
from testing.live.deployment import LiveStack, copy_project

STACK = "takeover"
OLDEST = "a173f69"  # the last commit before version 0.2.0 began to be made
NOT_TRIED = 77  # the exit code by which test programs report that they were skipped
# Ports and a subnet of its own. The older commit publishes the port of the GCS, to 6379 unless it is told another.
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-takeover", "subnet": "10.231.0.0/24"},
    "ray": {"cpu": {"torch": False, "memory": "4g", "ports": {"gcs": 23379, "dashboard": 23265, "client": 23001}}},
    "redis": {"port": 23381},
    "postgres": {"port": 23432},
    "mlflow": {"port": 23000},
    "marimo": {"port": 23080, "memory": "3g"},
    "health": {"port": 23888},
}
# Taken by the older commit, refused since 0.2.0: a folder of the host's configuration that may be written.
REFUSED = {"ray": {"cpu": {"volumes": [{"source": "/etc/ssl", "target": "/host-ssl"}]}}}
REFUSAL = "/etc/ssl is in /etc"
ENGINES = ("embedded", "pulumi")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A stack's Docker objects at one time."""

    containers: dict[str, str]  # service → ID
    images: dict[str, str]  # service → ID
    networks: dict[str, str]  # name → ID
    volumes: dict[str, str]  # name → inode of its folder; Docker's "CreatedAt" changes with the files in it

    @classmethod
    def of(cls, stack: LiveStack) -> "Seen":
        """The present objects."""
        containers = stack.containers()
        return cls(
            containers={service: str(one.id) for service, one in containers.items()},
            images={service: str(one.attrs["Image"]) for service, one in containers.items()},
            networks={name: str(stack.engine.networks.get(name).id) for name in stack.networks()},
            volumes={
                name: str(Path(stack.engine.volumes.get(name).attrs["Mountpoint"]).stat().st_ino)
                for name in stack.volumes()
            },
        )


@dataclass
class Report:
    """The findings."""

    resources: list[tuple[str, str, str]] = field(default_factory=list)  # kind, name, what became of it
    data: list[tuple[str, str]] = field(default_factory=list)  # name, what is wrong with it
    seconds: dict[str, float] = field(default_factory=dict)  # step → how long it took
    away: dict[str, float] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)  # services whose image the newer program built
    faults: list[str] = field(default_factory=list)


class Takeover:
    """One stack of the older commit, and its takeover by the newer program."""

    def __init__(self, commit: str, engine: str, folder: Path, console: Console) -> None:
        self._commit, self._engine, self._console = commit, engine, console
        self._folder = folder
        self.report = Report()
        project = folder / "project"
        _extract(commit, project)
        self._older_python = self._environment(project)
        (project / ".venv").symlink_to(self._older_python.parent.parent)
        self.stack = LiveStack(
            name=STACK,
            folder=project,
            state_home=folder / "state",
            settings=SETTINGS,
            engine=docker.from_env(timeout=120),
            python=str(self._older_python),
        )
        self.stack.configure()
        self._images_before = self._image_ids()
        self._older_images: set[str] = set()

    def run(self) -> None:
        """All steps. Raises `NotTakenOverError`."""
        stack, report = self.stack, self.report
        with self._step(f"up of {self._commit}"):
            self._ws("up", "--engine", self._engine)
        data = Data(stack)
        with self._step("leaving data"):
            data.write()
        before, images = Seen.of(stack), self._image_ids()
        self._older_images = set(before.images.values())
        taken_then = self._takes_the_refused()
        self._update()
        if taken_then:
            with self._step("stack file that is refused now"):
                self._refuses(before)
        with self._step("preview"):
            self._say(_summary(self._ws("preview")))
        away = Away(stack.settings, stack.secrets()["ray-token"])
        with self._step("up"), away.watched():
            self._say(_summary(self._ws("up")))
        after = Seen.of(stack)
        report.away = away.seconds
        report.resources = list(_compared(before, after))
        report.built = sorted(service for service, image in after.images.items() if image not in images)
        with self._step("reading data"):
            report.data = list(data.read())
        report.faults += [f"{name}: {wrong}" for name, wrong in report.data if wrong]
        report.faults += [f"{service} is {state}" for service, state in stack.unhealthy().items()]
        if data.logs_were_in_memory:
            self._say("logs of jobs were carried over from the container's memory with tar, as CHANGELOG.md says")
        with self._step("up again"):
            again = self._ws("up")
        if "Nothing to change" not in again or Seen.of(stack) != after:
            report.faults.append(f"the second up changed something: {_summary(again)}")
        self._ws("preview", "--expect-no-changes")

    def clean_up(self) -> None:
        """Removes the stack, its data, and the images that were built for containers of the older commit alone."""
        needed = {str(one.attrs["Image"]) for one in self.stack.containers().values()}
        self.stack.remove()
        for image in self._older_images - self._images_before - needed:
            self.stack.engine.images.remove(image, force=True)

    # --- steps ---

    def _environment(self, project: Path) -> Path:
        """A Python with what the older commit's program imports: this one, where its lock asks for the same."""
        locked = re.findall(
            r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", (project / "requirements.txt").read_text(), re.MULTILINE
        )
        if all(_installed(name) in (version, None) for name, version in locked) and _installed("pulumi"):
            return Path(sys.prefix) / "bin" / "python"
        with self._step("an environment for the older commit's packages"):
            folder = self._folder / "venv"
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            python = folder / "bin" / "python"
            install = (str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt")
            subprocess.run(install, cwd=project, check=True)
        return python

    def _update(self) -> None:
        """Replaces the older files with this checkout's, and leaves the stack file: as ``git pull`` does."""
        stack = self.stack
        stack.folder.rename(self._folder / "older")
        copied = copy_project(self._folder / "newer")
        copied.rename(stack.folder)
        shutil.copy(self._folder / "older" / f"Pulumi.{STACK}.yaml", stack.folder)
        (stack.folder / ".venv").symlink_to(sys.prefix)
        stack.python = sys.executable

    def _takes_the_refused(self) -> bool:
        """Whether the older commit deploys a stack file that is refused now."""
        self.stack.configure(REFUSED)
        taken = self.stack.ws("preview", "--engine", self._engine).returncode == 0
        self.stack.configure()
        return taken

    def _refuses(self, before: Seen) -> None:
        """The message names key, reason and remedy, once, and nothing is changed."""
        self.stack.configure(REFUSED)
        refused = self.stack.ws("up")
        self.stack.configure()
        said = refused.stdout
        if refused.returncode == 0 or said.count(REFUSAL) != 1 or "read_only" not in said or "Traceback" in said:
            raise NotTakenOverError(f"a mount of /etc/ssl is not refused as it should be:\n{said[-3000:]}")
        if Seen.of(self.stack) != before:
            raise NotTakenOverError("the refused up changed something")

    def _ws(self, *arguments: str) -> str:
        done = self.stack.ws(*arguments)
        if done.returncode:
            raise NotTakenOverError(f"ws {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._say(f"{name} …")
        began = time.monotonic()
        yield
        self.report.seconds[name] = time.monotonic() - began
        self._say(f"{name}: {self.report.seconds[name]:.0f} s")

    def _say(self, text: str) -> None:
        self._console.print(f"[{self._engine}] {text}", markup=False, soft_wrap=True)

    def _image_ids(self) -> set[str]:
        return {str(image.id) for image in docker.from_env(timeout=120).images.list()}


def main() -> int:
    """Takes a stack over with each requested engine, and prints the result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.takeover", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, action="append", help="repeatable; both by default")
    parser.add_argument("--from", dest="commit", default=OLDEST, help=f"the older commit (default: {OLDEST})")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    if reason := _missing_commit(arguments.commit):
        console.print(reason, markup=False)
        return NOT_TRIED
    results = [_try(arguments.commit, engine, console) for engine in arguments.engine or ENGINES]
    tried = [result for result in results if result is not None]
    return NOT_TRIED if not tried else 0 if all(tried) else 1


def _try(commit: str, engine: str, console: Console) -> bool | None:
    """Whether the stack was taken over; None if that was not tried."""
    if engine == "pulumi" and not shutil.which("pulumi"):
        console.print("[pulumi] skipped: the Pulumi CLI is not on PATH", markup=False)
        return None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cslr-takeover-") as folder:
        takeover = Takeover(commit, engine, Path(folder), console)
        takeover.stack.remove()  # what a killed run left
        try:
            takeover.run()
        except (NotTakenOverError, AssertionError) as error:
            takeover.report.faults.append(str(error))
        finally:
            takeover.clean_up()
    show(takeover.report, commit, engine, time.monotonic() - began, console)
    return not takeover.report.faults


def show(report: Report, commit: str, engine: str, seconds: float, console: Console) -> None:
    """The table, and what is wrong."""
    table = Table(title=f"{commit} taken over with the {engine} engine", title_justify="left", box=None, pad_edge=False)
    for column in ("", "", "became", "away, s"):
        table.add_column(column)
    for kind, name, became in report.resources:
        away = f"{report.away[name]:.1f}" if kind == "container" and name in report.away else ""
        table.add_row(kind, name, became, away)
    for name, wrong in report.data:
        table.add_row("data", name, "LOST" if wrong else "kept", "")
    console.print(table)
    console.print(f"images built by this checkout: {', '.join(report.built) or 'none'}")
    console.print(
        f"steps: {', '.join(f'{step} {took:.0f} s' for step, took in report.seconds.items())}", soft_wrap=True
    )
    for fault in report.faults:
        console.print(f"FAULT: {fault}", markup=False, soft_wrap=True)
    console.print(f"{'NOT taken over' if report.faults else 'taken over'}, in {seconds:.0f} s with clean-up")


def _compared(before: Seen, after: Seen) -> Iterator[tuple[str, str, str]]:
    for kind, read in KINDS.items():
        one, other = read(before), read(after)
        for name in sorted(one.keys() | other.keys()):
            if name not in other:
                became = "removed"
            elif name not in one:
                became = "created"
            else:
                became = "kept" if one[name] == other[name] else "replaced"
            yield kind, name, became


KINDS: dict[str, Callable[[Seen], dict[str, str]]] = {
    "network": lambda seen: seen.networks,
    "volume": lambda seen: seen.volumes,
    "container": lambda seen: seen.containers,
    "image of": lambda seen: seen.images,
}


def _summary(said: str) -> str:
    """The line of a run of `ws` that says how much it changed."""
    lines = [line for line in said.splitlines() if re.search(r"\d+ unchanged|Nothing to change", line)]
    return lines[-1] if lines else said[-200:]


def _missing_commit(commit: str) -> str:
    """Why the older commit cannot be deployed; empty where it can."""
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        return ""
    return f"skipped: {commit} is not in this checkout's history ({found.stderr.strip()}); try: git fetch --unshallow"


def _extract(commit: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", commit], cwd=PROJECT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
