"""Uses a package that only the job's own environment has: ``package.py MODULE``, in a task and in the driver."""

import importlib
import sys

import ray


def use(name):
    import numpy
    import torch

    return f"{importlib.import_module(name).answer()}, numpy {numpy.__version__}, torch {torch.__version__}"


ray.init(log_to_driver=False)
print("package:", ray.get(ray.remote(use).remote(sys.argv[1])))
print("driver:", use(sys.argv[1]))
