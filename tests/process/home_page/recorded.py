"""A stand-in of everything that the health service asks: answers in the words of Ray, MLflow, Prometheus and others."""

import json
import math
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
SECRETS = {
    "redis-reader": "redis-secret-41f1",
    "postgres-monitor": "postgres-secret-82a2",
    "ray-token": "ray-secret-93b3",
    "marimo-token": "marimo-secret-14c4",
}
SECRET_ARGUMENT = "hunter2-in-an-argument"
PROGRAM, ROLES = "train.py", ("head", "worker")
GPUS = 4
GIB = 2**30


def node(name: str, address: str, *, head: bool = False, alive: bool = True, started: int = 1) -> Json:
    """A node as Ray's State API lists it."""
    return {
        "node_id": f"{name}-{started}",
        "node_ip": address,
        "is_head_node": head,
        "state": "ALIVE" if alive else "DEAD",
        "state_message": None if alive else "Terminated due to preemption: Node received SIGTERM",
        "node_name": address,
        "resources_total": {"memory": 96.0 * GIB, "object_store_memory": 1e9, "CPU": 32.0, "GPU": 0.0 if head else 4.0},
        "labels": {"cslr.node": name},
        "start_time_ms": started,
        "end_time_ms": 0,
    }


def job(name: str, status: str, ago: float, took: float | None = None) -> Json:
    """A job as Ray's job API lists it."""
    started = (time.time() - ago) * 1000
    return {
        "type": "SUBMISSION",
        "submission_id": name,
        "job_id": "03000000",
        "status": status,
        "entrypoint": f"TOKEN=abc python -u jobs/{PROGRAM} --password {SECRET_ARGUMENT}",
        "message": f"password {SECRET_ARGUMENT}",
        "start_time": int(started),
        "end_time": int(started + took * 1000) if took is not None else None,
    }


def run(number: int, name: str, status: str, ago: float, user: str, **metrics: float) -> Json:
    """A run as MLflow lists it."""
    started = (time.time() - ago) * 1000
    return {
        "info": {
            "run_id": f"{number:032x}",
            "experiment_id": "1",
            "run_name": name,
            "user_id": user,
            "status": status,
            "start_time": int(started),
            **({"end_time": int(started + 1_820_000)} if status != "RUNNING" else {}),
        },
        "data": {
            "metrics": [{"key": key, "value": value} for key, value in metrics.items()],
            "params": [{"key": "api_key", "value": SECRET_ARGUMENT}],
        },
    }


ALERT = {
    "labels": {"alertname": "GpuHot", "severity": "warning", "gpu": "2", "host": "gpu1"},
    "annotations": {"summary": "GPU 2 of gpu1 is at 91 °C", "remedy": "on the host: `nvidia-smi -q -d TEMPERATURE`"},
    "startsAt": "2026-11-28T03:21:55.123Z",
    "status": {"state": "active", "silencedBy": []},
}


@dataclass
class World:
    """What the services answer; a test changes it."""

    nodes: list[Json] = field(
        default_factory=lambda: [
            node("ray-cpu", "172.28.0.3", head=True),
            node("ray-gpu", "172.28.0.4"),
            *(node("ray-gpu", "172.28.0.4", alive=False, started=2 + number) for number in range(3)),
        ]
    )
    jobs: list[Json] = field(
        default_factory=lambda: [
            job("nightly-train", "RUNNING", 4200),
            job("sweep-042", "PENDING", 60),
            job("evaluate-17", "SUCCEEDED", 9000, 640),
            job("evaluate-16", "FAILED", 12000, 31),
        ]
    )
    runs: list[Json] = field(
        default_factory=lambda: [
            run(1, "resnet-lr3e-4", "RUNNING", 4100, "anna", loss=0.2137, accuracy=0.9312),
            run(2, "resnet-lr1e-3", "FINISHED", 8000, "anna", loss=0.3091, accuracy=0.9044),
            run(3, "baseline", "FAILED", 90000, "ben", loss=1.92),
        ]
    )
    alerts: list[Json] = field(default_factory=list)
    mlflow_up: bool = True
    prometheus_up: bool = True
    prometheus_takes: float = 0.0  # seconds for a stretch of figures
    gpu_up: bool = True
    seen: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """The answer to a question; None: there is no such path."""
        self.seen.append(path)
        fixed = {
            "/ray/api/gcs_healthz": "success",
            "/ray/api/version": {"version": "4", "ray_version": "2.60.0"},
            "/ray/api/v0/nodes": {"data": {"result": {"total": len(self.nodes), "result": self.nodes}}},
            "/ray/api/jobs/": self.jobs,
            "/mlflow/health": "OK",
            "/mlflow/version": "3.18.0",
            "/mlflow/api/2.0/mlflow/experiments/search": {
                "experiments": [{"experiment_id": "1", "name": "signs"}, {"experiment_id": "0", "name": "Default"}]
            },
            "/mlflow/api/2.0/mlflow/runs/search": {"runs": self.runs},
            "/marimo/health": "ok",
            "/marimo/api/version": "0.25.2",
            "/exporter/health": {"problems": []},
            "/prometheus/-/ready": "ready",
            "/api/v2/alerts": self.alerts,
        }
        if path.startswith("/mlflow") and not self.mlflow_up:
            return None
        if path.startswith("/prometheus") and not self.prometheus_up:
            return None
        if path == "/prometheus/api/v1/query":
            return {"data": {"result": self._gpus()}}
        if path == "/prometheus/api/v1/query_range":
            time.sleep(self.prometheus_takes)
            return {"data": {"result": _series(**{key: values[0] for key, values in query.items()})}}
        return fixed.get(path)

    def _gpus(self) -> list[Json]:
        found = []
        for number in range(GPUS):
            labels = {"UUID": f"GPU-{number}", "gpu": str(number), "modelName": "NVIDIA H100 80GB HBM3", "host": "gpu1"}
            used = (0, 41_000, 72_000, 12)[number]
            figures = {
                "DCGM_FI_DEV_GPU_UTIL": (0, 64, 98, 0)[number],
                "DCGM_FI_DEV_FB_USED": used,
                "DCGM_FI_DEV_FB_FREE": 81_559 - used,
                "DCGM_FI_DEV_GPU_TEMP": (34, 61, 79, 33)[number],
                "cslr_gpu_up": int(self.gpu_up or number != 3),
            }
            found += [sample(name, value, **labels) for name, value in figures.items()]
        owner = {"service": "ray-gpu", "ray_job": "03000000", "ray_task": "Trainer.fit"}
        found += [
            sample("cslr_gpu_process_memory_bytes", 40 * GIB, UUID="GPU-1", **owner),
            sample("cslr_gpu_process_memory_bytes", 69 * GIB, UUID="GPU-2", **owner),
        ]
        return found


def sample(name: str, value: float, **labels: str) -> Json:
    """A figure as Prometheus gives it."""
    return {"metric": {"__name__": name, **labels}, "value": [time.time(), str(value)]}


# Word in a query → the labels of its series, and how high these reach.
SERIES: dict[str, tuple[list[dict[str, str]], float]] = {
    "GPU_UTIL": ([{"host": "gpu1", "gpu": str(number)} for number in range(GPUS)], 98),
    "FB_USED": ([{"host": "gpu1", "gpu": str(number)} for number in range(GPUS)], 78 * GIB),
    "RUNNING": ([{}], 42),
    "PENDING": ([{}], 160),
    "ray_node_cpu": ([{"node": "ray-cpu"}, {"node": "ray-gpu"}], 80),
    "node_cpu": ([{"host": "gpu1"}], 55),
    "node_memory": ([{"host": "gpu1"}], 70),
    "container_cpu": ([{"service": name} for name in ("ray-gpu", "ray-cpu", "mlflow", "postgres", "redis")], 9.5),
    "container_memory": (
        [{"service": name} for name in ("ray-gpu", "ray-cpu", "mlflow", "postgres", "redis")],
        60 * GIB,
    ),
    "disk_free": ([{"host": "gpu1", "disk": "scratch"}], 900 * GIB),
    "probe_seconds": ([{"service": name} for name in ("mlflow", "postgres", "redis", "ray-cpu")], 0.02),
}


def _series(query: str, start: str, end: str, step: str) -> list[Json]:
    labels, top = next(found for word, found in SERIES.items() if word in query)
    times = range(int(start), int(end) + 1, int(step))
    return [
        {"metric": one, "values": [[at, f"{top / (1 + number) * _wave(at / int(step), number):f}"] for at in times]}
        for number, one in enumerate(labels)
    ]


def _wave(at: float, phase: int) -> float:
    return 0.72 + 0.2 * math.sin(at / 10 + phase) + 0.08 * math.sin(at * 2.3)


class Handler(BaseHTTPRequestHandler):
    """Answers with the world of its server."""

    server: "StandIn"

    def do_GET(self) -> None:
        """Any question."""
        parts = urlsplit(self.path)
        found = self.server.world.answer(parts.path, parse_qs(parts.query))
        body = (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """MLflow's searches."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class StandIn(ThreadingHTTPServer):
    """The server of the stand-in."""

    daemon_threads = True
    request_queue_size = 128  # beyond 5, connections would wait a second

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = World()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def asked(self, *ends: str) -> int:
        """How many questions were asked at paths with these ends."""
        return sum(path.endswith(ends) for path in self.world.seen)

    def handle_error(self, *_: object) -> None:
        """Says nothing of clients that went away."""

    def close(self) -> None:
        """Stops it."""
        self.shutdown()
        self.server_close()

    def watched(self, kind: str, name: str | None = None, prefix: str | None = None) -> Json:
        """A service of the health service's settings."""
        url = f"http://127.0.0.1:{self.server_port}/{kind}"
        service = {"name": name or kind, "kind": kind, "host": "127.0.0.1", "port": self.server_port, "url": url}
        return {**service, "prefix": f"/{kind}" if prefix is None else prefix}


def past_runs(now: float) -> list[Json]:
    """The last runs on the stack, as its history tells them."""
    deployed = {"operation": "up", "outcome": "done", "verification": "11 of 11 passed"}
    return [
        {
            **deployed, "number": 12, "who": "anna (as root)", "time": now - 7400, "seconds": 74.0,
            "counts": {"replace": 2, "same": 29}, "changed": ["mlflow-container", "ray-gpu-container"],
        },
        {
            **deployed, "number": 11, "who": "ben", "time": now - 90_000, "seconds": 31.0, "outcome": "failed",
            "counts": {"same": 28}, "failed": ["mlflow-container"], "verification": "",
        },
        {**deployed, "number": 10, "who": "anna", "time": now - 180_000, "seconds": 190.0, "counts": {"create": 25}},
    ]  # fmt: skip


def settings_of(world: StandIn, folder: Path, *, metrics: bool = True) -> Json:
    """Settings of a health service that watches the stand-in; its files are in the folder."""
    now = time.time()
    facts = {
        "verification": {"time": now - 7300, "passed": 11, "failed": 0},
        "builds": {
            "images": {"base": {"time": now - 90_000, "succeeded": True}, "mlflow": {"time": now, "succeeded": True}}
        },
        "bases": {"times": {"trixie": now - 4 * 86_400}},
        "history": {"runs": past_runs(now)},
        "drift": {
            "time": now - 540,
            "compared_with": 12,
            "differences": [{"kind": "container", "name": "cslr-gpu-mlflow", "field": "memory"}],
        },
    }
    for name, value in SECRETS.items():
        (folder / name).write_text(value)
    for name, fact in facts.items():
        (folder / f"{name}.json").write_text(json.dumps(fact))
    services = [world.watched("ray", "ray-cpu"), world.watched("ray", "ray-gpu", prefix="/none")]
    services += [world.watched("mlflow"), world.watched("marimo")]
    services += [world.watched("exporter"), world.watched("prometheus")] if metrics else []
    return {
        "stack": "gpu",
        "services": services,
        "ray_nodes": ["ray-cpu", "ray-gpu"],
        "secrets": str(folder),
        "disks": {"scratch": str(folder)},
        "facts": [str(folder)],
        "alertmanager": f"127.0.0.1:{world.server_port}" if metrics else None,
        "deadline": 8.0,
    }
