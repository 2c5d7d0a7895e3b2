"""All jobs and how far they are: in memory, and in a file for each, so that a restart loses nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from entrypoints.transcription.failures import RefusedError, not_kept
from entrypoints.transcription.files import write_json
from entrypoints.transcription.media import moment
from entrypoints.transcription.recognizer import Options

ENDED = ("done", "failed", "cancelled")
Json = dict[str, Any]


class Ledger:
    """The jobs. Whoever reads or changes them holds `changed`, and tells it what others wait for."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.say = folder, say
        self.changed = threading.Condition(threading.RLock())
        self.stopping = False
        self.jobs: dict[str, Json] = {}
        for path in sorted(folder.glob("*/job.json")):
            try:
                job = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                say(f"{path} is damaged and left out: {error}")
                continue
            for file in job["files"]:
                if file["state"] == "running":
                    file.update(state="waiting", progress=0.0)
            self.jobs[job["id"]] = job

    def run_here(self) -> None:
        """Have open jobs on Ray done in the container: the stack has jobs run there now."""
        for job in self.jobs.values():
            if where_of(job) == "ray" and not job["ended"]:
                job["request"]["where"], job["attempt"] = "container", None

    def save(self, job: Json) -> None:
        """Keep a job's state; raises RefusedError."""
        if job["id"] not in self.jobs:
            return  # deleted meanwhile
        folder = self.folder / job["id"]
        try:
            folder.mkdir(exist_ok=True)
            write_json(folder / "job.json", job)
        except OSError as error:
            raise not_kept(error) from error

    def note(self, job: Json) -> None:
        """Keep a job's state, or go on without: what is not kept is found or done again after a restart."""
        try:
            self.save(job)
        except RefusedError as error:
            self.say(f"{job['id']}: {error}")


def settle(job: Json) -> None:
    """Note the end of a job of which nothing waits or runs."""
    if job["ended"] is None and all(file["state"] in ENDED for file in job["files"]):
        job["ended"] = moment(time.time())


def where_of(job: Json) -> str:
    """Return where a job runs."""
    return str(job["request"]["where"])


def options_of(job: Json) -> Options:
    """Return what a job asks of the recognizer."""
    return Options(language=job["request"]["language"], prompt=job["request"]["prompt"])


def counts_of(job: Json) -> dict[str, int]:
    """Return how many files of a job are in which state."""
    states = [file["state"] for file in job["files"]]
    return {"total": len(states)} | {state: states.count(state) for state in ("waiting", "running", *ENDED)}


def state_of(job: Json) -> str:
    """Return the state of a job as a whole."""
    counts = counts_of(job)
    if counts["running"] or (counts["waiting"] and counts["waiting"] < counts["total"]):
        return "running"
    if counts["waiting"]:
        return "waiting"
    if job["cancelled"] or counts["cancelled"]:
        return "cancelled"
    return "done" if counts["done"] else "failed"


def shown(job: Json) -> Json:
    """Return a job as callers see it."""
    files = [{key: value for key, value in file.items() if key != "result"} for file in job["files"]]
    fresh = [file for file in files if file["state"] == "done" and not file["reused"]]
    duration = sum(file["duration"] or 0.0 for file in files)
    processing, spoken = (
        sum(file["processing"] or 0.0 for file in fresh),
        sum(file["duration"] or 0.0 for file in fresh),
    )
    ended = sum(1.0 if file["state"] in ENDED else file["progress"] for file in files)
    return {
        "id": job["id"],
        "state": state_of(job),
        "created": job["created"],
        "started": job["started"],
        "ended": job["ended"],
        "request": dict(job["request"]),
        "where": where_of(job),
        "mlflow_run": job["mlflow_run"],
        "counts": counts_of(job),
        "progress": round(ended / len(files), 3) if files else 1.0,
        "duration": round(duration, 3),
        "processing": round(processing, 2),
        "real_time_factor": round(processing / spoken, 4) if spoken else None,
        "error": next((file["error"] for file in files if file["error"]), job["error"]),
        "files": files,
    }
