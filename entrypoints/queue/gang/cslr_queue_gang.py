"""Runs a command once in each part of a job, each with its part's resources, on the nodes that the queue chose.

Ray runs this as the job's own command, in the job's environment. It is sent to the nodes alone, so it imports nothing
of the project. All parts begin together or none. The first that fails ends the others; its status is that of the job.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

GANG_VARIABLE = "CSLR_QUEUE_GANG"  # what the parts are, as JSON: command, nodes, and each part's amounts
PART, FIRST = "CSLR_QUEUE_PART", "CSLR_QUEUE_FIRST"  # of each part: which it is, from 0; where part 0 is
NODE_LABEL = "ray.io/node-id"
LOOK_SECONDS = 60  # there is room when the queue starts a job, but others may have taken it meanwhile
KILL_SECONDS = 2.0  # after a signal; Ray gives the whole job three


class Part:
    """A part, with its resources."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def address(self) -> str:
        """That of its node."""
        return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]

    def run(self, command: str, variables: dict[str, str]) -> int:
        """Run the command, and return its status."""
        if self._stopped:
            return -signal.SIGTERM
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command], env={**os.environ, **variables}, start_new_session=True
        )
        return self._process.wait()

    def stop(self) -> None:
        """End the command with all that it started."""
        self._stopped = True
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


def main() -> int:
    """Run the parts; returns the first status that is not 0."""
    gang = json.loads(os.environ.pop(GANG_VARIABLE))
    ray.init(log_to_driver=True)
    nodes, each = gang["nodes"], gang["each"]
    group = placement_group(
        [each] * len(nodes), strategy="PACK", bundle_label_selector=[{NODE_LABEL: node} for node in nodes]
    )
    while not group.wait(LOOK_SECONDS):
        listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        lost = {*nodes} - {node["NodeID"] for node in listed if node["Alive"]}
        if lost:
            print(f"A node went down before this job began: {', '.join(lost)}.", file=sys.stderr)
            return 1
        print("This job waits: other work holds what the queue gave it on its nodes.", file=sys.stderr)
    parts = [_part(group, index, each) for index in range(len(nodes))]

    def stop(*_: object) -> None:
        threading.Thread(target=_stop, args=(parts,)).start()

    signal.signal(signal.SIGTERM, stop)
    first = ray.get(parts[0].address.remote())
    waiting = {
        part.run.remote(gang["command"], {PART: str(index), FIRST: first}): index for index, part in enumerate(parts)
    }
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        index = waiting.pop(done[0])
        status = int(ray.get(done[0]))
        if status:
            print(f"Part {index} ended with status {status}; the others are stopped.", file=sys.stderr)
            _stop(parts)
            return status if status > 0 else 128 - status
    return 0


def _part(group: Any, index: int, each: dict[str, float]) -> Any:  # noqa: ANN401 - Ray's
    rest = dict(each)
    return (
        ray.remote(Part)
        .options(
            num_cpus=rest.pop("CPU", 0),
            num_gpus=rest.pop("GPU", 0),
            memory=rest.pop("memory", None),
            resources=rest or None,
            max_concurrency=2,  # it is stopped while it runs
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        )
        .remote()
    )


def _stop(parts: list[Any]) -> None:
    stopped = [part.stop.remote() for part in parts]
    ray.wait(stopped, num_returns=len(stopped), timeout=KILL_SECONDS + 1)


if __name__ == "__main__":
    sys.exit(main())
