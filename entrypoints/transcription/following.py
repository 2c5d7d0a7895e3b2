"""Follows jobs on Ray: each has one Ray job after another, until no file is left or several in a row got nowhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from entrypoints.transcription.failures import RefusedError
from entrypoints.transcription.ledger import ENDED, Json, Ledger, options_of, settle, where_of
from entrypoints.transcription.media import moment
from entrypoints.transcription.ray_jobs import Attempts, Cluster, ClusterError, RayJob
from entrypoints.transcription.recognizer import Model, chosen

FOLLOW_EVERY = 1.0  # seconds
WAKE_EVERY = 15.0  # seconds
MOST_FRUITLESS = 3  # Ray jobs in a row that end without the end of a single file


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """What jobs on the Ray cluster need."""

    cluster: Cluster
    attempts: Attempts


class Follower:
    """Submits what waits for Ray, and keeps what Ray says of it. A thread runs it until the ledger stops."""

    def __init__(
        self,
        ledger: Ledger,
        ray: OnRay,
        models: Callable[[], Mapping[str, Model]],
        tell_end: Callable[[Json], None],
    ) -> None:
        self._ledger, self._ray, self._models, self._tell_end = ledger, ray, models, tell_end
        self._changed = ledger.changed
        self._woken = time.monotonic()
        ray.attempts.keep_only({attempt["name"] for job in ledger.jobs.values() if (attempt := job.get("attempt"))})

    def run(self) -> None:
        """Bring each job on Ray a step further, again and again."""
        while True:
            with self._changed:
                while not self._ledger.stopping and not (jobs := self._on_ray()):
                    self._changed.wait()
                if self._ledger.stopping:
                    return
            for job in jobs:
                self._follow(job)
            with self._changed:
                if not self._ledger.stopping:
                    self._changed.wait(timeout=FOLLOW_EVERY)

    def _on_ray(self) -> list[Json]:
        """Return the jobs of which something waits for Ray, or runs there."""
        found = [job for job in self._ledger.jobs.values() if where_of(job) == "ray"]
        return [job for job in found if job["attempt"] or any(file["state"] not in ENDED for file in job["files"])]

    def _follow(self, job: Json) -> None:
        problem: str | None = None
        try:
            if job["attempt"] and job["attempt"]["submitted"]:
                self._look(job)
            else:
                self._submit(job)
        except (ClusterError, RefusedError, OSError) as error:
            problem = str(error)  # tried again with the next step
        except Exception as error:  # noqa: BLE001 - one job must not end the work on the others
            problem = f"{type(error).__name__}: {error}"
        with self._changed:
            if problem and job["error"] != problem:
                self._ledger.say(f"{job['id']}: {problem}")
            if problem or not job["ended"]:
                job["error"] = problem

    def _submit(self, job: Json) -> None:
        """Begin an attempt, or go on to begin it; raises ClusterError or OSError."""
        with self._changed:
            if job["attempt"] is None:
                job["attempts"] += 1
                job["attempt"] = {"name": f"transcription-{job['id']}-{job['attempts']}", "submitted": False}
                job["started"] = job["started"] or moment(time.time())
                self._ledger.save(job)
            name = job["attempt"]["name"]
            paths = {file["index"]: file["path"] for file in job["files"] if file["state"] not in ENDED}
        if self._ray.cluster.find(name) is None:  # else it was submitted before a crash
            if job["cancelled"]:
                self._end_attempt(job, None)
                return
            media = self._seen(job, paths)
            try:
                model = chosen(self._models(), job["request"]["model"])
            except RefusedError as error:
                self._fail(job, media, str(error))
                media = {}
            if not media:
                self._end_attempt(job, None)
                return
            command = self._ray.attempts.prepare(name, media, model, options_of(job))
            self._ray.cluster.submit(name, command, {"transcription": job["id"]})
        with self._changed:
            job["attempt"].update(submitted=True, left=len(paths))
            self._ledger.save(job)

    def _seen(self, job: Json, paths: Mapping[int, str]) -> dict[int, Path]:
        """Return where Ray's nodes see the media; those that are gone fail. Raises OSError."""
        found = {}
        for index, path in paths.items():
            try:
                found[index] = self._ray.attempts.seen(path)
            except RefusedError as error:
                self._fail(job, [index], str(error))
        return found

    def _fail(self, job: Json, indices: Iterable[int], reason: str) -> None:
        with self._changed:
            for index in indices:
                job["files"][index].update(state="failed", error=reason)

    def _look(self, job: Json) -> None:
        """See how far an attempt is; raises ClusterError or OSError."""
        name = job["attempt"]["name"]
        if job["cancelled"]:
            self._ray.cluster.stop(name)
        found = self._ray.cluster.find(name)
        if found and not found.ended and time.monotonic() - self._woken >= WAKE_EVERY:
            self._woken = time.monotonic()
            with contextlib.suppress(ClusterError):  # the node of its driver may not be back yet
                self._ray.cluster.wake(name)
        with self._changed:
            open_files = {file["index"] for file in job["files"] if file["state"] not in ENDED}
        # After the question, so that the reports of an attempt that ended are complete.
        reports = self._ray.attempts.reports(name, open_files)
        with self._changed:
            changed = False
            for index, said in reports.items():
                file = job["files"][index]
                if file["state"] in ENDED:
                    continue  # cancelled meanwhile
                changed = changed or file["state"] != said.state
                file.update(asdict(said))
                if said.state == "failed":
                    self._ledger.say(f"{job['id']}: {file['path']} failed: {said.error}")
            settle(job)
            if changed:
                self._ledger.save(job)
        if found is None or found.ended:
            self._ray.attempts.remove(name)
            self._end_attempt(job, found)

    def _end_attempt(self, job: Json, found: RayJob | None) -> None:
        """Decide what becomes of the files that an attempt left."""
        with self._changed:
            attempt, job["attempt"] = job["attempt"], None
            left = [file for file in job["files"] if file["state"] not in ENDED]
            if attempt and attempt["submitted"]:
                job["fruitless"] = 0 if len(left) < attempt["left"] else job["fruitless"] + 1
            reason = (found.message or f"the Ray job {found.status.lower()}") if found else "Ray does not know the job"
            if left and attempt and attempt["submitted"] and not job["cancelled"]:
                self._ledger.say(f"{attempt['name']} left {len(left)} of {attempt['left']} files: {reason}")
            for file in left:
                if job["cancelled"]:
                    file.update(state="cancelled", progress=0.0)
                elif job["fruitless"] >= MOST_FRUITLESS:
                    error = f"{MOST_FRUITLESS} Ray jobs in a row ended without it: {reason}"
                    file.update(state="failed", progress=0.0, error=error)
                else:
                    file.update(state="waiting", progress=0.0)
            settle(job)
            self._ledger.note(job)
        if job["ended"]:
            self._tell_end(job)
