"""A stand-in for the REST API of Ray's head, with the answers of Ray 2.60, for what cannot be timed with a real one.

A job ends once it was asked for as often as its command says: `looks:3 ends:SUCCEEDED`. No time passes for that, so a
test can be as slow as its machine.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODE, NODE_ID = "gpu", "a1b2c3"
TOKEN = "a token of Ray"
ALIVE = ("PENDING", "RUNNING")
DIED = "JOB_SUPERVISOR_ACTOR_DIED"


@dataclass
class FakeJob:
    """A job, as it is known here."""

    body: dict[str, Any]
    node: str
    status: str = "RUNNING"
    looks: int = 0
    began: float = field(default_factory=time.time)
    ended: float | None = None

    @property
    def queue_job(self) -> str:
        """The job of the queue whose attempt it is; empty of an empty job."""
        return str((self.body.get("metadata") or {}).get("cslr.queue.job", ""))

    def word(self, name: str, default: str) -> str:
        """What its command says."""
        found = re.search(rf"\b{name}:(\S+)", self.body["entrypoint"])
        return found.group(1) if found else default


class FakeRay:
    """The head."""

    def __init__(self, cpus: float = 4.0) -> None:
        self.cpus = cpus
        self.node = NODE_ID  # another one once the node has come back
        self.jobs: dict[str, FakeJob] = {}
        self.faults: list[str] = []  # what must never happen
        self.away = False
        self.lock = threading.RLock()
        ray = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer is two writes

            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def _answer(self, method: str) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = json.loads(self.rfile.read(length) or b"null")
                if ray.away:
                    self.close_connection = True
                    return
                with ray.lock:
                    status, found = ray.answer(method, self.path, sent)
                data = (found if isinstance(found, str) else json.dumps(found)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """As host:port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def attempts(self, job: str) -> list[FakeJob]:
        """Those that began of a job of the queue."""
        return [entry for entry in self.jobs.values() if entry.queue_job == job]

    def answer(self, method: str, path: str, sent: Any) -> tuple[int, Any]:
        """As the head answers."""
        if path.startswith("/api/v0/nodes"):
            return 200, {"data": {"result": {"result": [self._node()]}}}
        if path == "/api/cluster_status":
            used = sum(job.body.get("entrypoint_num_cpus") or 0 for job in self.jobs.values() if job.status in ALIVE)
            usage = {self.node: {"CPU": [used, self.cpus]}}
            return 200, {"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": usage}}}}
        if (method, path) == ("POST", "/api/jobs/"):
            return self._submit(sent)
        if path.startswith("/api/v0/logs/file"):
            asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
            if asked["node_id"] != self.node:
                return 500, f"Agent for node id: {asked['node_id']} doesn't exist."
            name = asked["filename"].removeprefix("job-driver-").removesuffix(".log")
            return 200, f"{self.jobs[name].body['entrypoint']}\n"
        name, _, what = path.removeprefix("/api/jobs/").partition("/")
        job = self.jobs.get(name)
        if job is None:
            return 404, f"Job {name} does not exist"
        if what == "stop":
            self._end(job, "STOPPED")
            return 200, {"stopped": True}
        if what == "logs":
            return 200, {"logs": ""}
        return 200, self._look(name, job)

    def _submit(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["submission_id"]
        if name in self.jobs:
            return 500, f"ValueError: Job with submission_id {name} already exists."
        job = FakeJob(body, self.node)
        job.status = job.word("begins", job.status)
        if job.queue_job and any(other.status in ALIVE for other in self.attempts(job.queue_job)):
            self.faults.append(f"{name} began while another attempt ran")
        if not job.queue_job:
            job.status, job.ended = "SUCCEEDED", time.time()
        self.jobs[name] = job
        return 200, {"submission_id": name}

    def _look(self, name: str, job: FakeJob) -> dict[str, Any]:
        job.looks += 1
        lost = job.word("lost", "") == name.rpartition("-")[2]  # this attempt's node goes down
        if job.status in ALIVE and job.looks >= int(job.word("looks", "1000000")):
            self._end(job, "FAILED" if lost else job.word("ends", "SUCCEEDED"))
        return {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": job.status,
            "entrypoint": job.body["entrypoint"],
            "message": "Job supervisor actor died." if lost else "It is so.",
            "error_type": DIED if lost else "JOB_ENTRYPOINT_COMMAND_ERROR",
            "start_time": int(job.began * 1000),
            "end_time": int(job.ended * 1000) if job.ended else None,
            "metadata": job.body.get("metadata"),
            "driver_node_id": job.node,
        }

    def _end(self, job: FakeJob, status: str) -> None:
        if job.status in ALIVE:
            job.status, job.ended = status, time.time()

    def _node(self) -> dict[str, Any]:
        return {
            "node_id": self.node, "node_ip": "10.0.0.1", "state": "ALIVE", "is_head_node": True,
            "labels": {"cslr.node": NODE, "ray.io/node-id": self.node},
            "resources_total": {"CPU": self.cpus, "memory": 1e9, "node:10.0.0.1": 1.0},
        }  # fmt: skip
