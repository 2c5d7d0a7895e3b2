"""A stand-in of the transcription service: answers in the words of docs/transcription-api.md, and the built page."""

import asyncio
import copy
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKEN = "the-token"
COOKIE = "cslr_transcription"
MEDIUM = "dataset/day1/talk.webm"
CLIP = Path(__file__).with_name("talk.webm")
SECONDS = 12.0
MOMENT = "2026-11-27T19:30:00Z"
SPOKEN = (
    (0.4, 1.5, "Guten Abend."),
    (2.0, 4.8, "Die Vorhersage für morgen, Sonntag, den sechsten."),
    (5.4, 8.6, "Im Norden regnet es, im Süten bleibt es freundlich."),
    (9.2, 11.6, "Tagsüber elf bis neunzehn Grad."),
)
UNSURE = {"Süten"}

Json = dict[str, Any]


def words_of(start: float, end: float, text: str) -> list[Json]:
    """Words of equal length."""
    parts = text.split()
    length = (end - start) / len(parts)
    return [
        {
            "start": round(start + index * length, 3),
            "end": round(start + (index + 1) * length, 3),
            "word": word,
            "probability": 0.31 if word in UNSURE else 0.93,
        }
        for index, word in enumerate(parts)
    ]


def heard() -> Json:
    """What the model heard."""
    return {
        "version": 1,
        "revision": 0,
        "source": {"path": MEDIUM, "sha256": "0" * 64, "duration": SECONDS},
        "model": {"id": "whisper-base", "bundled": True},
        "language": "de",
        "language_probability": 0.98,
        "text": " ".join(text for _, _, text in SPOKEN),
        "segments": [
            {"id": index, "start": start, "end": end, "text": text, "words": words_of(start, end, text)}
            for index, (start, end, text) in enumerate(SPOKEN)
        ],
        "subtitles": [
            {"start": 0.4, "end": 1.5, "text": "Guten Abend.", "given_start": 3.0, "given_end": 4.2, "matched": 1.0},
            {"start": 2.0, "end": 4.8, "text": "Das Wetter:", "given_start": 5.0, "given_end": 8.0, "matched": 0.5},
        ],
        "shifted": [{"start": 3.0, "end": 3.6, "text": "Guten Abend."}],
        "processing": {"seconds": 4.1, "real_time_factor": 0.34, "where": "container"},
    }


@dataclass(kw_only=True)
class Service:
    """The state of the stand-in; tests look at it, and set what should go wrong."""

    site: Path  # the built page
    jobs: dict[str, Json] = field(default_factory=dict)
    results: dict[tuple[str, int], Json] = field(default_factory=dict)
    requests: list[Json] = field(default_factory=list)  # bodies of POST /v1/jobs
    saved: list[list[Json]] = field(default_factory=list)  # segments of each PUT
    uploads: dict[str, bytes] = field(default_factory=dict)
    refuse_saving: bool = False
    pace: float = 0.15  # seconds of a step of a job

    def application(self) -> web.Application:
        """All paths."""
        app = web.Application(middlewares=[self._guard], client_max_size=2**30)
        app.add_routes(
            [
                web.get("/v1/session", self._session),
                web.post("/v1/session", self._sign_in),
                web.delete("/v1/session", self._sign_out),
                web.get("/v1/models", self._models),
                web.get("/v1/files", self._files),
                web.get("/v1/files/content", self._content),
                web.get("/v1/files/peaks", self._peaks),
                web.post("/v1/uploads", self._upload),
                web.get("/v1/jobs", self._list),
                web.post("/v1/jobs", self._create),
                web.get("/v1/jobs/{id}", self._job),
                web.delete("/v1/jobs/{id}", self._remove),
                web.post("/v1/jobs/{id}/cancel", self._cancel),
                web.get("/v1/jobs/{id}/events", self._events),
                web.get("/v1/jobs/{id}/files/{index}/result.{format}", self._result),
                web.put("/v1/jobs/{id}/files/{index}/segments", self._save),
                web.delete("/v1/jobs/{id}/files/{index}/segments", self._discard),
                web.get("/", self._page),
                web.static("/", self.site),
            ]
        )
        return app

    def add_job(self, identifier: str, paths: list[str], state: str = "done", **more: Any) -> Json:
        """Puts a job there."""
        files = [
            {
                "index": index,
                "path": path,
                "state": state,
                "reused": False,
                "progress": 1.0 if state == "done" else 0.0,
                "duration": SECONDS,
                "processing": 4.1 if state == "done" else None,
                "language": "de" if state == "done" else None,
                "sha256": None,
                "revision": 0,
                "error": "The file holds no sound." if state == "failed" else None,
                "subtitles": None,
            }
            for index, path in enumerate(paths)
        ]
        counts = dict.fromkeys(("waiting", "running", "done", "failed", "cancelled"), 0) | {state: len(files)}
        job: Json = {
            "id": identifier,
            "state": state,
            "created": MOMENT,
            "started": None if state == "waiting" else MOMENT,
            "ended": MOMENT if state in ("done", "failed") else None,
            "request": {"paths": paths},
            "where": "container",
            "mlflow_run": None,
            "counts": {"total": len(files), **counts},
            "progress": 1.0 if state == "done" else 0.0,
            "duration": SECONDS * len(files),
            "processing": 4.1,
            "real_time_factor": 0.34 if state == "done" else None,
            "error": None,
            "files": files,
            **more,
        }
        self.jobs = {identifier: job, **self.jobs}
        for index in range(len(files)):
            self.results[identifier, index] = heard()
        return job

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        inside = request.cookies.get(COOKIE) == TOKEN
        if request.path.startswith("/v1/") and not inside and (request.method, request.path) != ("POST", "/v1/session"):
            return refusal(401, "invalid_api_key", "The token is missing.")
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self.site / "index.html")

    async def _session(self, _: web.Request) -> web.Response:
        return web.json_response({"authenticated": True, "stack": "dev", "where": ["container", "ray"]})

    async def _sign_in(self, request: web.Request) -> web.Response:
        if (await request.json())["token"] != TOKEN:
            return refusal(401, "invalid_api_key", "That is not this stack's token.")
        response = web.Response(status=204)
        response.set_cookie(COOKIE, TOKEN, httponly=True, samesite="Strict", path="/")
        return response

    async def _sign_out(self, _: web.Request) -> web.Response:
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    async def _models(self, _: web.Request) -> web.Response:
        bundled = {
            "id": "whisper-base", "object": "model", "created": 1700000000, "owned_by": "bundled", "bundled": True,
            "default": True, "languages": "multilingual", "size_bytes": 147300000,
            "origin": "weights of openai/whisper-base (MIT), from the package index",
        }  # fmt: skip
        mounted = {**bundled, "id": "whisper-large-v3", "owned_by": "mounted", "bundled": False, "default": False}
        return web.json_response({"object": "list", "data": [bundled, mounted]})

    async def _files(self, request: web.Request) -> web.Response:
        path = request.query.get("path", "")
        below = {
            "": [entry("dataset", "folder")],
            "dataset": [entry("dataset/day1", "folder"), entry("dataset/readme.md", "other")],
            "dataset/day1": [entry(MEDIUM, "media"), entry("dataset/day1/talk.vtt", "subtitles")],
        }
        if path not in below:
            return refusal(404, "not_found", f"There is no folder {path}.")
        parent = path.rpartition("/")[0] if path else None
        return web.json_response({"path": path, "parent": parent, "truncated": False, "entries": below[path]})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if request.query["path"] in (MEDIUM, *self.uploads):
            return web.FileResponse(CLIP)
        return refusal(404, "not_found", "There is no such file.")

    async def _peaks(self, request: web.Request) -> web.Response:
        points = int(request.query["points"])
        times = (SECONDS * index / points for index in range(points))
        peaks = [
            0.3 + 0.6 * ((time * 7) % 1) if any(start < time < end for start, end, _ in SPOKEN) else 0.02
            for time in times
        ]
        return web.json_response({"duration": SECONDS, "points": points, "peaks": peaks})

    async def _upload(self, request: web.Request) -> web.Response:
        part = (await request.post())["file"]
        assert isinstance(part, web.FileField)
        path = f"uploads/3f9c/{part.filename}"
        self.uploads[path] = part.file.read()
        return web.json_response(entry(path, "subtitles" if path.endswith((".vtt", ".srt")) else "media"), status=201)

    async def _list(self, _: web.Request) -> web.Response:
        without = [{key: value for key, value in job.items() if key != "files"} for job in self.jobs.values()]
        return web.json_response({"jobs": without})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        job = self.add_job(f"job-{len(self.jobs)}", body["paths"], "waiting", request=body)
        return web.json_response(job, status=201)

    async def _job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return web.json_response(job) if job else refusal(404, "not_found", "There is no such job.")

    async def _remove(self, request: web.Request) -> web.Response:
        del self.jobs[request.match_info["id"]]
        return web.Response(status=204)

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        self._set(job, "cancelled", job["progress"])
        return web.json_response(job)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Works the job off while somebody looks."""
        job = self.jobs[request.match_info["id"]]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for step in range(1, 6):
            if job["state"] in ("waiting", "running"):
                self._set(job, "done" if step == 5 else "running", step / 5)
            await response.write(f"event: job\ndata: {json.dumps(job)}\n\n".encode())
            await asyncio.sleep(self.pace)
        return response

    @staticmethod
    def _set(job: Json, state: str, progress: float) -> None:
        counts = dict.fromkeys(job["counts"], 0) | {"total": len(job["files"]), state: len(job["files"])}
        job |= {"state": state, "progress": progress, "counts": counts}
        for file in job["files"]:
            file |= {"state": state, "progress": progress}

    async def _result(self, request: web.Request) -> web.Response:
        result = self._result_of(request)
        form = request.match_info["format"]
        if form == "json" and "download" not in request.query:
            return web.json_response(result)
        text = "\n".join(segment["text"] for segment in result["segments"])
        return web.Response(text=text, headers={"Content-Disposition": f'attachment; filename="talk.{form}"'})

    async def _save(self, request: web.Request) -> web.Response:
        if self.refuse_saving:
            return refusal(503, "busy", "The disk is full.")
        body, result = await request.json(), self._result_of(request)
        if body["revision"] != result["revision"]:
            return refusal(409, "revision_conflict", "The transcript has changed.")
        self.saved.append(body["segments"])
        result["segments"] = [
            {"id": index, **one, "words": words_of(one["start"], one["end"], one["text"])}
            for index, one in enumerate(body["segments"])
        ]
        result["revision"] += 1
        return web.json_response(result)

    async def _discard(self, request: web.Request) -> web.Response:
        result = self._result_of(request)
        result["segments"] = copy.deepcopy(heard()["segments"])
        result["revision"] += 1
        return web.json_response(result)

    def _result_of(self, request: web.Request) -> Json:
        return self.results[request.match_info["id"], int(request.match_info["index"])]


def entry(path: str, kind: str) -> Json:
    """An entry of a listing."""
    size = None if kind == "folder" else 1048576
    name = path.rpartition("/")[2]
    return {"name": name, "path": path, "kind": kind, "size": size, "modified": MOMENT, "media_type": None}


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error of OpenAI's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


class Running:
    """The stand-in in a thread of its own."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.loop = asyncio.new_event_loop()
        self.origin = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(30)

    def stop(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self._ready.set()
        self.loop.run_forever()

    async def _start(self) -> None:
        runner = web.AppRunner(self.service.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
