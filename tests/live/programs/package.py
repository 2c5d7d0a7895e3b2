"""Uses a package that only the job's own environment has: ``package.py MODULE [in_task]``."""

import importlib
import sys

import ray


def use():
    import numpy
    import torch

    module = importlib.import_module(sys.argv[1])
    return f"{module.answer()}, numpy {numpy.__version__}, torch {torch.__version__}"


ray.init(log_to_driver=False)
print("package:", ray.get(ray.remote(use).remote()))
if sys.argv[2:] != ["in_task"]:
    print("driver:", use())
