"""The program of a Ray job of the transcription service: one task for each file (contracts/transcription.py, Work).

The service submits it and reads the reports of its files. It ends with status 1 where a file's end could not even be
reported, such as on a full disk; the service then submits what is missing again.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError

from contracts.document import load
from contracts.transcription import FileReport, Medium, Work
from entrypoints.transcription.ray_task import report, transcribe_file

IN_FLIGHT = 200  # tasks that Ray is given at once
RETRIES = 2  # of a task whose process or node was lost


def run(work: Work) -> list[str]:
    """Have all files transcribed; return why the ends of some are not reported."""
    task = ray.remote(num_cpus=work.cpus, num_gpus=work.gpus, max_retries=RETRIES)(transcribe_file)
    waiting, unreported = deque(work.media), list[str]()
    running: dict[ray.ObjectRef[None], Medium] = {}
    while waiting or running:
        while waiting and len(running) < IN_FLIGHT:
            medium = waiting.popleft()
            running[task.options(name=f"transcribe {medium.path.name}").remote(work, medium)] = medium
        for ended in ray.wait(list(running), num_returns=1)[0]:
            medium = running.pop(ended)
            try:
                ray.get(ended)
            except RayError as error:
                unreported += _failed(work, medium, error)
    return unreported


def _failed(work: Work, medium: Medium, error: RayError) -> list[str]:
    """Report a file whose task could not; return why that is not possible either."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    reason = f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
    try:
        report(work, medium, FileReport(state="failed", error=reason))
    except OSError as failure:
        return [f"{medium.path}: {reason} ({failure})"]
    return []


def main(arguments: list[str]) -> int:
    """Run the job that a file describes."""
    work = load(Work, Path(arguments[0]).read_text(encoding="utf-8"))
    ray.init(logging_level=logging.WARNING)
    unreported = run(work)
    if unreported:
        print(f"{len(unreported)} of {len(work.media)} files have no report: {unreported[-1]}")
    return 1 if unreported else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
