"""Ray's job submission API, whose jobs do at once what the real ones would, with the service's own recognizer."""

import http.server
import json
import threading
from pathlib import Path
from typing import Any

from contracts.document import load
from contracts.transcription import Medium, RaySettings, Work
from entrypoints.transcription import ray_task
from entrypoints.transcription.recognizer import Recognizer

RAY_TOKEN = "the-token-of-the-cluster"


class Ray(http.server.ThreadingHTTPServer):
    """The head's dashboard. `plan` says how each further job ends; without a plan its files are transcribed."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.recognizer = recognizer
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[str] = []
        self.plan: list[str] = []
        self.dead: set[str] = set()  # jobs that ended with a former head, which nobody has noticed
        self.answers = True
        self.threads: list[threading.Thread] = []

    def settings(self, folder: Path) -> RaySettings:
        (folder / "ray-token").write_text(RAY_TOKEN)
        closed = "127.0.0.1:1"  # another candidate for the head, which it is not
        return RaySettings(
            dashboards=(closed, f"127.0.0.1:{self.server_port}"), token=folder / "ray-token",
            data=folder / "data", dataset=folder / "dataset", models=folder / "models",
        )  # fmt: skip

    def submit(self, asked: dict[str, Any]) -> None:
        name = asked["submission_id"]
        assert name not in self.jobs, "a job is submitted twice"
        job = self.jobs[name] = {"status": "RUNNING", "message": "", **asked}
        self.submitted.append(name)
        ending = self.plan.pop(0) if self.plan else "work"
        if ending == "work":
            work = load(Work, Path(asked["entrypoint"].split()[-1]).read_text())
            self.threads.append(threading.Thread(target=self.work, args=(job, work), daemon=True))
            self.threads[-1].start()
        elif ending == "lost":
            del self.jobs[name]
        elif ending == "dead":
            self.dead.add(name)
        elif ending == "fail":
            job.update(status="FAILED", message="Job entrypoint command failed with exit code 1")

    def work(self, job: dict[str, Any], work: Work) -> None:
        for medium in work.media:
            if job["status"] != "RUNNING":
                return
            self.transcribe(work, medium)
        if job["status"] == "RUNNING":
            job["status"] = "SUCCEEDED"

    def transcribe(self, work: Work, medium: Medium) -> None:
        try:
            ray_task.transcribe_file(work, medium)
        except OSError:
            return  # the job was removed


class Handler(http.server.BaseHTTPRequestHandler):
    server: Ray

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        name = self.path.removeprefix("/api/jobs/")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        ray = self.server
        if not ray.answers:
            return self._send(503, "no head")
        if self.headers["Authorization"] != f"Bearer {RAY_TOKEN}":
            return self._send(401, "no token")
        if method == "POST" and not name:
            ray.submit(body)
            return self._send(200, json.dumps({"submission_id": body["submission_id"]}))
        name, _, call = name.partition("/")
        if name not in ray.jobs:
            return self._send(404, f"Job {name} does not exist")
        job = ray.jobs[name]
        if call == "stop" and job["status"] == "RUNNING":
            job["status"] = "STOPPED"
        if call == "logs" and name in ray.dead:
            job.update(status="FAILED", message="failed to get job supervisor")
        return self._send(200, json.dumps(ray.jobs[name]))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass
