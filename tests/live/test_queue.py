"""The queue of a deployed stack: jobs of two users on a real Ray, and deaths of the service, Postgres and Ray.

Then some random faults while all kinds of work go on: tests/chaos has the others.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.queue import API, USER_HEADER
from testing.chaos.faults import FAULTS, SHORT
from testing.chaos.form import ROUNDS, SEED
from testing.chaos.stack import Rig
from testing.chaos.trial import Trial
from testing.client_servers import outcomes, run
from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-queue", "subnet": "10.244.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 2, "memory": "3g", "ports": {"dashboard": 20565, "client": 20566}}},
    "marimo": {"enabled": False},
    "mlflow": {"port": 20570},
    "redis": {"port": 20567},
    "health": {"port": 20568},
    "queue": {"enabled": True, "port": 20569, "users": {"anna": {}, "ben": {}}},
}
URL = f"http://127.0.0.1:{SETTINGS['queue']['port']}{API}"
PROGRAM = 'import os; print("job", os.environ["CSLR_QUEUE_JOB"], open("word").read())'


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-queue", SETTINGS, tmp_path_factory.mktemp("queue")) as running:
        yield running


@pytest.fixture
def api(stack: LiveStack) -> Iterator[httpx.Client]:
    token = (stack.state / "generated/ray-token").read_text()
    with httpx.Client(base_url=URL, timeout=20, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def sent(api: httpx.Client, user: str, program: str, **more: Any) -> str:
    answer = api.post("/jobs", json={"entrypoint": program, **more}, headers={USER_HEADER: user})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def job(api: httpx.Client, name: str) -> dict[str, Any]:
    """A job; an empty one while the queue cannot be asked."""
    try:
        answer = api.get(f"/jobs/{name}")
    except httpx.TransportError:
        return {"state": None, "outcome": None, "attempts": []}
    return dict(answer.json()) if answer.status_code == 200 else {"state": None, "outcome": None, "attempts": []}


def when(api: httpx.Client, name: str, state: str) -> dict[str, Any]:
    wait_until(lambda: job(api, name)["state"] == state, f"the state {state} of job {name}", 120)
    return job(api, name)


def test_folder_goes_with_a_job_and_its_output_is_shown(stack: LiveStack, tmp_path: Path):
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "word").write_text("sunny")
    options = ("--user", "anna", "--folder", str(tmp_path), "--follow", "--wait", "--", "python", "train.py")
    command = [stack.python, "-m", "ws", "submit", "--stack", stack.name, *options]
    done = subprocess.run(command, cwd=stack.folder, env=stack.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sunny" in done.stdout


def test_the_bundle_of_a_laptop_submits(stack: LiveStack, tmp_path: Path):
    """Its tunnel would lead to this host's own port; its environment is this one."""
    folder = tmp_path / "bundle"
    made = stack.ws("client", "--output", str(folder), "--user", "ben")
    assert made.returncode == 0, made.stdout
    (folder / ".venv").symlink_to(sys.prefix)
    assert outcomes(folder)["queue"] == "ok"
    (folder / "jobs/word").write_text("cloudy")
    submit = ("bin/ws", "submit", "--folder", "jobs", "--id", "laptop", "--follow", "--", "cat", "word")
    done = run(*submit, at=folder, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cloudy" in done.stdout
    assert "ben" in run("bin/ws", "job", "show", "laptop", at=folder).stdout


def test_user_with_few_jobs_does_not_wait_for_one_with_many(api: httpx.Client):
    many = [sent(api, "anna", "sleep 4", cpus=2) for _ in range(4)]
    few = sent(api, "ben", "sleep 1", cpus=2)
    begun = when(api, few, "ended")["started"]
    waiting = [name for name in many if (job(api, name)["started"] or time.time()) > begun]
    assert len(waiting) >= 2
    for name in many:
        api.post(f"/jobs/{name}/cancel", headers={USER_HEADER: "anna"})
    assert {when(api, name, "ended")["outcome"] for name in many} <= {"cancelled", "succeeded"}


@pytest.mark.parametrize("victim", ["queue", "postgres"])
def test_job_outlives_the_death_of(stack: LiveStack, api: httpx.Client, victim: str):
    """It runs once, and those that waited start."""
    running = sent(api, "anna", "sleep 12", cpus=2)
    next_one = sent(api, "ben", "true", cpus=2)
    when(api, running, "running")
    stack.container(victim).kill()
    stack.container(victim).start()
    for name in (running, next_one):
        found = when(api, name, "ended")
        assert (found["outcome"], len(found["attempts"])) == ("succeeded", 1)


def test_job_that_was_lost_with_its_node_starts_again(stack: LiveStack, api: httpx.Client):
    name = sent(api, "anna", "sleep 5", cpus=1)
    when(api, name, "running")
    stack.container("ray-cpu").kill()
    stack.container("ray-cpu").start()
    found = when(api, name, "ended")
    assert found["outcome"] == "succeeded"
    assert len(found["attempts"]) in (1, 2)  # it may have ended in between


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to kill processes of containers from outside")
def test_nothing_that_was_acknowledged_is_lost_by_faults(stack: LiveStack):
    draw = random.Random(SEED)
    trial = Trial(rig=Rig.of(stack, SEED), faults={name: FAULTS[name] for name in SHORT}, draw=draw)
    with trial.at_work():
        for _ in range(min(ROUNDS, len(SHORT))):
            trial.endure_next()
    assert (trial.failures, trial.losses()) == ([], []), f"CHAOS_SEED={SEED}: {trial.outcomes}"
