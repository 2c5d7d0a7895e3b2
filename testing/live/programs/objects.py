"""Keeps objects and reads each again: ``objects.py put|returned|actor COUNT MEGABYTES``."""

import sys

import numpy as np
import ray

ray.init()
way, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) * 2**20


def array(number):
    return np.full(size, number % 256, dtype=np.uint8)


@ray.remote
class Keeper:
    def __init__(self):
        self.kept = []

    def keep(self, number):
        self.kept.append(ray.put(array(number)))
        return [self.kept[-1]]


if way == "put":
    references = [ray.put(array(number)) for number in range(count)]
elif way == "returned":
    references = [ray.remote(array).remote(number) for number in range(count)]
else:
    keeper = Keeper.remote()
    references = [ray.get(keeper.keep.remote(number))[0] for number in range(count)]
for number, reference in enumerate(references):
    kept = ray.get(reference)
    assert kept.nbytes == size, number
    assert kept[0] == kept[-1] == number % 256, number
    del kept
print("objects:", count, "read again")
