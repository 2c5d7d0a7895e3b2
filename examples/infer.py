"""4. Recognize the signs in many clips with Ray Data, with the last checkpoint of a training run.

ray job submit --working-dir examples -- python infer.py --name signs
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas
import ray
import torch
from ray import train
from torch_geometric.data import Batch

import signs
from train_signs import STATE


class Namer:
    """Holds the model while clips pass by: Ray Data makes as many of these as it is told."""

    def __init__(self, checkpoint: train.Checkpoint) -> None:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder, STATE))
        self.model = signs.SignNet(state["hidden"])
        self.model.load_state_dict(state["model"])

    @torch.no_grad()
    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Names the signs of a batch of clips."""
        graphs = [signs.graph({"clip": c, "sign": s}) for c, s in zip(rows["clip"], rows["sign"], strict=True)]
        scores = self.model(Batch.from_data_list(graphs)).softmax(1)
        best, named = scores.max(1)
        return {**rows, "named": np.array(signs.SIGNS)[named.numpy()], "certainty": best.numpy()}


def run(name: str = "signs", namers: int = 1) -> pandas.DataFrame:
    """Names all clips. The table is kept beside the training's checkpoints too."""
    checkpoint = train.Result.from_path(signs.place(name)).checkpoint
    if checkpoint is None:
        raise SystemExit(f"{signs.place(name)} has no checkpoint: run train_signs.py --name {name} first")
    named = ray.data.from_items(signs.clips()).map_batches(
        Namer,
        fn_constructor_args=(checkpoint,),
        batch_size=8,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=namers),
    )
    named = named.materialize()
    named.write_parquet(signs.place(f"{name}-named"), mode="overwrite")
    return named.to_pandas()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="signs")
    parser.add_argument("--namers", type=int, default=1)
    ray.init()
    table = run(**vars(parser.parse_args()))
    print(table.to_string())
    print(f"named: {len(table)} clips, {(table.sign == table.named).mean():.2f} of them right")
