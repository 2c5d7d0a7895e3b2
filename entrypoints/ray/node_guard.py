"""The guards of a Ray node, in one process: memory_guard.py, process_guard.py, and janitor.py for the scratch folder.

A separate process, so that neither a slow disk nor full memory delays the supervision of Ray. Standard library only,
Python 3.10 or newer.

    -m entrypoints.ray.node_guard      until it is ended

Settings: GuardSettings of contracts/ray_node.py, which the program that supervises Ray passes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from contracts.document import SETTINGS_VARIABLE, DocumentError, dump, load_settings
from contracts.ray_node import GuardSettings
from entrypoints.ray.container import state_folder
from entrypoints.ray.janitor import Janitor
from entrypoints.ray.jobs import Jobs
from entrypoints.ray.memory_guard import Cgroup, MemoryGuard
from entrypoints.ray.process_guard import ProcessGuard, limit_for
from entrypoints.ray.scratch import Layout

STATE_FILE = "ray-node.json"  # the node's own state: its role, and where the head is


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[node-guard] {message}", flush=True)


class Guard:
    """The guard as a child of the process that supervises Ray."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self.process = self._start()

    def replace_ended(self, ended: Mapping[int, int]) -> None:
        """Start it again if it is among the children that have ended."""
        if self.process.pid in ended:
            self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "entrypoints.ray.node_guard"]
        environment = {**os.environ, SETTINGS_VARIABLE: dump(self._settings)}
        return subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment)


def dashboard(fixed: str, folder: Path) -> Callable[[], str]:
    """Return a function that finds the head's dashboard: at the configured address, or as the node wrote it down."""

    def address() -> str:
        if fixed:
            return fixed
        try:
            return str(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["dashboard"])
        except (OSError, ValueError, LookupError):
            raise OSError("this node has not joined a head") from None

    return address


def token(file: Path | None) -> str:
    """Return Ray's token; empty if there is none."""
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except OSError:
        return ""


def main() -> int:
    """Guard forever; 0 if there is nothing to guard, 1 if the settings cannot be read."""
    try:
        settings = load_settings(GuardSettings, os.environ)
    except DocumentError as error:
        say(f"{error}.")
        return 1
    service = settings.service
    threads = []
    cgroup = Cgroup.find()
    if cgroup:
        logs = Layout(service).ray / "session_latest/logs"
        threads.append(threading.Thread(target=MemoryGuard(cgroup, service, say, logs).watch))
    most = limit_for(settings.cpus, os.environ)
    guard = ProcessGuard(most, service, say, logs=Layout(service).ray / "session_latest/logs")
    threads.append(threading.Thread(target=guard.watch))
    if settings.scratch_limit is not None:
        jobs = Jobs(dashboard(settings.dashboard, state_folder()), token(settings.token_file))
        threads.append(threading.Thread(target=Janitor(Layout(service), settings.scratch_limit, jobs, say).watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
