"""Four trials of Ray Tune, with results at the default place: ``tuning.py NAME``; with `read` it reads them."""

import sys

from ray import tune


def trial(config):
    for step in range(3):
        tune.report({"loss": config["rate"] / (step + 1)})


name, reads = sys.argv[1], sys.argv[2:] == ["read"]
if reads:
    from pathlib import Path

    results = tune.Tuner.restore(str(Path.home() / "ray_results" / name), trial).get_results()
else:
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 0.5}),
        param_space={"rate": tune.grid_search([1.0, 2.0, 3.0, 4.0])},
        run_config=tune.RunConfig(name=name, verbose=0),
    )
    results = tuner.fit()
best = results.get_best_result("loss", "min")
assert len(results) == 4, len(results)
assert abs(best.metrics["loss"] - 1 / 3) < 1e-6, best.metrics
print("tuned:", best.path)
