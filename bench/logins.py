"""Measures what MLflow's logins cost: ``python -m bench.logins``.

Deploys two small stacks with MLflow, one without logins and one with them. The calls are those of a training run.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from bench import mlflow_calls
from bench.document import WIDE, machine, write_section
from bench.mlflow_calls import Call, Way, way
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed

PORTS = {False: 28_751, True: 28_761}  # with logins? → the first of a stack's
FILE = os.urandom(100_000)
METHOD = """\
Times in ms: median (least to most), over one connection each, with real Postgres. The account is the platform's, and
MLflow has seen it before. Client and servers share the cores."""


def settings(*, logins: bool) -> Mapping[str, Any]:
    """The stack with or without logins."""
    port = PORTS[logins]
    return merged(
        SMALL,
        {
            "network": {"name": f"cslr-bench-logins-{port}", "subnet": f"10.206.{int(logins)}.0/24"},
            "mlflow": {"enabled": True, "port": port, "logins": logins},
            "redis": {"port": port + 1},
            "postgres": {"enabled": True, "port": port + 2},
            "health": {"port": port + 3},
        },
    )


def log_many(way: Way) -> requests.Response:
    """A hundred metrics at once."""
    metrics = [{"key": f"m{i}", "value": 0.5, "timestamp": 1, "step": 1} for i in range(100)]
    return way.session.post(way.api("mlflow/runs/log-batch"), json={"run_id": way.run, "metrics": metrics})


def get_run(way: Way) -> requests.Response:
    """A run with its metrics."""
    return way.session.get(way.api("mlflow/runs/get"), params={"run_id": way.run})


def search_runs(way: Way) -> requests.Response:
    """The newest runs of an experiment."""
    return way.session.post(way.api("mlflow/runs/search"), json={"experiment_ids": ["0"], "max_results": 10})


def search_experiments(way: Way) -> requests.Response:
    """The experiments."""
    return way.session.post(way.api("mlflow/experiments/search"), json={"max_results": 10})


def create_run(way: Way) -> requests.Response:
    """A new run."""
    return way.session.post(way.api("mlflow/runs/create"), json={"experiment_id": "0", "start_time": 1})


def upload(way: Way) -> requests.Response:
    """A small artifact."""
    return way.session.put(way.artifact(len(FILE)), data=FILE)


CALLS: dict[str, Call] = {
    "get an experiment": mlflow_calls.get,
    "log a metric": mlflow_calls.log,
    "log 100 metrics": log_many,
    "get a run": get_run,
    "search runs": search_runs,
    "search experiments": search_experiments,
    "create a run": create_run,
    "upload 100 kB": upload,
}


def to(stack: LiveStack, *, logins: bool) -> Way:
    """The way to a stack's MLflow."""
    host = f"127.0.0.1:{PORTS[logins]}"
    account = stack.mlflow_login if logins else None
    return way("with logins" if logins else "without", f"http://{host}", host=host, account=account)


def main() -> None:
    """Measure, print and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="how often each call is made (200)")
    times = parser.parse_args().times
    facts = [f"- {name}: {value}" for name, value in machine().items()]
    with ExitStack() as open_stacks:
        ways = []
        for logins in PORTS:
            at = open_stacks.enter_context(tempfile.TemporaryDirectory(prefix="cslr-bench-logins-"))
            name = "bench-logins" if logins else "bench-no-logins"
            stack = open_stacks.enter_context(deployed(name, dict(settings(logins=logins)), Path(at)))
            ways.append(to(stack, logins=logins))
        rows = mlflow_calls.table(ways, {name: (call, times) for name, call in CALLS.items()})
    write_section("logins", "\n".join(["## MLflow's logins", "", METHOD, "", *facts, "", *rows]))
    Console(width=WIDE).print("\n".join(rows), markup=False)


if __name__ == "__main__":
    main()
