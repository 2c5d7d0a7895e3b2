"""A job's attempt as Ray's Jobs API takes it.

The command holds in Ray what the job asks for, on the node that the scheduler chose; of a job with several parts, a
placement group holds them, and the command runs in each (gang.py). Where its tasks take that instead,
the command holds nothing, and the queue only counts: Ray may give the tasks other nodes, which then count as taken from
outside until the job ends. So the queue never gives away too much, but may keep too much.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contracts.queue import (
    ATTEMPT_VARIABLE,
    CHECKPOINTS_VARIABLE,
    JOB_VARIABLE,
    PARTS_VARIABLE,
    RUN_TAG,
)
from entrypoints.queue import gang
from entrypoints.queue.ray_jobs import NODES_TAG
from entrypoints.queue.stored import Job

NODE_LABEL = "ray.io/node-id"  # Ray's own, of each node
RUN_VARIABLE = "MLFLOW_RUN_ID"  # the run that the next `start_run` continues
TAGS_VARIABLE = "MLFLOW_RUN_CONTEXT"  # tags of each run that is started, as JSON


def is_gang(job: Job) -> bool:
    """Whether its command runs once in each of several parts."""
    return job.submission.count > 1 and job.submission.held_by == "command"


def request(
    job: Job,
    nodes: Sequence[str],
    *,
    checkpoints: str,
    package: str | None = None,
    program: str | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """The body of the request that starts a job's present attempt.

    nodes: their ids in Ray, one for each part. package, program: where Ray has the job's folder, and the program of a
    gang. run: of MLflow, to be continued.
    """
    asked = job.submission
    variables = {
        **asked.environment,
        JOB_VARIABLE: job.id,
        ATTEMPT_VARIABLE: str(job.record.attempt),
        PARTS_VARIABLE: str(asked.count),
        CHECKPOINTS_VARIABLE: below(checkpoints, job.id),
        TAGS_VARIABLE: json.dumps({RUN_TAG: job.id}),
    }
    if run:
        variables[RUN_VARIABLE] = run
    environment: dict[str, Any] = {"env_vars": variables}
    if package:
        environment["working_dir"] = package
    if asked.packages:
        environment["pip"] = list(asked.packages)
    body: dict[str, Any] = {
        "submission_id": job.record.submission,
        "entrypoint": asked.entrypoint,
        "runtime_env": environment,
        "metadata": {RUN_TAG: job.id, "user": job.user, "name": asked.title, NODES_TAG: ",".join(nodes)},
        "entrypoint_label_selector": {NODE_LABEL: nodes[0]},
    }
    if is_gang(job):
        environment["py_modules"] = [program]
        variables[gang.VARIABLE] = gang.order(asked.entrypoint, nodes, asked.each)
        body["entrypoint"] = gang.ENTRYPOINT
    elif asked.held_by == "command":
        body |= {
            "entrypoint_num_cpus": asked.cpus,
            "entrypoint_num_gpus": asked.gpus,
            "entrypoint_memory": asked.memory or None,
            "entrypoint_resources": dict(asked.resources) or None,
        }
    return body


def below(folder: str, name: str) -> str:
    """A folder's folder; an address in an object store may end with a query."""
    path, mark, query = folder.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"
