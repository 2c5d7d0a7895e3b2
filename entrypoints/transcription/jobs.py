"""Jobs over folders of media: what is asked, how far it is, and the results. All in files: a restart loses nothing.

One file is in work at a time. What was heard is kept by the medium's content, the model and the options: a second job
over the same media transcribes none of them again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from entrypoints.transcription import formats
from entrypoints.transcription.alignment import retimed, words_of
from entrypoints.transcription.failures import CancelledError, RefusedError
from entrypoints.transcription.media import MOST_MEDIA, Tree, media_type, moment, sha256_of, write_json
from entrypoints.transcription.recognizer import Options, Recognizer, chosen
from entrypoints.transcription.transcript import (
    Cue,
    Segment,
    Shift,
    Transcript,
    from_json,
    shifted,
    to_json,
    vars_of,
)

ENDED = ("done", "failed", "cancelled")
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

    @property
    def options(self) -> Options:
        """What decides what is heard."""
        return Options(language=self.language, prompt=self.prompt)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything about one file of a job."""

    transcript: Transcript
    cues: tuple[Cue, ...] | None
    moved: tuple[Cue, ...] | None
    facts: Json  # what the job says of the file
    model: Json
    processing: Json


class Jobs:
    """All jobs of this service, and the thread that works on them."""

    def __init__(
        self,
        folder: Path,
        tree: Tree,
        recognizer: Recognizer,
        say: Callable[[str], None],
        record: Callable[[Json], Any],
    ) -> None:
        self._folder, self._results = folder / "jobs", folder / "results"
        for each in (self._folder, self._results):
            each.mkdir(parents=True, exist_ok=True)
        self._tree, self._recognizer, self._say, self._record = tree, recognizer, say, record
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
            self._jobs[job["id"]] = job
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is in work is done again after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # --- what callers ask ---

    def create(self, wanted: Wanted) -> Json:
        """Accept a job; raises RefusedError."""
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
                "where": "container",
            },
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
            self._save(job)
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
                if file["state"] == "waiting":
                    file["state"] = "cancelled"
                elif file["state"] == "running":
                    job["cancelled"] = True  # seen between two segments
            self._settle(job)
            self._save(job)
            return shown(job)

    def retry(self, name: str) -> Json:
        """Have what failed or was cancelled done again; raises RefusedError."""
        with self._changed:
            job = self._job(name)
            for file in job["files"]:
                if file["state"] in ("failed", "cancelled"):
                    file.update(state="waiting", error=None, progress=0.0)
                    job.update(ended=None, cancelled=False)
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

    def result(self, name: str, index: int) -> Result:
        """Return what came of a file; raises RefusedError."""
        with self._lock:
            job = self._job(name)
            file = self._file(job, index)
            if file["state"] != "done":
                reason = f"The file {file['path']} is {file['state']}: it has no result."
                raise RefusedError(409, "not_finished", reason)
            facts, request = dict(file), dict(job["request"])
        kept = json.loads((self._results / facts["result"] / "transcript.json").read_text(encoding="utf-8"))
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
            write_json(self._edits(name, index), {"segments": None if segments is None else list(segments)})
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
                self._save(job)
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
            self._save(job)
        if outcome["state"] == "failed":
            self._say(f"{job['id']}: {file['path']} failed: {outcome['error']}")
        if job["ended"]:
            self._say(f"{job['id']} ended: {counts_of(job)}")
            try:
                run = self._record(shown(job))
            except Exception as error:  # noqa: BLE001 - the results are here whatever MLflow says
                self._say(f"{job['id']} is not in MLflow: {error}")
            else:
                with self._changed:
                    job["mlflow_run"] = run
                    self._save(job)

    def _next(self) -> tuple[Json, Json] | None:
        for job in sorted(self._jobs.values(), key=lambda job: int(job["order"])):
            for file in job["files"]:
                if file["state"] == "waiting" and not job["cancelled"]:
                    return job, file
        return None

    def _transcribe(self, job: Json, file: Json) -> None:
        request = job["request"]
        model = chosen(self._recognizer.models(), request["model"])
        options = Options(language=request["language"], prompt=request["prompt"])
        medium = self._tree.file(file["path"])
        digest = sha256_of(medium)
        key = hashlib.sha256(
            json.dumps([digest, model.identity, options.language, options.prompt, options.temperature]).encode()
        ).hexdigest()[:40]
        kept = self._results / key / "transcript.json"
        reused = kept.is_file()
        if not reused:
            began = time.monotonic()

            def heard(segment: Segment, duration: float) -> None:
                with self._lock:
                    file["duration"] = duration
                    file["progress"] = round(min(segment.end / duration, 0.99), 3) if duration else 0.0

            transcript = self._recognizer.transcribe(
                medium, model, options, heard, lambda: bool(job["cancelled"]) or self._stopping
            )
            seconds = round(time.monotonic() - began, 2)
            kept.parent.mkdir(parents=True, exist_ok=True)
            factor = round(seconds / transcript.duration, 4) if transcript.duration else None
            content = {
                "transcript": to_json(transcript),
                "model": {"id": model.name, "bundled": model.bundled},
                "processing": {"seconds": seconds, "real_time_factor": factor, "where": "container"},
            }
            write_json(kept, content)
        content = json.loads(kept.read_text(encoding="utf-8"))
        with self._lock:
            file.update(
                result=key,
                reused=reused,
                sha256=digest,
                duration=content["transcript"]["duration"],
                language=content["transcript"]["language"],
                processing=content["processing"]["seconds"],
            )

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
        folder.mkdir(exist_ok=True)
        write_json(folder / "job.json", job)


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
        "where": "container",
        "mlflow_run": job["mlflow_run"],
        "counts": counts_of(job),
        "progress": round(ended / len(files), 3) if files else 1.0,
        "duration": round(duration, 3),
        "processing": round(processing, 2),
        "real_time_factor": round(processing / spoken, 4) if spoken else None,
        "error": next((file["error"] for file in files if file["error"]), None),
        "files": files,
    }


def as_cue(segment: Segment) -> Cue:
    """Return a segment as a subtitle that was heard as it is."""
    return Cue(
        start=segment.start, end=segment.end, text=segment.text, given_start=segment.start, given_end=segment.end,
        matched=1.0,
    )  # fmt: skip


def corrected(segments: Sequence[Json], heard: Sequence[Any]) -> tuple[Segment, ...]:
    """Return corrected segments with times for their words."""
    found = []
    for each in segments:
        near = [word for word in heard if word.end > each["start"] - 0.5 and word.start < each["end"] + 0.5]
        words = words_of(each["text"], near, each["start"], each["end"])
        found.append(Segment(start=each["start"], end=each["end"], text=each["text"], words=words))
    return tuple(found)


def result_json(result: Result) -> Json:
    """Return a result as JSON."""
    transcript, facts = result.transcript, result.facts

    def cues(found: tuple[Cue, ...] | None) -> list[Json] | None:
        return None if found is None else [dict(vars(cue)) for cue in found]

    return {
        "version": 1,
        "revision": facts["revision"],
        "source": {"path": facts["path"], "sha256": facts["sha256"], "duration": transcript.duration},
        "model": result.model,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "text": transcript.text,
        "segments": [
            {
                "id": number, "start": segment.start, "end": segment.end, "text": segment.text,
                "words": [vars_of(word) for word in segment.words],
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "subtitles": cues(result.cues),
        "shifted": cues(result.moved),
        "processing": result.processing,
    }  # fmt: skip


def rendered(result: Result, kind: str, track: str) -> bytes:
    """Return a result in a format; raises RefusedError where there is no such track."""
    if kind == "json":
        return json.dumps(result_json(result), ensure_ascii=False).encode()
    medium = os.path.basename(result.facts["path"])  # noqa: PTH119 - a path of the tree, not of this system
    if kind == "eaf":
        media = media_type(Path(medium)) or "application/octet-stream"
        return formats.elan(result.transcript, medium, media, result.cues, result.moved)
    tracks: dict[str, Any] = {
        "speech": result.transcript.segments,
        "words": list(result.transcript.words),
        "subtitles": result.cues,
        "shifted": result.moved,
    }
    if tracks[track] is None:
        raise RefusedError(404, "not_found", f"The job has no track {track!r} for this file.", param="track")
    if kind == "txt":
        lines = [each.word if track == "words" else each.text for each in tracks[track]]
        return "".join(f"{line}\n" for line in lines).encode()
    return formats.subtitles(tracks[track], "srt" if kind == "srt" else "vtt").encode()
