"""A first job: computes on the cluster, and logs a run to its MLflow.

ray job submit --working-dir jobs -- python hello.py
"""

import os
import platform

import ray


@ray.remote
def square(number: int) -> int:
    """A task, which runs on any node of the cluster."""
    return number * number


def main() -> None:
    """Computes, and logs what came out."""
    ray.init()
    total = sum(ray.get([square.remote(number) for number in range(10)]))
    print(f"Hello from Python {platform.python_version()} and Ray {ray.__version__}: the sum is {total}")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        import mlflow

        mlflow.set_experiment("hello")
        with mlflow.start_run() as run:
            mlflow.log_param("numbers", 10)
            mlflow.log_metric("sum", total)
        print(f"Logged as run {run.info.run_id} of the experiment hello")


if __name__ == "__main__":
    main()
