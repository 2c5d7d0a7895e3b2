"""Ray Train with torch on one CPU worker, with checkpoints at the default place: ``training.py NAME [EPOCHS]``."""

import sys
import tempfile
from pathlib import Path

import torch
from ray import train
from ray.train.torch import TorchTrainer, prepare_model


def loop(config):
    model = prepare_model(torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    inputs = torch.randn(256, 16)
    targets = inputs.sum(1, keepdim=True)
    for epoch in range(config["epochs"]):
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"epoch": epoch, "model": model.state_dict()}, Path(folder, "model.pt"))
            checkpoint = train.Checkpoint.from_directory(folder)
            train.report({"loss": loss.item(), "epoch": epoch}, checkpoint=checkpoint)


epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
trainer = TorchTrainer(
    loop,
    train_loop_config={"epochs": epochs},
    scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
    run_config=train.RunConfig(name=sys.argv[1], checkpoint_config=train.CheckpointConfig(num_to_keep=2)),
)
result = trainer.fit()
with result.checkpoint.as_directory() as kept:
    assert torch.load(Path(kept, "model.pt"))["epoch"] == epochs - 1
print("trained:", result.checkpoint.path)
