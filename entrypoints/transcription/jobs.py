"""Jobs over folders of media: what is asked, how far it is, and the results. All in files: a restart loses nothing.

In the container one file is in work at a time. On Ray (ray_jobs.py) a job has one Ray job after another, until no file
is left or several in a row got nowhere. What was heard is kept by the medium's content, the model and the options: a
second job over the same media transcribes none of them again.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from contracts.transcription import FileReport, Where
from entrypoints.transcription import formats
from entrypoints.transcription.alignment import retimed
from entrypoints.transcription.failures import CancelledError, RefusedError, not_kept
from entrypoints.transcription.files import write_json
from entrypoints.transcription.hearing import hear, read_result
from entrypoints.transcription.media import MOST_MEDIA, Tree, moment
from entrypoints.transcription.ray_jobs import Attempts, Cluster, ClusterError, RayJob
from entrypoints.transcription.recognizer import Options, Recognizer, chosen
from entrypoints.transcription.results import Result, as_cue, corrected
from entrypoints.transcription.transcript import (
    Segment,
    Shift,
    from_json,
    shifted,
)

ENDED = ("done", "failed", "cancelled")
FOLLOW_EVERY = 1.0  # seconds
MOST_FRUITLESS = 3  # Ray jobs in a row that end without the end of a single file
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a caller asks of a job."""

    paths: tuple[str, ...]
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    subtitles: dict[str, str] = field(default_factory=dict)
    subtitles_beside: bool = False
    shift: Shift | None = None
    where: Where | None = None  # None: where the stack has jobs run

    @property
    def options(self) -> Options:
        """What decides what is heard."""
        return Options(language=self.language, prompt=self.prompt)


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """What jobs on the Ray cluster need."""

    cluster: Cluster
    attempts: Attempts


class Jobs:
    """All jobs of this service, and the threads that work on them and follow those on Ray."""

    def __init__(
        self,
        folder: Path,
        tree: Tree,
        recognizer: Recognizer,
        say: Callable[[str], None],
        record: Callable[[Json], Any],
        ray: OnRay | None = None,
    ) -> None:
        self._folder, self._results = folder / "jobs", folder / "results"
        for each in (self._folder, self._results):
            each.mkdir(parents=True, exist_ok=True)
        self._tree, self._recognizer, self._say, self._record = tree, recognizer, say, record
        self._ray = ray
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stopping = False
        self._jobs: dict[str, Json] = {}
        for path in sorted(self._folder.glob("*/job.json")):
            try:
                job = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                say(f"{path} is damaged and left out: {error}")
                continue
            for file in job["files"]:
                if file["state"] == "running":
                    file.update(state="waiting", progress=0.0)
            if ray is None and where_of(job) == "ray" and not job["ended"]:
                job["request"]["where"], job["attempt"] = "container", None  # the stack has it run here now
            self._jobs[job["id"]] = job
        self._threads = [threading.Thread(target=self._work, name="jobs", daemon=True)]
        if ray:
            ray.attempts.keep_only({attempt["name"] for job in self._jobs.values() if (attempt := job.get("attempt"))})
            self._threads.append(threading.Thread(target=self._follow_all, args=(ray,), name="ray", daemon=True))

    @property
    def places(self) -> tuple[Where, ...]:
        """Where jobs can run, the usual place first."""
        return ("ray", "container") if self._ray else ("container",)

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is in work here is done again after the next start, and what is on Ray goes on meanwhile."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    # --- what callers ask ---

    def create(self, wanted: Wanted) -> Json:
        """Accept a job; raises RefusedError."""
        where = wanted.where or self.places[0]
        if where not in self.places:
            reason = "Jobs do not run on Ray here; the stack's key transcription.jobs.run_on decides it."
            raise RefusedError(400, "invalid_value", reason, param="where")
        model = chosen(self._recognizer.models(), wanted.model)
        media = self._media(wanted.paths)
        given = dict(wanted.subtitles)
        for medium, path in given.items():
            if medium not in media:
                reason = f"Subtitles are given for {medium!r}, which is none of the job's media."
                raise RefusedError(400, "invalid_value", reason, param="subtitles")
            formats.read_subtitles(self._tree.file(path))
        if wanted.subtitles_beside:
            given |= {
                medium: beside
                for medium in media
                if medium not in given and (beside := self._tree.subtitles_beside(medium))
            }
        shift = wanted.shift
        job: Json = {
            "id": f"job-{secrets.token_hex(6)}",
            "created": moment(time.time()),
            "started": None,
            "ended": None,
            "cancelled": False,
            "mlflow_run": None,
            "error": None,
            "request": {
                "paths": list(wanted.paths),
                "model": model.name,
                "language": wanted.language,
                "prompt": wanted.prompt,
                "subtitles": wanted.subtitles,
                "subtitles_beside": wanted.subtitles_beside,
                "shift": {"start": shift.start, "end": shift.end} if shift else None,
                "where": where,
            },
            "attempt": None,  # its Ray job
            "attempts": 0,
            "fruitless": 0,
            "order": time.time_ns(),
            "files": [
                {
                    "index": index, "path": medium, "state": "waiting", "reused": False, "progress": 0.0,
                    "duration": None, "processing": None, "language": None, "sha256": None, "revision": 0,
                    "error": None, "subtitles": given.get(medium), "result": None,
                }
                for index, medium in enumerate(media)
            ],
        }  # fmt: skip
        with self._changed:
            self._jobs[job["id"]] = job
            try:
                self._save(job)
            except RefusedError:
                del self._jobs[job["id"]]
                raise
            self._changed.notify_all()
            return shown(job)

    def _media(self, paths: Iterable[str]) -> list[str]:
        media: dict[str, None] = {}
        for path in paths:
            before = len(media)
            for medium in self._tree.media_below(path):
                media[medium] = None
                if len(media) > MOST_MEDIA:
                    raise RefusedError(400, "invalid_value", f"More than {MOST_MEDIA} media.", param="paths")
            if len(media) == before and path.rstrip("/") not in media:
                raise RefusedError(400, "invalid_value", f"There are no media in {path!r}.", param="paths")
        return list(media)

    def listed(self, limit: int) -> list[Json]:
        """Return the newest jobs, without their files."""
        with self._lock:
            jobs = sorted(self._jobs.values(), key=lambda job: -int(job["order"]))[:limit]
            return [{key: value for key, value in shown(job).items() if key != "files"} for job in jobs]

    def get(self, name: str) -> Json:
        """Return a job; raises RefusedError."""
        with self._lock:
            return shown(self._job(name))

    def cancel(self, name: str) -> Json:
        """Cancel what of a job is not done; raises RefusedError."""
        with self._changed:
            job = self._job(name)
            for file in job["files"]:
                # What is in work is seen between two segments, or stopped with the Ray job.
                if file["state"] == "running" or (file["state"] == "waiting" and job.get("attempt")):
                    job["cancelled"] = True
                if file["state"] == "waiting":
                    file["state"] = "cancelled"
            self._settle(job)
            self._save(job)
            self._changed.notify_all()
            return shown(job)

    def retry(self, name: str) -> Json:
        """Have what failed or was cancelled done again; raises RefusedError."""
        with self._changed:
            job = self._job(name)
            again = [file for file in job["files"] if file["state"] in ("failed", "cancelled")]
            if self._ray and job.get("attempt"):
                self._ray.attempts.forget_reports(job["attempt"]["name"], [file["index"] for file in again])
            for file in again:
                file.update(state="waiting", error=None, progress=0.0)
                job.update(ended=None, cancelled=False, error=None, fruitless=0)
            self._save(job)
            self._changed.notify_all()
            return shown(job)

    def delete(self, name: str) -> None:
        """Forget a job; raises RefusedError."""
        with self._changed:
            job = self._job(name)
            job["cancelled"] = True
            del self._jobs[name]
            shutil.rmtree(self._folder / name, ignore_errors=True)
            attempt = job.get("attempt")
        if self._ray and attempt:
            self._ray.attempts.remove(attempt["name"])
            try:
                self._ray.cluster.stop(attempt["name"])
            except ClusterError as error:
                self._say(f"{attempt['name']} is not stopped, and ends when it reports next: {error}")

    def result(self, name: str, index: int) -> Result:
        """Return what came of a file; raises RefusedError."""
        with self._lock:
            job = self._job(name)
            file = self._file(job, index)
            if file["state"] != "done":
                reason = f"The file {file['path']} is {file['state']}: it has no result."
                raise RefusedError(409, "not_finished", reason)
            facts, request = dict(file), dict(job["request"])
        kept = read_result(self._results, facts["result"])
        transcript = from_json(kept["transcript"])
        heard = list(transcript.words)
        edited = self._edits(name, index)
        if edited.is_file() and (segments := json.loads(edited.read_text(encoding="utf-8"))["segments"]) is not None:
            transcript = transcript.with_segments(corrected(segments, heard))
        cues = moved = None
        if facts["subtitles"]:
            given = formats.read_subtitles(self._tree.file(facts["subtitles"]))
            cues = retimed(given, heard, transcript.duration)
        if request["shift"]:
            shift = Shift(**request["shift"])
            source = cues if cues is not None else tuple(as_cue(segment) for segment in transcript.segments)
            moved = shifted(source, shift)
        return Result(
            transcript=transcript,
            cues=cues,
            moved=moved,
            facts=facts,
            model=kept["model"],
            processing=kept["processing"],
        )

    def edit(self, name: str, index: int, revision: int | None, segments: Sequence[Json] | None) -> Result:
        """Keep corrections, or with None go back to what was heard; raises RefusedError."""
        with self._lock:
            job = self._job(name)
            file = self._file(job, index)
            if file["state"] != "done":
                raise RefusedError(409, "not_finished", f"The file {file['path']} is {file['state']}.")
            if revision is not None and revision != file["revision"]:
                reason = f"The newest revision is {file['revision']}, not {revision}: somebody else edited it."
                raise RefusedError(409, "revision_conflict", reason, param="revision")
            try:
                write_json(self._edits(name, index), {"segments": None if segments is None else list(segments)})
            except OSError as error:
                raise not_kept(error) from error
            file["revision"] += 1
            self._save(job)
        return self.result(name, index)

    # --- the work ---

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and self._next() is None:
                    self._changed.wait()
                found = self._next()
                if self._stopping or found is None:
                    return
                job, file = found
                if job["started"] is None:
                    job["started"] = moment(time.time())
                file["state"] = "running"
                self._note(job)
            try:
                self._transcribe(job, file)
                outcome: Json = {"state": "done", "progress": 1.0}
            except CancelledError:
                outcome = {"state": "waiting" if self._stopping else "cancelled", "progress": 0.0}
            except RefusedError as error:
                outcome = {"state": "failed", "error": str(error)}
            except Exception as error:  # noqa: BLE001 - one file must not end the work on the others
                outcome = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
            self._finish(job, file, outcome)

    def _finish(self, job: Json, file: Json, outcome: Json) -> None:
        with self._changed:
            file.update(outcome)
            if job["cancelled"]:
                for other in job["files"]:
                    if other["state"] == "waiting":
                        other["state"] = "cancelled"
            self._settle(job)
            self._note(job)
        if outcome["state"] == "failed":
            self._say(f"{job['id']}: {file['path']} failed: {outcome['error']}")
        if job["ended"]:
            self._tell_end(job)

    def _tell_end(self, job: Json) -> None:
        """Say that a job ended, here and in MLflow."""
        self._say(f"{job['id']} ended: {counts_of(job)}")
        try:
            run = self._record(shown(job))
        except Exception as error:  # noqa: BLE001 - the results are here whatever MLflow says
            self._say(f"{job['id']} is not in MLflow: {error}")
        else:
            with self._changed:
                job["mlflow_run"] = run
                self._note(job)

    def _next(self) -> tuple[Json, Json] | None:
        for job in sorted(self._jobs.values(), key=lambda job: int(job["order"])):
            for file in job["files"]:
                if file["state"] == "waiting" and not job["cancelled"] and where_of(job) == "container":
                    return job, file
        return None

    def _transcribe(self, job: Json, file: Json) -> None:
        request = job["request"]
        model = chosen(self._recognizer.models(), request["model"])
        options = Options(language=request["language"], prompt=request["prompt"])

        def heard(segment: Segment, duration: float) -> None:
            with self._lock:
                file["duration"] = duration
                file["progress"] = round(min(segment.end / duration, 0.99), 3) if duration else 0.0

        kept = hear(
            self._tree.file(file["path"]),
            model,
            options,
            results=self._results,
            recognizer=self._recognizer,
            where="container",
            heard=heard,
            cancelled=lambda: bool(job["cancelled"]) or self._stopping,
        )
        with self._lock:
            file.update(
                result=kept.key, reused=kept.reused, sha256=kept.sha256, duration=kept.duration,
                language=kept.language, processing=kept.seconds,
            )  # fmt: skip

    # --- the work on Ray ---

    def _follow_all(self, ray: OnRay) -> None:
        """Bring each job on Ray a step further, again and again."""
        while True:
            with self._changed:
                while not self._stopping and not (jobs := self._on_ray()):
                    self._changed.wait()
                if self._stopping:
                    return
            for job in jobs:
                self._follow(ray, job)
            with self._changed:
                if not self._stopping:
                    self._changed.wait(timeout=FOLLOW_EVERY)

    def _on_ray(self) -> list[Json]:
        """Return the jobs of which something waits for Ray, or runs there."""
        found = [job for job in self._jobs.values() if where_of(job) == "ray"]
        return [job for job in found if job["attempt"] or any(file["state"] not in ENDED for file in job["files"])]

    def _follow(self, ray: OnRay, job: Json) -> None:
        problem: str | None = None
        try:
            if job["attempt"] and job["attempt"]["submitted"]:
                self._look(ray, job)
            else:
                self._submit(ray, job)
        except (ClusterError, OSError) as error:
            problem = str(error)  # tried again with the next step
        except Exception as error:  # noqa: BLE001 - one job must not end the work on the others
            problem = f"{type(error).__name__}: {error}"
        with self._changed:
            if problem and job["error"] != problem:
                self._say(f"{job['id']}: {problem}")
            if problem or not job["ended"]:
                job["error"] = problem

    def _submit(self, ray: OnRay, job: Json) -> None:
        """Begin an attempt, or go on to begin it; raises ClusterError or OSError."""
        with self._changed:
            if job["attempt"] is None:
                job["attempts"] += 1
                job["attempt"] = {"name": f"transcription-{job['id']}-{job['attempts']}", "submitted": False}
                job["started"] = job["started"] or moment(time.time())
                self._save(job)
            name, request = job["attempt"]["name"], job["request"]
            paths = {file["index"]: file["path"] for file in job["files"] if file["state"] not in ENDED}
        if ray.cluster.find(name) is None:  # else it was submitted before a crash
            if job["cancelled"]:
                self._end_attempt(job, None)
                return
            media = self._seen(ray, job, paths)
            try:
                model = chosen(self._recognizer.models(), request["model"])
            except RefusedError as error:
                self._fail(job, media, str(error))
                media = {}
            if not media:
                self._end_attempt(job, None)
                return
            options = Options(language=request["language"], prompt=request["prompt"])
            command = ray.attempts.prepare(name, media, model, options)
            ray.cluster.submit(name, command, {"transcription": job["id"]})
        with self._changed:
            job["attempt"].update(submitted=True, left=len(paths))
            self._save(job)

    def _seen(self, ray: OnRay, job: Json, paths: Mapping[int, str]) -> dict[int, Path]:
        """Return where Ray's nodes see the media; those that are gone fail. Raises OSError."""
        found = {}
        for index, path in paths.items():
            try:
                found[index] = ray.attempts.seen(path)
            except RefusedError as error:
                self._fail(job, [index], str(error))
        return found

    def _fail(self, job: Json, indices: Iterable[int], reason: str) -> None:
        with self._changed:
            for index in indices:
                job["files"][index].update(state="failed", error=reason)

    def _look(self, ray: OnRay, job: Json) -> None:
        """See how far an attempt is; raises ClusterError or OSError."""
        name = job["attempt"]["name"]
        if job["cancelled"]:
            ray.cluster.stop(name)
        found = ray.cluster.find(name)
        with self._lock:
            open_files = {file["index"] for file in job["files"] if file["state"] not in ENDED}
        # After the question, so that the reports of an attempt that ended are complete.
        reports = ray.attempts.reports(name, open_files)
        with self._changed:
            for index, said in reports.items():
                file = job["files"][index]
                if file["state"] in ENDED:
                    continue  # cancelled meanwhile
                file.update(facts_of(said))
                if said.state == "failed":
                    self._say(f"{job['id']}: {file['path']} failed: {said.error}")
            self._settle(job)
            if reports:
                self._save(job)
        if found is None or found.ended:
            ray.attempts.remove(name)
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
                self._say(f"{attempt['name']} left {len(left)} of {attempt['left']} files: {reason}")
            for file in left:
                if job["cancelled"]:
                    file.update(state="cancelled", progress=0.0)
                elif job["fruitless"] >= MOST_FRUITLESS:
                    error = f"{MOST_FRUITLESS} Ray jobs in a row ended without it: {reason}"
                    file.update(state="failed", progress=0.0, error=error)
                else:
                    file.update(state="waiting", progress=0.0)
            self._settle(job)
            self._note(job)
        if job["ended"]:
            self._tell_end(job)

    def _settle(self, job: Json) -> None:
        """Note the end of a job of which nothing waits or runs."""
        if job["ended"] is None and all(file["state"] in ENDED for file in job["files"]):
            job["ended"] = moment(time.time())

    def _job(self, name: str) -> Json:
        if name not in self._jobs:
            raise RefusedError(404, "not_found", f"There is no job {name!r}.", param="id")
        return self._jobs[name]

    def _file(self, job: Json, index: int) -> Json:
        if not 0 <= index < len(job["files"]):
            raise RefusedError(404, "not_found", f"The job has no file {index}.", param="index")
        return cast("Json", job["files"][index])

    def _edits(self, name: str, index: int) -> Path:
        return self._folder / name / f"{index}.edited.json"

    def _save(self, job: Json) -> None:
        if job["id"] not in self._jobs:
            return  # deleted meanwhile
        folder = self._folder / job["id"]
        try:
            folder.mkdir(exist_ok=True)
            write_json(folder / "job.json", job)
        except OSError as error:
            raise not_kept(error) from error

    def _note(self, job: Json) -> None:
        """Keep a job's state, or go on without: what is not kept is found or done again after a restart."""
        try:
            self._save(job)
        except RefusedError as error:
            self._say(f"{job['id']}: {error}")


def where_of(job: Json) -> str:
    """Return where a job runs."""
    return str(job["request"]["where"])


def facts_of(said: FileReport) -> Json:
    """Return what a job keeps of a report from Ray."""
    return {
        "state": said.state, "progress": said.progress, "duration": said.duration, "result": said.result,
        "reused": said.reused, "sha256": said.sha256, "language": said.language, "processing": said.processing,
        "error": said.error,
    }  # fmt: skip


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
