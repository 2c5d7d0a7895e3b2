"""Logs the usual kinds of data to MLflow: ``tracking.py EXPERIMENT KIND...``: model, image, figure, table, metrics."""

import sys

import mlflow
import numpy as np

experiment, kinds = sys.argv[1], sys.argv[2:]
mlflow.set_experiment(experiment)


def model():
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    example = np.random.default_rng(7).random((4, 8), dtype=np.float32)
    logged = mlflow.pytorch.log_model(network, name="model", input_example=example)
    assert logged.signature
    loaded, inputs = mlflow.pytorch.load_model(logged.model_uri), torch.from_numpy(example)
    assert torch.allclose(loaded(inputs), network(inputs))
    print("model:", logged.model_uri)


def image():
    mlflow.log_image(np.zeros((64, 64, 3), dtype=np.uint8), key="frame", step=1)
    mlflow.log_image(np.zeros((64, 64, 3), dtype=np.uint8), "frame.png")


def figure():
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    mlflow.log_figure(drawn, "figure.png")


def table():
    import pandas

    mlflow.log_table(pandas.DataFrame({"gloss": ["HOUSE", "TREE"], "score": [0.5, 0.7]}), "table.json")


def forest():
    from sklearn.ensemble import RandomForestClassifier

    inputs = np.random.default_rng(7).random((20, 3))
    mlflow.sklearn.log_model(RandomForestClassifier(3).fit(inputs, inputs[:, 0] > 0.5), name="f", input_example=inputs)


def metrics():
    for step in range(200):
        mlflow.log_metric("loss", 1 / (1 + step), step=step)


KINDS = {"model": model, "image": image, "figure": figure, "table": table, "forest": forest, "metrics": metrics}
with mlflow.start_run() as run:
    for kind in kinds:
        KINDS[kind]()
print("run:", run.info.run_id, *kinds)
