"""Twenty jobs of the queue through a death of Ray's head: `python -m bench.queue_restart [--jobs N]`.

It deploys the stack of bench/queue_shares.py and removes it. Each job notes its beginning and its end in its checkpoint
folder, so that what ran is known from the jobs themselves. The container of the head, the only node, is killed while
some of them run. Exit code: 1 if a job was lost, or came to its end twice, or ran twice at once.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench.queue_shares import EVERY, SETTINGS, URL, asked
from contracts.queue import CHECKPOINTS_VARIABLE, USER_HEADER
from testing.live.deployment import LiveStack, deployed

HEAD = "ray-cpu"
NOTES = f'"${CHECKPOINTS_VARIABLE}"/notes'
PROGRAM = f'mkdir -p "${CHECKPOINTS_VARIABLE}" && echo begin >> {NOTES} && sleep 8 && echo end >> {NOTES}'
SECONDS = 900.0  # for all of them


def main() -> int:
    """Kills, waits, and prints what became of the jobs."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue_restart", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, deployed("queue-shares", SETTINGS, Path(folder)) as stack:
        token = (stack.state / "generated/ray-token").read_text()
        with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
            return through(stack, client, chosen.jobs)


def through(stack: LiveStack, client: httpx.Client, count: int) -> int:
    """Returns 1 if something went wrong."""
    names = [f"job{number}" for number in range(count)]
    for name in names:
        body = {"entrypoint": PROGRAM, "cpus": 0.5, "id": name}
        client.post(f"{URL}/jobs", json=body, headers={USER_HEADER: "anna"}).raise_for_status()
    _until(client, lambda jobs: sum(job["outcome"] == "succeeded" for job in jobs) >= 2, "two jobs ended")
    running = sum(job["state"] == "running" for job in asked(client, f"{URL}/jobs"))
    began = time.monotonic()
    stack.container(HEAD).kill()
    stack.container(HEAD).start()
    print(f"the head was killed while {running} jobs ran", flush=True)
    _until(client, lambda jobs: all(job["state"] == "ended" for job in jobs), "all jobs ended")
    jobs = asked(client, f"{URL}/jobs")
    _, notes = stack.exec(HEAD, "sh", "-c", "cd /home/cslr/ray_results && grep -H . */notes")
    noted = Counter(tuple(line.split("/notes:")) for line in notes.splitlines())
    wrong = [
        job["id"]
        for job in jobs
        if job["outcome"] != "succeeded"
        or noted[job["id"], "end"] != 1
        or noted[job["id"], "begin"] > len(job["attempts"])
    ]
    again = sum(len(job["attempts"]) > 1 for job in jobs)
    print(
        f"{len(jobs)} of {count} jobs, {time.monotonic() - began:.0f} s after the kill: "
        f"{sum(job['outcome'] == 'succeeded' for job in jobs)} succeeded, {again} in a second attempt; "
        f"{sum(noted[name, 'begin'] for name in names)} began, {sum(noted[name, 'end'] for name in names)} came to "
        f"their end. Lost, or more often than that: {', '.join(wrong) or 'none'}.",
        flush=True,
    )
    return int(bool(wrong) or len(jobs) != count)


def _until(client: httpx.Client, ready: Callable[[list[Any]], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ready(asked(client, f"{URL}/jobs")):
        if time.monotonic() > end:
            raise SystemExit(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(EVERY)


if __name__ == "__main__":
    sys.exit(main())
