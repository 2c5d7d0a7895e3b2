"""Jobs over folders of media: what is asked, and the work on those in the container, one file at a time.

Jobs on Ray are followed by following.py. What was heard is kept by the medium's content, the model and the options: a
second job over the same media transcribes none of them again.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from contracts.transcription import Where
from entrypoints.transcription import formats
from entrypoints.transcription.alignment import retimed
from entrypoints.transcription.failures import CancelledError, RefusedError, not_kept
from entrypoints.transcription.files import write_json
from entrypoints.transcription.following import Follower, OnRay
from entrypoints.transcription.hearing import hear, progress_at, read_result
from entrypoints.transcription.ledger import Json, Ledger, counts_of, options_of, settle, shown, where_of
from entrypoints.transcription.media import MOST_MEDIA, Tree, moment
from entrypoints.transcription.ray_jobs import ClusterError
from entrypoints.transcription.recognizer import Recognizer, chosen
from entrypoints.transcription.results import Result, as_cue, corrected
from entrypoints.transcription.transcript import (
    Segment,
    Shift,
    from_json,
    shifted,
)


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
        self._results = folder / "results"
        self._results.mkdir(parents=True, exist_ok=True)
        self._tree, self._recognizer, self._say, self._record = tree, recognizer, say, record
        self._ledger = Ledger(folder / "jobs", say)
        self._changed = self._ledger.changed
        self._ray = ray
        self._threads = [threading.Thread(target=self._work, name="jobs", daemon=True)]
        if ray:
            follower = Follower(self._ledger, ray, recognizer.models, self._tell_end)
            self._threads.append(threading.Thread(target=follower.run, name="ray", daemon=True))
        else:
            self._ledger.run_here()

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
            self._ledger.stopping = True
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
            self._ledger.jobs[job["id"]] = job
            try:
                self._ledger.save(job)
            except RefusedError:
                del self._ledger.jobs[job["id"]]
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
        with self._changed:
            jobs = sorted(self._ledger.jobs.values(), key=lambda job: -int(job["order"]))[:limit]
            return [{key: value for key, value in shown(job).items() if key != "files"} for job in jobs]

    def get(self, name: str) -> Json:
        """Return a job; raises RefusedError."""
        with self._changed:
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
            settle(job)
            self._ledger.save(job)
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
            self._ledger.save(job)
            self._changed.notify_all()
            return shown(job)

    def delete(self, name: str) -> None:
        """Forget a job; raises RefusedError."""
        with self._changed:
            job = self._job(name)
            job["cancelled"] = True
            del self._ledger.jobs[name]
            shutil.rmtree(self._ledger.folder / name, ignore_errors=True)
            attempt = job.get("attempt")
        if self._ray and attempt:
            self._ray.attempts.remove(attempt["name"])
            try:
                self._ray.cluster.stop(attempt["name"])
            except ClusterError as error:
                self._say(f"{attempt['name']} is not stopped, and ends when it reports next: {error}")

    def result(self, name: str, index: int) -> Result:
        """Return what came of a file; raises RefusedError."""
        with self._changed:
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
        with self._changed:
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
            self._ledger.save(job)
        return self.result(name, index)

    # --- the work ---

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ledger.stopping and self._next() is None:
                    self._changed.wait()
                found = self._next()
                if self._ledger.stopping or found is None:
                    return
                job, file = found
                if job["started"] is None:
                    job["started"] = moment(time.time())
                file["state"] = "running"
                self._ledger.note(job)
            try:
                self._transcribe(job, file)
                outcome: Json = {"state": "done", "progress": 1.0}
            except CancelledError:
                outcome = {"state": "waiting" if self._ledger.stopping else "cancelled", "progress": 0.0}
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
            settle(job)
            self._ledger.note(job)
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
                self._ledger.note(job)

    def _next(self) -> tuple[Json, Json] | None:
        for job in sorted(self._ledger.jobs.values(), key=lambda job: int(job["order"])):
            for file in job["files"]:
                if file["state"] == "waiting" and not job["cancelled"] and where_of(job) == "container":
                    return job, file
        return None

    def _transcribe(self, job: Json, file: Json) -> None:
        model = chosen(self._recognizer.models(), job["request"]["model"])

        def heard(segment: Segment, duration: float) -> None:
            with self._changed:
                file["duration"] = duration
                file["progress"] = progress_at(segment, duration)

        kept = hear(
            self._tree.file(file["path"]),
            model,
            options_of(job),
            results=self._results,
            recognizer=self._recognizer,
            where="container",
            heard=heard,
            cancelled=lambda: bool(job["cancelled"]) or self._ledger.stopping,
        )
        with self._changed:
            file.update(
                result=kept.key, reused=kept.reused, sha256=kept.sha256, duration=kept.duration,
                language=kept.language, processing=kept.seconds,
            )  # fmt: skip

    def _job(self, name: str) -> Json:
        if name not in self._ledger.jobs:
            raise RefusedError(404, "not_found", f"There is no job {name!r}.", param="id")
        return self._ledger.jobs[name]

    def _file(self, job: Json, index: int) -> Json:
        if not 0 <= index < len(job["files"]):
            raise RefusedError(404, "not_found", f"The job has no file {index}.", param="index")
        return cast("Json", job["files"][index])

    def _edits(self, name: str, index: int) -> Path:
        return self._ledger.folder / name / f"{index}.edited.json"
