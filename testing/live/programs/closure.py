"""A function that drags a large array along, which Ray keeps in the cluster's state: ``closure.py COUNT MEGABYTES``."""

import sys

import numpy as np
import ray

count, size = int(sys.argv[1]), int(sys.argv[2]) * 2**20
ray.init(log_to_driver=False)
for number in range(count):
    dragged = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
    assert ray.get(ray.remote(lambda dragged=dragged: dragged.nbytes).remote()) == size
print("dragged:", count, "times")
