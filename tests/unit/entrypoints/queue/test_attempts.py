"""What the queue makes of Ray's words, and what it asks Ray for."""

import json
import time
import zipfile
from io import BytesIO
from typing import Any

import httpx
import pytest

from contracts.queue import ATTEMPT_VARIABLE, CHECKPOINTS_VARIABLE, Submission
from entrypoints.queue import cluster, entry, gang
from entrypoints.queue.accounts import usage_rows
from entrypoints.queue.loop import stopping_cause
from entrypoints.queue.ray_jobs import NotTakenError, RayAwayError, RayCluster, SeenNode, Sight
from entrypoints.queue.starter import PostponedError, Starter
from entrypoints.queue.store import Held
from entrypoints.queue.stored import Job
from scheduling.amounts import amounts
from scheduling.lifecycle import Act, Cause, Outcome, Phase, Record, Seen, retry

HOUR = 3600.0
DIED = {"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "Job supervisor actor died: ..."}
NO_SUPERVISOR = {
    "status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_START_FAILURE",
    "message": "Unexpected error occurred: failed to get job supervisor.",
}  # fmt: skip
BAD_ENVIRONMENT = {
    "status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_START_FAILURE",
    "message": "Failed to start supervisor actor: 'runtime_env['pip'] must be of type str or List[str]",
}  # fmt: skip
DROPPED = {
    "status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE",
    "message": "Failed to download runtime_env file package gcs://_ray_pkg_1.zip from the GCS to the Ray worker node. "
    "The package may have prematurely been deleted from the GCS due to a long upload time or a problem with Ray. Try",
}  # fmt: skip


def job(**asked) -> Job:
    phase = asked.pop("phase", Phase.STARTING)
    nodes = asked.pop("nodes", ("gpu",))
    record = Record(id="17", phase=phase, attempt=2)
    submission = Submission(id="17", entrypoint="python train.py", **asked)
    return Job(record=record, user="ana", submission=submission, submitted=0.0, queued=0.0, nodes=nodes, started=1.0)


def ray(monkeypatch, status: int, text: str, dashboards=("head:1",)) -> RayCluster:
    asked = RayCluster(dashboards, "token")
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text=text))
    monkeypatch.setattr(asked, "_client", httpx.Client(transport=transport))
    return asked


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"status": "PENDING"}, Seen.ALIVE),
        ({"status": "RUNNING"}, Seen.ALIVE),
        ({"status": "SUCCEEDED"}, Seen.SUCCEEDED),
        ({"status": "STOPPED"}, Seen.STOPPED),
        ({"status": "FAILED", "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR"}, Seen.FAILED),
        (DIED, Seen.LOST),
        (NO_SUPERVISOR, Seen.LOST),
        (BAD_ENVIRONMENT, Seen.FAILED),
        (DROPPED, Seen.LOST),
        ({"status": "SUCCEEDED", "metadata": {"cslr.queue.claim": "true"}}, Seen.CLAIMED),
    ],
)
def test_what_ray_says_of_an_attempt(monkeypatch, said, seen):
    assert ray(monkeypatch, 200, json.dumps(said)).look("queue-17-2").seen is seen


NO_ACTOR = {"total": 9, "num_after_truncation": 9, "num_filtered": 0, "partial_failure_warning": ""}


@pytest.mark.parametrize(
    ("age", "actors", "seen"),
    [
        (900, NO_ACTOR, Seen.LOST),
        (30, NO_ACTOR, Seen.ALIVE),  # it may be on its way
        (900, {**NO_ACTOR, "num_filtered": 1}, Seen.ALIVE),  # its environment takes long
        (900, {**NO_ACTOR, "num_after_truncation": 8}, Seen.ALIVE),
        (900, {**NO_ACTOR, "partial_failure_warning": "one node did not answer"}, Seen.ALIVE),
        (900, {}, Seen.ALIVE),
        (900, None, Seen.ALIVE),  # a fault of Ray
    ],
)
def test_what_a_head_took_and_did_not_begin_before_it_ended(monkeypatch, age, actors, seen):
    """Ray 2.60 calls it pending for 15 minutes."""
    asked = RayCluster(("head:1",), "token")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/jobs/queue-17-2":
            return httpx.Response(200, json={"status": "PENDING", "start_time": (time.time() - age) * 1000})
        assert request.url.params["filter_values"] == "_ray_internal_job_actor_queue-17-2"
        return httpx.Response(200 if actors is not None else 500, json={"data": {"result": actors}})

    monkeypatch.setattr(asked, "_client", httpx.Client(transport=httpx.MockTransport(answer)))
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert asked.look("queue-17-2").seen is Seen.ALIVE, "once is not enough: clocks differ, and heads can be slow"
    now += 70
    assert asked.look("queue-17-2").seen is seen


def test_the_head_alone_says_that_it_does_not_know_a_job(monkeypatch):
    assert ray(monkeypatch, 404, "Job queue-17-2 does not exist").look("queue-17-2") == Sight(seen=Seen.UNKNOWN)
    for status, text in ((404, "no such page"), (500, "GCS is away"), (200, "<html>"), (200, '{"status": "ODD"}')):
        with pytest.raises(RayAwayError):
            ray(monkeypatch, status, text).look("queue-17-2")


def test_an_id_that_is_taken_is_as_good_as_submitted(monkeypatch):
    ray(monkeypatch, 500, "ValueError: Job with submission_id queue-17-2 already exists.").submit({})
    with pytest.raises(NotTakenError, match="entrypoint must be"):
        ray(monkeypatch, 400, "Traceback\nTypeError: entrypoint must be a string").submit({})
    with pytest.raises(RayAwayError):
        ray(monkeypatch, 500, "No available agent to submit job, please try again later.").submit({})


def test_what_a_command_holds_and_is_told():
    body = entry.request(
        job(gpus=2.0, cpus=8.0, memory=100, resources={"dataset:x": 1.0}, environment={ATTEMPT_VARIABLE: "mine"}),
        ["id1"], checkpoints="/checkpoints/", package="gcs://p.zip", run="r1",
    )  # fmt: skip
    assert body["submission_id"] == "queue-17-2"
    assert body["entrypoint_label_selector"] == {"ray.io/node-id": "id1"}
    held = [body[f"entrypoint_{name}"] for name in ("num_gpus", "num_cpus", "memory", "resources")]
    assert held == [2.0, 8.0, 100, {"dataset:x": 1.0}]
    environment = body["runtime_env"]
    assert environment["working_dir"] == "gcs://p.zip"
    told = environment["env_vars"]
    assert (told[ATTEMPT_VARIABLE], told[CHECKPOINTS_VARIABLE], told["MLFLOW_RUN_ID"]) == ("2", "/checkpoints/17", "r1")
    assert json.loads(told["MLFLOW_RUN_CONTEXT"]) == {"cslr.queue.job": "17"}


def test_tasks_hold_instead_of_the_command():
    body = entry.request(job(gpus=2.0, count=2, held_by="tasks"), ["id1", "id2"], checkpoints="s3://b/c?endpoint=x")
    assert not [name for name in body if name.startswith(("entrypoint_num", "entrypoint_memory"))]
    assert body["entrypoint"] == "python train.py"
    assert body["runtime_env"]["env_vars"][CHECKPOINTS_VARIABLE] == "s3://b/c/17?endpoint=x"


def test_a_gang():
    body = entry.request(job(gpus=4.0, count=2), ["id1", "id2"], checkpoints="/c", program="gcs://gang.zip")
    assert body["entrypoint"] == "python -m cslr_queue_gang"
    assert body["runtime_env"]["py_modules"] == ["gcs://gang.zip"]
    order = json.loads(body["runtime_env"]["env_vars"][gang.VARIABLE])
    assert order == {"command": "python train.py", "nodes": ["id1", "id2"], "each": {"GPU": 4.0, "CPU": 1.0}}
    package = gang.package()
    assert package == gang.package()
    assert zipfile.ZipFile(BytesIO(package.content)).namelist() == ["cslr_queue_gang.py"]


def test_only_what_the_queue_does_not_hold_is_taken_from_outside():
    nodes = [SeenNode(name="gpu", identifier="1", up=True, head=False, capacity={"CPU": 8.0}, taken={"CPU": 5.0})]
    held, ended = job(cpus=2.0), job(cpus=1.0)
    (share,) = cluster.shares(nodes, [held], [held, ended])
    assert (share.by_queue, share.node.taken) == (amounts(CPU=2.0), amounts(CPU=2.0))
    (share,) = cluster.shares(nodes, [job(cpus=6.0)], [job(cpus=6.0)])
    assert share.node.taken == {}, "Ray does not count yet what was just started"


def test_usage_of_a_span():
    def held(name: str, started: float, ended: float | None, **other: Any) -> Held:
        return Held(
            job=name, user="ana", project="p" if name == "1" else "", gpus=2.0, cpus=4.0, started=started, ended=ended,
            **{"waited": None, "outcome": None, "begun": started, **other},
        )  # fmt: skip

    attempts = [
        held("1", 0.0, 2 * HOUR, waited=HOUR, outcome=Outcome.SUCCEEDED.value),
        held("2", 3 * HOUR, None, waited=3 * HOUR),
        held("3", 3 * HOUR, 4 * HOUR, outcome=Outcome.FAILED.value),
        held("3", 2 * HOUR, 3 * HOUR),
        held("4", 2 * HOUR, 3 * HOUR, begun=None),  # Ray never began it
        held("5", 2 * HOUR, None, begun=None),
    ]
    (row,) = usage_rows(attempts, "user", HOUR, 10 * HOUR, 5 * HOUR)
    assert (row.name, row.jobs, row.gpu_hours, row.cpu_hours) == ("ana", 5, 10.0, 20.0)
    assert (row.succeeded, row.failed, row.waited_hours) == (1, 1, 3.0)
    assert [(row.name, row.gpu_hours) for row in usage_rows(attempts, "project", HOUR, 10 * HOUR, 5 * HOUR)] == [
        ("", 8.0),
        ("p", 2.0),
    ]


def test_an_ended_job_runs_again_under_an_id_that_ray_never_saw():
    ended = Record(id="17", phase=Phase.ENDED, attempt=2, lost=4, outcome=Outcome.LOST, version=9)
    again = retry(ended)
    assert (again.phase, again.lost, again.outcome, again.version) == (Phase.WAITING, 0, None, 10)
    assert again.attempt == ended.attempt
    running = Record(id="17", phase=Phase.RUNNING, attempt=1)
    assert retry(running) == running


def test_a_submission_that_ray_answers_with_a_fault_is_tried_again_beside_the_others(monkeypatch):
    asked = ray(monkeypatch, 500, "Traceback (most recent call last)\nValueError: odd")
    starter = Starter(asked, checkpoints="/c", tracking_uri=None, package=lambda _: None, clock=lambda: 1.0)
    with pytest.raises(PostponedError, match=r"Job 17 cannot be submitted.* answered 500: ValueError: odd"):
        starter.act(Act.SUBMIT, job(), {"gpu": "n1"})


@pytest.mark.parametrize(
    ("asked", "seen", "now", "cause"),
    [
        ({}, Seen.UNKNOWN, 900.0, None),
        ({}, Seen.UNKNOWN, 902.0, Cause.MAKE_ROOM),  # Ray answers each request for it with a fault
        ({"nodes": ("gone",)}, Seen.UNKNOWN, 2.0, Cause.MAKE_ROOM),
        ({}, Seen.ALIVE, 902.0, None),
        ({"phase": Phase.RUNNING}, Seen.UNKNOWN, 902.0, None),  # Ray may have lost it: `follow` finds out
    ],
)
def test_nodes_of_an_attempt_that_ray_never_begins_go_to_others(asked, seen, now, cause):
    assert stopping_cause(job(**asked), Sight(seen=seen), {"gpu": "n1"}, now) is cause
