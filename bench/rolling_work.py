"""The programs that run during a rolling replacement, in workers: ``rolling_work.py tasks|trials FOLDER``.

`tasks`: 1,000 tasks of 0.9 s; every tenth leaves 1 MB on its node, which is read in the end. `trials`: six trials of
Ray Tune with a checkpoint each second. Both write each start into a folder that the hosts share, and end with JSON.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

NUMBER, SECONDS, BYTES = 1000, 0.9, 1_000_000
TRIALS, STEPS = 6, 90


def started(folder: str, what: str) -> None:
    """Writes down one start."""
    with Path(folder, what).open("a") as file:
        file.write(f"{os.environ.get('RAY_NODE_NAME')}\n")


def starts(folder: str, which: str) -> int:
    """How often those of this pattern began."""
    return sum(len(file.read_text().splitlines()) for file in Path(folder).glob(which))


def tasks(folder: str) -> dict[str, Any]:
    """Runs the tasks, and reads every result."""
    ray: Any = import_module("ray")
    ray.init(log_to_driver=False)

    @ray.remote(num_cpus=0.5)  # type: ignore[untyped-decorator]
    def work(number: int) -> tuple[int, bytes]:
        started(folder, f"task-{number}")
        time.sleep(SECONDS)
        return number, b"x" * (BYTES if number % 10 == 0 else 1)

    results = [work.remote(number) for number in range(NUMBER)]
    waiting = list(results)
    while waiting:
        _, waiting = ray.wait(waiting, num_returns=min(50, len(waiting)), timeout=10, fetch_local=False)
    right = sum(
        ray.get(result) == (number, b"x" * (BYTES if number % 10 == 0 else 1)) for number, result in enumerate(results)
    )
    return {"right": right, "again": starts(folder, "task-*") - NUMBER}


def trials(folder: str) -> dict[str, Any]:
    """Runs the trials to their last step."""
    tune: Any = import_module("ray.tune")

    def trial(config: Mapping[str, int]) -> None:
        first, state = 0, tune.get_checkpoint()
        if state:
            with state.as_directory() as kept:
                first = int(Path(kept, "step").read_text()) + 1
        started(folder, f"trial-{config['n']}-{'goes-on' if first else 'begins'}")
        for step in range(first, STEPS):
            time.sleep(1)
            with tempfile.TemporaryDirectory() as kept:
                Path(kept, "step").write_text(str(step))
                tune.report({"step": step}, checkpoint=tune.Checkpoint.from_directory(kept))

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 0.5}),
        param_space={"n": tune.grid_search(list(range(TRIALS)))},
        run_config=tune.RunConfig(
            name="rolling",
            storage_path=f"{folder}/results",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=3),
        ),
    )
    found = tuner.fit()
    ended = sum(not one.error and one.metrics["step"] == STEPS - 1 for one in found)
    lost = starts(folder, "trial-*-begins") - TRIALS
    return {"right": ended, "again": starts(folder, "trial-*-goes-on"), "from 0": lost}


if __name__ == "__main__":
    began = time.monotonic()
    outcome = {"tasks": tasks, "trials": trials}[sys.argv[1]](sys.argv[2])
    print(json.dumps({**outcome, "seconds": round(time.monotonic() - began)}), flush=True)
