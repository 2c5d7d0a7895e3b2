"""3. Search for the best learning rate and hidden size with Ray Tune, each trial tracked in MLflow.

ray job submit --working-dir examples -- python search.py --name search

A trial whose worker dies continues from its checkpoint. A search whose driver died continues when you submit it again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import ray
import torch
from ray import tune

import signs

EXPERIMENT = "signs-search"
STATE = "state.pt"


def trial(config: dict[str, Any]) -> None:
    """Trains with one choice of settings."""
    model = signs.SignNet(config["hidden"])
    optimizer = torch.optim.Adam(model.parameters(), lr=config["rate"])
    state: dict[str, Any] = {}
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder, STATE))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    training, testing = signs.batches("train"), signs.batches("test")
    name = tune.get_context().get_trial_name()
    mlflow.set_experiment(EXPERIMENT)
    known = state.get("run") or signs.cut_off(EXPERIMENT, name)
    with mlflow.start_run(run_id=known, run_name=name) as run:
        mlflow.log_params({"hidden": config["hidden"], "rate": config["rate"]})
        for epoch in range(state.get("epoch", -1) + 1, config["epochs"]):
            loss = signs.fit_epoch(model, optimizer, training)
            metrics = {"loss": loss, "accuracy": signs.accuracy(model, testing)}
            mlflow.log_metrics(metrics, step=epoch)
            kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "run": run.info.run_id}
            with tempfile.TemporaryDirectory() as folder:
                torch.save({**kept, "epoch": epoch}, Path(folder, STATE))
                tune.report({**metrics, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


def tuner(name: str, trials: int, epochs: int) -> tune.Tuner:
    """A new search, or the one that has the name."""
    trainable = tune.with_resources(trial, {"cpu": 1})
    if tune.Tuner.can_restore(signs.place(name)):
        return tune.Tuner.restore(signs.place(name), trainable, resume_unfinished=True, resume_errored=True)
    return tune.Tuner(
        trainable,
        param_space={
            "rate": tune.loguniform(1e-3, 3e-2),
            "hidden": tune.choice([8, 16, 32]),
            "epochs": epochs,
        },
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=trials),
        run_config=tune.RunConfig(
            name=name,
            failure_config=tune.FailureConfig(max_failures=3),
            # All checkpoints are kept: the search's own record of them lags, and may name one that is deleted by then.
            verbose=0,
        ),
    )


def run(name: str = "search", trials: int = 4, epochs: int = 10) -> tune.ResultGrid:
    """Searches, or goes on with what has the same name."""
    return tuner(name, trials, epochs).fit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="search")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    ray.init()
    results = run(**vars(parser.parse_args()))
    best = results.get_best_result()
    print(f"searched: {len(results)} trials, {results.num_errors} failed")
    print(f"best: --rate {best.config['rate']:.4f} --hidden {best.config['hidden']}, loss {best.metrics['loss']:.4f}")
