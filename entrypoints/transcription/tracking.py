"""One MLflow run for each job, with its parameters, figures and results, by MLflow's HTTP interface."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import httpx

from contracts.mlflow_login import headers

EXPERIMENT = "transcription"
MOST_ARTIFACTS = 1000  # files of a job whose results become artifacts
TIMEOUT = 30.0


class Tracking:
    """Records jobs in an MLflow server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")

    def record(self, job: dict[str, Any], results: Iterable[tuple[str, bytes]]) -> str:
        """Record a job that ended; return the ID of its run. Raises httpx.HTTPError."""
        with httpx.Client(headers=headers(), timeout=TIMEOUT, trust_env=False) as client:
            run = self._call(
                client,
                "runs/create",
                experiment_id=self._experiment(client),
                run_name=job["id"],
                start_time=int(time.time() * 1000),
                tags=[{"key": "cslr.job", "value": job["id"]}],
            )["run"]["info"]
            name = str(run["run_id"])
            state = "FAILED"  # also where not all of it could be recorded: what is called running seems to be work
            try:
                self._fill(client, run, job, results)
                state = "FINISHED" if job["state"] == "done" else "KILLED" if job["state"] == "cancelled" else "FAILED"
            finally:
                self._call(client, "runs/update", run_id=name, status=state, end_time=int(time.time() * 1000))
            return name

    def _fill(
        self, client: httpx.Client, run: dict[str, Any], job: dict[str, Any], results: Iterable[tuple[str, bytes]]
    ) -> None:
        request = {**job["request"], "paths": json.dumps(job["request"]["paths"])[:500]}
        request.pop("subtitles")
        self._call(
            client,
            "runs/log-batch",
            run_id=run["run_id"],
            params=[{"key": key, "value": str(value)[:500]} for key, value in request.items() if value is not None],
            metrics=[
                {"key": key, "value": value, "timestamp": int(time.time() * 1000), "step": 0}
                for key, value in _metrics(job)
            ],
        )
        folder = str(run["artifact_uri"]).partition("mlflow-artifacts:/")[2].lstrip("/")
        for path, content in results:
            url = f"{self._uri}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{folder}/{path}')}"
            client.put(url, content=content).raise_for_status()

    def _experiment(self, client: httpx.Client) -> str:
        found = client.get(f"{self._uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}")
        if found.status_code == httpx.codes.NOT_FOUND:
            return str(self._call(client, "experiments/create", name=EXPERIMENT)["experiment_id"])
        found.raise_for_status()
        return str(found.json()["experiment"]["experiment_id"])

    def _call(self, client: httpx.Client, call: str, **body: object) -> dict[str, Any]:
        answer = client.post(f"{self._uri}/api/2.0/mlflow/{call}", json=body)
        answer.raise_for_status()
        return dict(answer.json())


def _metrics(job: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((f"files_{state}", float(count)) for state, count in job["counts"].items())
    yield "duration_seconds", job["duration"]
    yield "processing_seconds", job["processing"]
    if job["real_time_factor"] is not None:
        yield "real_time_factor", job["real_time_factor"]
