"""The MLflow run of a job, so that its next attempt continues it.

Each run that a job starts has the job's id as a tag. One is continued if it is the only one, but for those within it:
a job of several runs decides itself what to do with them.
"""

from __future__ import annotations

from typing import Any

import httpx

from contracts.mlflow_login import headers
from contracts.queue import RUN_TAG

TIMEOUT = 10.0  # seconds
MOST_EXPERIMENTS = 1000  # in one answer
PARENT_TAG = "mlflow.parentRunId"


class MlflowAwayError(Exception):
    """MLflow does not answer, or not as it should."""


def run_of(job: str, tracking_uri: str) -> str | None:
    """The run that a job's next attempt continues. Raises MlflowAwayError."""
    api = f"{tracking_uri.rstrip('/')}/api/2.0/mlflow"
    with httpx.Client(base_url=api, headers=headers(), timeout=TIMEOUT, trust_env=False) as client:
        found = []
        page: str | None = None
        while True:
            answer = _ask(client, "experiments/search", {"max_results": MOST_EXPERIMENTS, "page_token": page})
            if experiments := [entry["experiment_id"] for entry in answer.get("experiments", ())]:
                search = {"experiment_ids": experiments, "filter": f"tags.`{RUN_TAG}` = '{job}'", "max_results": 100}
                found += _ask(client, "runs/search", search).get("runs", [])
            page = answer.get("next_page_token")
            if not page:
                break
    outer = [run for run in found if all(tag["key"] != PARENT_TAG for tag in run["data"].get("tags", ()))]
    return str(outer[0]["info"]["run_id"]) if len(outer) == 1 else None


def _ask(client: httpx.Client, what: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = client.post(f"/{what}", json={key: value for key, value in body.items() if value is not None})
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise MlflowAwayError(str(error) or type(error).__name__) from None
