"""The MLflow run of a job, against a server that answers as MLflow does and keeps what it is told.

A real MLflow is in tests/live/test_transcription.py.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from entrypoints.transcription.tracking import Tracking

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


class MLflow(http.server.ThreadingHTTPServer):
    """Experiments, one run after the other, and artifacts."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prefix = prefix
        self.url = f"http://127.0.0.1:{self.server_port}{prefix}"
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.full = False  # no place for artifacts

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, Any]:
        if method == "PUT" and path.startswith(ARTIFACTS):
            if self.full:
                return 507, {"error_code": "INTERNAL_ERROR"}
            self.artifacts[unquote(path.removeprefix(ARTIFACTS))] = body
            return 200, {}
        call, asked = path.removeprefix(f"{API}/"), json.loads(body or b"{}")
        if call == "experiments/get-by-name":
            name = query.removeprefix("experiment_name=")
            known = self.experiments.get(name)
            return (200, {"experiment": {"experiment_id": known}}) if known else (404, {})
        if call == "experiments/create":
            self.experiments[asked["name"]] = str(len(self.experiments) + 7)
            return 200, {"experiment_id": self.experiments[asked["name"]]}
        if call == "runs/create":
            run = f"run-{len(self.runs)}"
            self.runs[run] = {"status": "RUNNING", **asked}
            root = f"mlflow-artifacts:/{asked['experiment_id']}/{run}/artifacts"
            return 200, {"run": {"info": {"run_id": run, "artifact_uri": root}}}
        self.runs[asked.pop("run_id")] |= asked
        return 200, {}


class Handler(http.server.BaseHTTPRequestHandler):
    server: MLflow

    def do_GET(self):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status: int = 404
        content: Any = {}
        if url.path.startswith(f"{self.server.prefix}/api/"):
            path = url.path.removeprefix(self.server.prefix)
            status, content = self.server.answer(self.command, path, url.query, body)
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(params=["", "/mlflow"], ids=["at its port", "below a path"])
def mlflow(request: pytest.FixtureRequest) -> Iterator[MLflow]:
    with MLflow(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def job(**changes: Any) -> dict[str, Any]:
    request = {
        "paths": ["dataset/day1"], "model": "whisper-base", "language": None, "prompt": "Wetter",
        "subtitles": {"dataset/day1/a.mp4": "dataset/day1/a.vtt"}, "subtitles_beside": False,
        "shift": {"start": 2.6, "end": 2.1}, "where": "container",
    }  # fmt: skip
    return {
        "id": "job-1", "state": "done", "request": request, "counts": {"total": 2, "done": 1, "failed": 1},
        "duration": 24.0, "processing": 8.2, "real_time_factor": 0.34, **changes,
    }  # fmt: skip


def test_run_has_parameters_figures_and_results(mlflow):
    name = Tracking(mlflow.url).record(job(), [("dataset/day1/a.vtt", b"WEBVTT\n"), ("dataset/Tag 1/ä.eaf", b"<x/>")])
    run = mlflow.runs[name]
    assert run["experiment_id"] == mlflow.experiments["transcription"]
    assert (run["status"], run["run_name"]) == ("FINISHED", "job-1")
    assert run["end_time"] >= run["start_time"]
    params = {one["key"]: one["value"] for one in run["params"]}
    assert params == {
        "paths": '["dataset/day1"]', "model": "whisper-base", "prompt": "Wetter", "subtitles_beside": "False",
        "shift": "{'start': 2.6, 'end': 2.1}", "where": "container",
    }  # fmt: skip
    metrics = {one["key"]: one["value"] for one in run["metrics"]}
    assert metrics == {
        "files_total": 2.0, "files_done": 1.0, "files_failed": 1.0, "duration_seconds": 24.0,
        "processing_seconds": 8.2, "real_time_factor": 0.34,
    }  # fmt: skip
    root = f"{run['experiment_id']}/{name}/artifacts"
    assert mlflow.artifacts == {
        f"{root}/dataset/day1/a.vtt": b"WEBVTT\n",
        f"{root}/dataset/Tag 1/ä.eaf": b"<x/>",
    }


def test_experiment_is_made_once(mlflow):
    tracking = Tracking(f"{mlflow.url}/")
    runs = [tracking.record(job(id=name), []) for name in ("job-1", "job-2")]
    assert len(set(runs)) == 2
    assert len({run["experiment_id"] for run in mlflow.runs.values()}) == 1


@pytest.mark.parametrize(("state", "status"), [("done", "FINISHED"), ("cancelled", "KILLED"), ("failed", "FAILED")])
def test_state_of_the_job_is_that_of_its_run(mlflow, state, status):
    assert mlflow.runs[Tracking(mlflow.url).record(job(state=state), [])]["status"] == status


def test_job_in_which_nothing_was_heard_has_no_real_time_factor(mlflow):
    name = Tracking(mlflow.url).record(job(state="failed", real_time_factor=None), [])
    assert "real_time_factor" not in {one["key"] for one in mlflow.runs[name]["metrics"]}


def test_long_parameter_is_shortened(mlflow):
    request = {**job()["request"], "prompt": "x" * 4000, "paths": [f"dataset/{number}.mp4" for number in range(1000)]}
    name = Tracking(mlflow.url).record(job(request=request), [])
    assert max(len(one["value"]) for one in mlflow.runs[name]["params"]) == 500


def test_failure_is_told_and_its_run_does_not_run_for_ever(mlflow):
    mlflow.full = True
    with pytest.raises(httpx.HTTPStatusError, match="507"):
        Tracking(mlflow.url).record(job(), [("dataset/a.vtt", b"WEBVTT\n")])
    (run,) = mlflow.runs.values()
    assert run["status"] == "FAILED"


def test_no_server_is_told():
    with pytest.raises(httpx.ConnectError):
        Tracking("http://127.0.0.1:1").record(job(), [])
