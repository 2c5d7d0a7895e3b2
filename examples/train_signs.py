"""2. Train a graph network on poses, tracked in MLflow, with a checkpoint of each epoch.

ray job submit --working-dir examples -- python train_signs.py --name signs

After a failure, it continues from its last checkpoint, in the same MLflow run: by itself if a worker dies, and when you
submit it again, with the same name, if the driver or the node dies. Another name starts another run.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer

import signs

EXPERIMENT = "signs"
STATE = "state.pt"


def restored() -> dict[str, Any]:
    """What the last checkpoint holds; nothing at a run's first start."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as folder:
        return torch.load(Path(folder, STATE))


def report(metrics: dict[str, float], state: dict[str, Any]) -> None:
    """Keeps a checkpoint where the cluster keeps them."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder, STATE))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def loop(config: dict[str, Any]) -> None:
    """What the worker runs, from the first epoch or from the last checkpoint."""
    torch.manual_seed(0)
    model = signs.SignNet(config["hidden"])
    optimizer = torch.optim.Adam(model.parameters(), lr=config["rate"])
    state = restored()
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    first = state.get("epoch", -1) + 1
    print(f"epoch {first} is the first of this start, {config['epochs']} in all", flush=True)
    mlflow.set_experiment(EXPERIMENT)
    training, testing = signs.batches("train"), signs.batches("test")
    known = state.get("run") or signs.cut_off(EXPERIMENT, config["name"])
    with mlflow.start_run(run_id=known, run_name=config["name"]) as run:
        mlflow.log_params({"hidden": config["hidden"], "rate": config["rate"]})
        for epoch in range(first, config["epochs"]):
            loss = signs.fit_epoch(model, optimizer, training)
            metrics = {"loss": loss, "accuracy": signs.accuracy(model, testing)}
            mlflow.log_metrics(metrics, step=epoch)
            kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "hidden": model.hidden}
            report({**metrics, "epoch": epoch}, {**kept, "epoch": epoch, "run": run.info.run_id})
        if first < config["epochs"] or not signs.models(run.info.run_id):
            mlflow.pytorch.log_model(
                model,
                name="model",
                serialization_format="pickle",
                code_paths=[signs.__file__],
                pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "torch_geometric")],
            )


def run(name: str = EXPERIMENT, epochs: int = 10, rate: float = 0.02, hidden: int = 32) -> train.Result:
    """Trains, or goes on with what has the same name."""
    trainer = TorchTrainer(
        loop,
        train_loop_config={"name": name, "epochs": epochs, "rate": rate, "hidden": hidden},
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(
            name=name,
            failure_config=train.FailureConfig(max_failures=3),
            checkpoint_config=train.CheckpointConfig(num_to_keep=2),
        ),
    )
    return trainer.fit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default=EXPERIMENT)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--hidden", type=int, default=32)
    ray.init()
    result = run(**vars(parser.parse_args()))
    print(f"trained: accuracy {result.metrics['accuracy']:.2f}, checkpoint {result.checkpoint.path}")
