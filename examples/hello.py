"""1. Hello, cluster: which nodes there are, and tasks that run on them.

ray job submit --working-dir examples -- python hello.py
"""

from __future__ import annotations

import argparse
import os
import socket
import time

import ray


@ray.remote(num_cpus=0.5)
def who(number: int) -> str:
    """What a task knows of where it runs."""
    time.sleep(0.5)
    return f"task {number} ran on {socket.gethostname()}, process {os.getpid()}"


def nodes() -> list[dict[str, object]]:
    """The nodes of the cluster and what they offer."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [
        {"node": node["NodeManagerHostname"], **{unit: node["Resources"].get(unit, 0) for unit in ("CPU", "GPU")}}
        for node in alive
    ]


def run(tasks: int = 4) -> list[str]:
    """Starts all tasks at once, then waits for them."""
    return ray.get([who.remote(number) for number in range(tasks)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4)
    arguments = parser.parse_args()
    ray.init()
    for row in nodes():
        print(row)
    print(*run(arguments.tasks), sep="\n")
