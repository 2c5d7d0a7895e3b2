"""MLflow keeps models with their examples, images and figures: what experiments log beside numbers."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
import mlflow.pytorch
import numpy
import torch
from matplotlib.figure import Figure
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from PIL import Image

SECONDS = 240  # MLflow loads the model in another process, to see what it imports


@contextmanager
def run_in_files() -> Iterator[mlflow.ActiveRun]:
    """A run whose store is a folder."""
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(Path(folder, "runs").as_uri())
        mlflow.set_experiment("image")
        with mlflow.start_run() as run:
            yield run


def check_model_is_logged_with_an_example_and_loaded() -> None:
    """The signature is inferred from the example, which needs scipy and pandas."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    example = numpy.ones((1, 3), dtype=numpy.float32)
    with run_in_files():
        info = mlflow.pytorch.log_model(model, name="model", input_example=example)
        assert info.signature is not None
        expected = model(torch.from_numpy(example)).detach().numpy()
        assert numpy.allclose(mlflow.pyfunc.load_model(info.model_uri).predict(example), expected)


def check_images_and_figures_are_logged() -> None:
    """From an array, from Pillow, from matplotlib."""
    figure = Figure()
    figure.subplots().plot([1, 2])
    with run_in_files() as run:
        mlflow.log_image(numpy.zeros((8, 8, 3), dtype=numpy.uint8), artifact_file="array.png")
        mlflow.log_image(Image.new("RGB", (8, 8)), key="sample", step=1)
        mlflow.log_figure(figure, "figure.png")
        files = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
        assert {"array.png", "figure.png", "images"} <= files
        assert mlflow.artifacts.load_image(f"{run.info.artifact_uri}/array.png").size == (8, 8)


def check_gpu_metrics_find_their_bindings() -> None:
    """Without a GPU they say so, and not that a package is missing."""
    try:
        GPUMonitor()
    except (ImportError, RuntimeError) as error:
        assert "not installed" not in str(error), error  # noqa: PT017
