"""The last runs in MLflow, of all experiments."""

import json
from dataclasses import dataclass
from typing import Any

from contracts.health import WatchedService
from contracts.status import Reason
from entrypoints.health.asker import Asker
from entrypoints.health.failure import FailureError

EXPERIMENTS_PATH, RUNS_PATH = "/api/2.0/mlflow/experiments/search", "/api/2.0/mlflow/runs/search"
# Those that were made or renamed last: a new run does not count as a change of its experiment (mlflow#24912), so that a
# few would leave out the runs of old experiments, such as the default one.
EXPERIMENTS_ASKED = 1000
RUNS_SHOWN = 6
METRICS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run; times in seconds since 1970. Its parameters and tags are not shown: they may hold anything."""

    name: str
    experiment: str
    user: str
    status: str
    started: float | None
    ended: float | None
    url: str | None
    metrics: tuple[tuple[str, float], ...]


async def ask_runs(mlflow: WatchedService, asker: Asker) -> tuple[Run, ...]:
    """The runs, the last one first; raises FailureError."""
    wanted = {"max_results": EXPERIMENTS_ASKED, "order_by": ["last_update_time DESC"]}
    experiments = await asker.in_time(asker.get(mlflow, EXPERIMENTS_PATH, question=wanted))
    try:
        names = {str(one["experiment_id"]): str(one["name"]) for one in json.loads(experiments).get("experiments", ())}
        wanted = {"experiment_ids": [*names], "max_results": RUNS_SHOWN, "order_by": ["attributes.start_time DESC"]}
        runs = await asker.in_time(asker.get(mlflow, RUNS_PATH, question=wanted)) if names else "{}"
        return tuple(_run(one, names, mlflow.url) for one in json.loads(runs).get("runs", ()))
    except (LookupError, TypeError, ValueError, AttributeError):
        answer = f"{mlflow.host}:{mlflow.port} does not list runs as MLflow does"
        raise FailureError(Reason.WRONG_ANSWER, answer) from None


def _run(entry: dict[str, Any], experiments: dict[str, str], mlflow: str | None) -> Run:
    information = entry["info"]
    identifier, experiment = str(information["run_id"]), str(information["experiment_id"])
    metrics = entry.get("data", {}).get("metrics", ())[:METRICS_SHOWN]
    return Run(
        name=str(information.get("run_name") or identifier),
        experiment=experiments.get(experiment, experiment),
        user=str(information.get("user_id") or ""),
        status=str(information["status"]),
        started=_seconds(information.get("start_time")),
        ended=_seconds(information.get("end_time")),
        url=f"{mlflow}/#/experiments/{experiment}/runs/{identifier}" if mlflow else None,
        metrics=tuple((str(one["key"]), float(one["value"])) for one in metrics),
    )


def _seconds(milliseconds: object) -> float | None:
    return int(str(milliseconds)) / 1000 if milliseconds else None
