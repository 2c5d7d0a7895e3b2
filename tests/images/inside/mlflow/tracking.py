"""MLflow's client records a run, in files, since the image holds no server and no database."""

import os
import tempfile
from pathlib import Path

# The client warns that this store gets no new features. Here it stands for the server, which is not in this image.
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow


def check_run_is_recorded_and_found() -> None:
    """Parameters, a metric's history and an artifact."""
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(Path(folder, "runs").as_uri())
        mlflow.set_experiment("image")
        with mlflow.start_run() as run:
            mlflow.log_param("alpha", 0.5)
            for step, loss in enumerate((3.0, 2.0, 1.0)):
                mlflow.log_metric("loss", loss, step=step)
            mlflow.log_text("kept", "note.txt")
        client = mlflow.MlflowClient()
        found = client.get_run(run.info.run_id)
        assert (found.data.params, found.data.metrics) == ({"alpha": "0.5"}, {"loss": 1.0})
        assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [3.0, 2.0, 1.0]
        assert mlflow.artifacts.load_text(f"{found.info.artifact_uri}/note.txt") == "kept"
