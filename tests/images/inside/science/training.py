"""What surrounds a training: lightning trains, tensorboard keeps its curves, NVML's bindings and git are there."""

import subprocess
import tempfile
import warnings
from pathlib import Path

import lightning
import pynvml
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

SECONDS = 150


class Line(lightning.LightningModule):  # type: ignore[misc]
    """One weight, which should become two."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        """Lightning calls it."""
        return ((self.layer(batch) - 2 * batch) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Lightning calls it."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def check_lightning_trains() -> None:
    """With a checkpoint that another model can be made from."""
    warnings.simplefilter("ignore")
    loader = torch.utils.data.DataLoader(torch.rand(64, 1, generator=torch.Generator().manual_seed(0)), batch_size=4)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=10, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=folder,
            enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        model = Line()
        trainer.fit(model, loader)
        assert abs(model.layer.weight.item() - 2) < 0.1
        trainer.save_checkpoint(Path(folder, "line.ckpt"))
        assert Line.load_from_checkpoint(Path(folder, "line.ckpt")).layer.weight.item() == model.layer.weight.item()


def check_tensorboard_keeps_curves() -> None:
    """Written by torch, read by tensorboard."""
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for step in range(3):
                writer.add_scalar("loss", 3 - step, step)
        events = EventAccumulator(folder).Reload()
        assert [point.value for point in events.Scalars("loss")] == [3, 2, 1]


def check_nvml_bindings_answer() -> None:
    """With the driver's library or the clear word that there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        assert error.value in (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)  # noqa: PT017
    else:
        assert pynvml.nvmlDeviceGetCount() >= 0
        pynvml.nvmlShutdown()


def check_git_clones() -> None:
    """As a user whose home may be missing: what a notebook or a job fetches."""
    identity = ("-c", "user.name=cslr", "-c", "user.email=cslr@example.org")
    with tempfile.TemporaryDirectory() as folder:

        def git(*words: str) -> str:
            done = subprocess.run(["git", *words], cwd=folder, check=False, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, done.stderr
            return done.stdout

        git("init", "--quiet", "one")
        git("-C", "one", *identity, "commit", "--quiet", "--allow-empty", "--message=first")
        git("clone", "--quiet", "one", "two")
        assert "first" in git("-C", "two", "log", "--oneline")
        assert "https" in git("--exec-path") or any(Path(git("--exec-path").strip()).glob("git-remote-https"))
