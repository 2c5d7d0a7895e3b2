"""What a driver on the head measures against a node with the resource `worker`, as JSON.

Runs in a container of bench/ray_tls.py, with the Python, Ray and NumPy of its image.
"""

import json
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np

ray: Any = import_module("ray")  # untyped
ON_WORKER = {"num_cpus": 0.1, "resources": {"worker": 0.001}}
LARGE, SMALL = 100_000_000, 10_000  # bytes
OBJECTS, TASKS, CALLS, WAITED = 1000, 1000, 2000, 200


@ray.remote(**ON_WORKER)  # type: ignore[untyped-decorator]
def nothing() -> None:
    """A task that costs only its way."""


@ray.remote(**ON_WORKER)  # type: ignore[untyped-decorator]
def length(data: "np.ndarray[tuple[int], np.dtype[np.uint8]]") -> int:
    """Takes an object."""
    return len(data)


@ray.remote(**ON_WORKER)  # type: ignore[untyped-decorator]
def large() -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """Makes an object."""
    return np.ones(LARGE, np.uint8)


@ray.remote(**ON_WORKER)  # type: ignore[untyped-decorator]
def small() -> list[Any]:
    """Makes many."""
    return [ray.put(np.ones(SMALL, np.uint8)) for _ in range(OBJECTS)]


class Actor:
    """Answers calls."""

    def nothing(self) -> None:
        """A call that costs only its way."""


def seconds(action: Callable[[], object], times: int) -> float:
    """The median time that it takes."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return median(took)


def fetched() -> float:
    """The time to get many objects that the worker holds."""
    found = ray.get(small.remote())
    return seconds(lambda: ray.get(found), 1)


def main() -> None:
    """Prints measure → value."""
    began = time.perf_counter()
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    connected = time.perf_counter() - began
    ray.get([nothing.remote() for _ in range(50)])
    actor, data = ray.remote(**ON_WORKER)(Actor).remote(), np.ones(LARGE, np.uint8)
    ray.get([actor.nothing.remote(), length.remote(data)])
    print(
        json.dumps(
            {
                "a driver connects, s": connected,
                "no-op tasks at once, per s": TASKS
                / seconds(lambda: ray.get([nothing.remote() for _ in range(TASKS)]), 3),
                "one no-op task, ms": 1000 * seconds(lambda: ray.get(nothing.remote()), WAITED),
                "actor calls at once, per s": CALLS
                / seconds(lambda: ray.get([actor.nothing.remote() for _ in range(CALLS)]), 3),
                "one actor call, ms": 1000 * seconds(lambda: ray.get(actor.nothing.remote()), WAITED),
                "100 MB to the other node, s": seconds(lambda: ray.get(length.remote(ray.put(data))), 5),
                "100 MB from the other node, s": seconds(lambda: ray.get(large.remote()), 5),
                "1,000 objects of 10 kB from it, s": median([fetched() for _ in range(3)]),
            }
        )
    )


if __name__ == "__main__":
    main()
