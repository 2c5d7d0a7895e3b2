"""What the examples share: clips to poses, poses to graphs, and a small graph network that tells signs apart.

The sample's joints are coloured dots, so that finding them needs no model: with people, `poses` is where a pose
estimator goes. All else stays.
"""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import urlsplit

import av
import cv2
import mlflow
import numpy as np
import torch
from mlflow.entities import LoggedModelStatus
from ray import train
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_max_pool, global_mean_pool

DATA = Path(__file__).with_name("data")
SIGNS = ("hello", "circle", "thanks")
SIZE = 128  # pixels of a frame's sides
HUES = (0, 25, 50, 75, 100, 125, 150)  # of each joint, as OpenCV counts them, up to 180
COLOURS = [tuple(map(int, cv2.cvtColor(np.uint8([[[hue, 255, 255]]]), cv2.COLOR_HSV2RGB)[0, 0])) for hue in HUES]
BONES = ((0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6))  # head, shoulders, elbows, hands


def clips(split: str | None = None) -> list[dict[str, str]]:
    """Rows of the table of clips: clip, sign, split."""
    with (DATA / "clips.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if split in (None, row["split"])]


def poses(clip: Path) -> np.ndarray:
    """Where each joint is in each frame: frames x joints x 2, from -1 to 1. A hidden joint stays where it was."""
    found: list[np.ndarray] = []
    with av.open(str(clip)) as film:
        for frame in film.decode(video=0):
            hue, saturation, value = cv2.split(cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2HSV))
            joints = found[-1].copy() if found else np.zeros((len(HUES), 2), np.float32)
            for joint, wanted in enumerate(HUES):
                apart = np.abs(hue.astype(int) - wanted)
                ys, xs = np.nonzero((np.minimum(apart, 180 - apart) < 9) & (saturation > 120) & (value > 120))
                if len(xs):
                    joints[joint] = np.median(xs), np.median(ys)
            found.append(joints)
    return np.stack(found) / (SIZE / 2) - 1


def graph(row: dict[str, str]) -> Data:
    """A clip as a graph: a node for each joint in each frame, edges along bones and along time."""
    places = torch.tensor(poses(DATA / row["clip"]), dtype=torch.float32)
    frames, joints, _ = places.shape
    places = places - places[:, :3].mean((0, 1))  # wherever the person stands
    speeds = torch.diff(places, dim=0, prepend=places[:1])
    which = torch.eye(joints).expand(frames, -1, -1)
    ids = torch.arange(frames * joints).view(frames, joints)
    bones = [torch.stack([ids[:, a], ids[:, b]]) for a, b in BONES]
    edges = torch.cat([*bones, torch.stack([ids[:-1].flatten(), ids[1:].flatten()])], dim=1)
    return Data(
        x=torch.cat([places, 5 * speeds, which], dim=2).flatten(0, 1),
        edge_index=torch.cat([edges, edges.flip(0)], dim=1),
        y=torch.tensor([SIGNS.index(row["sign"])]),
    )


def batches(split: str, size: int = 8) -> DataLoader:
    """The graphs of a split."""
    return DataLoader([graph(row) for row in clips(split)], batch_size=size, shuffle=split == "train")


class SignNet(torch.nn.Module):
    """Two graph convolutions, then what is there on average and at most."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.first = GCNConv(4 + len(HUES), hidden)
        self.second = GCNConv(hidden, hidden)
        self.last = torch.nn.Linear(2 * hidden, len(SIGNS))

    def forward(self, data: Data) -> torch.Tensor:
        """The scores of each sign."""
        x = self.first(data.x, data.edge_index).relu()
        x = self.second(x, data.edge_index).relu()
        return self.last(torch.cat([global_mean_pool(x, data.batch), global_max_pool(x, data.batch)], dim=1))


def fit_epoch(model: SignNet, optimizer: torch.optim.Optimizer, loader: DataLoader) -> float:
    """Trains on each clip once. The mean loss."""
    losses = []
    for batch in loader:
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def accuracy(model: SignNet, loader: DataLoader) -> float:
    """The share of clips that it names right."""
    right = [(model(batch).argmax(1) == batch.y).float() for batch in loader]
    return float(torch.cat(right).mean())


def models(run_id: str) -> list[str]:
    """The complete models of an MLflow run: one that was cut off while it was sent is none."""
    outputs = mlflow.get_run(run_id).outputs
    ids = [model.model_id for model in outputs.model_outputs] if outputs else []
    return [model for model in ids if mlflow.get_logged_model(model).status == LoggedModelStatus.READY]


def cut_off(experiment: str, name: str) -> str | None:
    """The MLflow run of a name that nobody ended: whoever was killed before the first checkpoint goes on with it."""
    where = f"attributes.run_name = '{name}' and attributes.status = 'RUNNING'"
    found = mlflow.search_runs(experiment_names=[experiment], filter_string=where, output_format="list")
    return found[0].info.run_id if found else None


def place(name: str) -> str:
    """Where a run of Ray Train or Tune keeps its results and checkpoints: a path or a URL."""
    url = urlsplit(train.RunConfig().storage_path)
    return url._replace(path=f"{url.path.rstrip('/')}/{name}").geturl()
