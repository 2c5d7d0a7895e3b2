"""5. Look at the runs in MLflow, register the best one's model, load it from the registry and use it.

ray job submit --working-dir examples -- python register.py
"""

from __future__ import annotations

import argparse

import mlflow
import pandas
import torch

import signs

MODEL, ALIAS = "signs", "champion"


def runs(experiment: str = "signs") -> pandas.DataFrame:
    """The complete runs, the best one first."""
    return mlflow.search_runs(
        experiment_names=[experiment],
        filter_string="attributes.status = 'FINISHED'",
        order_by=["metrics.accuracy DESC", "metrics.loss ASC"],
    )


def register(experiment: str = "signs") -> str:
    """Makes the best run's model the registry's champion. Its URI."""
    client = mlflow.MlflowClient()
    found = ((run, model) for run in runs(experiment).get("run_id", []) for model in signs.models(run))
    run, model = next(found, (None, None))
    if model is None:
        raise SystemExit(f"no run with a model in the experiment {experiment}: run train_signs.py first")
    source = f"models:/{model}"
    versions = client.search_model_versions(f"name = '{MODEL}'")
    known = next((each for each in versions if each.source == source), None)
    version = known or mlflow.register_model(source, MODEL)
    client.set_registered_model_alias(MODEL, ALIAS, version.version)
    print(f"registered: {MODEL} version {version.version} is {ALIAS}, of the run {client.get_run(run).info.run_name}")
    return f"models:/{MODEL}@{ALIAS}"


@torch.no_grad()
def check(uri: str) -> float:
    """The share of test clips that a registered model names right."""
    return signs.accuracy(mlflow.pytorch.load_model(uri), signs.batches("test"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="signs")
    arguments = parser.parse_args()
    print(runs(arguments.experiment)[["tags.mlflow.runName", "metrics.accuracy", "metrics.loss"]].to_string())
    print(f"checked: {check(register(arguments.experiment)):.2f} of the test clips are right")
