"""Keeps a node's scratch folder within its limit: measures it, removes unused files, ends the job that filled it.

The janitor removes only unneeded files, the oldest first: objects of ended jobs, old output, packages that can be
downloaded again. If that is not enough, it ends the one job whose objects or open files take the most space, and the
job's log says why. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from entrypoints.ray.jobs import Job, Jobs
from entrypoints.ray.memory_guard import PROC, Process, open_files, remove, write_to_stderr_of
from entrypoints.ray.scratch import (
    BLOCK,
    Layout,
    Use,
    gigabytes,
    measure,
    oldest_first,
    shorten,
    size_of,
    unlinked,
)

IDLE_SECONDS, BUSY_SECONDS = 20.0, 2.0  # between two checks, far from the limit and near it
NEAR = 0.6  # of the limit
GROWTH = 0.05  # of the limit, between two checks; faster growth triggers the next check at once
LOW = 0.85  # of the limit: a full folder is reduced to this
CACHE_SHARE = 0.25  # of the limit, for downloaded packages
LOGS_SHARE = 0.10  # of the limit, for the output of Ray, its workers and jobs
# A temporary file, or the logs of an ended session, not touched for this long may go when room is needed.
OLD_SECONDS = 24 * 3600
ENDED_SECONDS = 60.0  # how long Ray has to delete the objects of an ended job itself
GIVE_UP_SECONDS = 15.0  # for a job to end and free its space, before the next one is ended


class Janitor:
    """Keeps the scratch folder of one node within its limit, forever."""

    def __init__(self, layout: Layout, limit: int, jobs: Jobs, tell: Callable[[str], None]) -> None:
        self._layout = layout
        self._limit = limit
        self._jobs = jobs
        self._tell = tell
        self._ended_since: dict[str, float] = {}
        self._told = ""
        self._waits_until = 0.0

    def watch(self) -> None:
        """Check forever, more often near the limit. A failed check is logged, and the next one follows."""
        while True:
            try:
                use = self.look()
                self._rest(use)
            except (OSError, ValueError, LookupError) as error:
                self._say(f"the scratch folder cannot be looked after: {error}")
                time.sleep(IDLE_SECONDS)

    def _rest(self, use: Use) -> None:
        """Wait for the next check, which comes early near the limit and when objects are spilled at a high rate."""
        until = time.monotonic() + (BUSY_SECONDS if use.used > NEAR * use.limit else IDLE_SECONDS)
        before = sum(self._layout.spilled().values())
        while time.monotonic() < until:
            time.sleep(BUSY_SECONDS)
            if sum(self._layout.spilled().values()) - before > GROWTH * use.limit:
                return

    def look(self) -> Use:
        """Check once: measure, clean up, and make room if the folder is full. Returns the use afterwards."""
        for log in self._layout.job_logs():
            shorten(log)
        self._remove_objects_of_ended_jobs()
        use = measure(self._layout, self._limit)
        caches = self._layout.caches
        self._keep_within(caches, use.parts.get(caches.name, 0), int(use.limit * CACHE_SHARE))
        self._keep_logs_within(int(use.limit * LOGS_SHARE))
        if use.full:
            self._remove_unneeded(use)
            use = measure(self._layout, self._limit)
        self._report(use)
        if use.full and time.monotonic() >= self._waits_until:
            self._end_the_largest_job(use)
        return use

    def _report(self, use: Use) -> None:
        with contextlib.suppress(OSError):
            use.write(self._layout.report)
        if use.full:
            self._say(use.message)
        elif self._told.startswith("scratch full"):
            self._say(f"scratch has room again: {gigabytes(use.used)} of {gigabytes(use.limit)} GB")

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)

    def _remove_objects_of_ended_jobs(self) -> None:
        spilled = self._layout.spilled()
        if not spilled:
            return
        try:
            living = {job.identifier for job in self._jobs.all() if job.running} | self._jobs.with_actors()
        except (OSError, ValueError, LookupError, TypeError):
            return  # no head answers, so it is unknown which jobs are alive
        now = time.monotonic()
        self._ended_since = {job: self._ended_since.get(job, now) for job in spilled if job and job not in living}
        self._layout.remove_spilled(job for job, at in self._ended_since.items() if now - at > ENDED_SECONDS)

    def _keep_within(self, folder: Path, size: int, limit: int) -> None:
        """Remove the packages that were downloaded first, until the remaining ``size`` bytes are few enough."""
        if size <= limit:
            return
        entries = [entry for tool in folder.iterdir() for entry in (tool.iterdir() if tool.is_dir() else [tool])]
        for path in oldest_first(entries):
            if size <= limit * LOW:
                return
            size -= bytes_of(path)
            remove(path)

    def _remove_unneeded(self, use: Use) -> None:
        """Remove files that can be made again or were left behind, the cheapest first, until there is room."""
        excess = use.used - int(use.limit * LOW)
        for path in self._unneeded():
            if excess <= 0:
                return
            excess -= bytes_of(path)
            remove(path)

    def _unneeded(self) -> Iterator[Path]:
        layout, now = self._layout, time.time()
        opened = {str(path) for _, path in open_files() if path.is_relative_to(layout.root)}
        temporary = [
            path
            for path in layout.root.glob("*/tmp/*")
            if now - latest_change(path) > OLD_SECONDS and not any(name.startswith(str(path)) for name in opened)
        ]
        yield from oldest_first(temporary)
        yield from oldest_first(entry for tool in layout.caches.glob("*") for entry in tool.glob("*"))
        sessions = [path for path in layout.ray.glob("session_*") if not path.is_symlink()]
        current = {path.resolve() for path in layout.ray.glob("session_latest")}
        ended = [path for path in sessions if path.resolve() not in current]
        yield from oldest_first(part for path in ended for part in path.iterdir() if part.name != "logs")
        yield from oldest_first(path for path in ended if now - latest_change(path / "logs") > OLD_SECONDS)
        yield from (path for path in self._logs() if str(path) not in opened and not is_of_a_job(path))

    def _logs(self) -> list[Path]:
        """All output of Ray, also in folders below, the oldest first; job output comes last."""
        sessions = (path for path in self._layout.ray.glob("session_*") if not path.is_symlink())
        logs = (path for session in sessions for path in session.glob("logs/**/*") if path.is_file())
        return sorted(oldest_first(logs), key=is_of_a_job)

    def _keep_logs_within(self, limit: int) -> None:
        """Remove the oldest output, until the rest is small enough."""
        logs = self._logs()
        size = sum(blocks(path) for path in logs)
        if size > limit:
            opened = {path for _, path in open_files()}
            for path in (path for path in logs if path not in opened):
                if size <= limit * LOW:
                    return
                size -= blocks(path)
                remove(path)

    def _end_the_largest_job(self, use: Use) -> None:
        takes = self._layout.spilled()
        temporary = {path: process for process, path in open_files() if path.is_relative_to(self._layout.temporary)}
        for path, process in temporary.items():
            job = job_of_process(process)
            takes[job] = takes.get(job, 0) + blocks(path)
        for process, size in unlinked(self._layout.root):
            job = job_of_process(process)
            takes[job] = takes.get(job, 0) + size
        takes.pop("", None)
        try:
            running = [job for job in self._jobs.all() if job.running]
        except (OSError, ValueError, LookupError, TypeError):
            return
        sizes = {job: takes.get(job.identifier, 0) + takes.get(job.submission, 0) for job in running}
        largest = max(sizes, key=lambda job: sizes[job]) if sizes else None
        if largest and sizes[largest] > 0:
            self._waits_until = time.monotonic() + GIVE_UP_SECONDS
            self._end(largest, min(sizes[largest], use.used), use)  # it may have grown since it was measured

    def _end(self, job: Job, size: int, use: Use) -> None:
        name = job.submission or f"job {job.identifier}"
        sentence = (
            f"{self._layout.service}: {use.message}; {name} holds {gigabytes(size)} GB of it, the most of all, and was "
            "ended. Keep fewer objects and temporary files at once, or raise ray.scratch_limit."
        )
        for log in self._layout.job_logs():
            if job.submission and log.name == f"job-driver-{job.submission}.log":
                with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
                    file.write(f"\n[cslr] {sentence}\n")
        self._tell(sentence)
        with contextlib.suppress(OSError, ValueError):
            if job.submission:
                self._jobs.stop(job)
                return
        if job.process and Process.read(job.process):
            write_to_stderr_of(job.process, f"[cslr] {sentence}\n")
            with contextlib.suppress(OSError):
                os.kill(job.process, signal.SIGTERM)


def job_of_process(process: int) -> str:
    """Return the ID of the job that a process works for, or of the submission whose driver it is; else ""."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        variables = (PROC / str(process) / "environ").read_text(errors="replace").split("\0")
        environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
        if identifier := environment.get("RAY_JOB_ID"):
            return identifier
        return str(json.loads(environment["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]["job_submission_id"])
    return ""


def is_of_a_job(log: Path) -> bool:
    """Tell whether a log is of a job's driver, which people may read later."""
    return log.name.startswith("job-driver-")


def latest_change(path: Path) -> float:
    """Return the time of the last change in a tree, in seconds since 1970."""
    latest = 0.0
    with contextlib.suppress(OSError):
        latest = path.lstat().st_mtime
        if path.is_dir() and not path.is_symlink():
            latest = max([latest, *(one.lstat().st_mtime for one in path.rglob("*"))])
    return latest


def bytes_of(path: Path) -> int:
    """Return the bytes that a file or a tree takes on its disk."""
    return size_of(path) if path.is_dir() else blocks(path)


def blocks(path: Path) -> int:
    """Return the bytes that a file takes on its disk; 0 if it no longer exists."""
    with contextlib.suppress(OSError):
        return path.stat().st_blocks * BLOCK
    return 0
