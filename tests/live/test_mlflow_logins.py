"""MLflow with logins: who is refused, who gets in, other passwords, and none that Docker shows. Some three minutes."""

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import cast

import pytest
import requests

from contracts.mlflow_login import ADMIN, ADMIN_SECRET, SERVICE, SERVICE_SECRET
from testing.harness import merged
from testing.live.deployment import FULL, LiveStack, deployed

pytestmark = pytest.mark.live
PORT = 22551
SETTINGS = merged(
    FULL,
    {
        "network": {"name": "cslr-live-logins", "subnet": "10.201.0.0/24"},
        "ray": {"cpu": {"cpus": 1, "memory": "4g", "ports": {"dashboard": 22552, "client": 22553}}},
        "redis": {"port": 22554},
        "postgres": {"port": None},
        "mlflow": {"port": PORT, "logins": True},
        "marimo": {"port": 22555, "memory": "3g"},
        "health": {"port": 22556},
    },
)
LOGS = """
import mlflow
mlflow.set_experiment("logins")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
    mlflow.log_text("proof", "a.txt")
print(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/a.txt"))
"""
IN_A_TASK = (
    f"import ray\nray.init(log_to_driver=False)\nray.get(ray.remote(lambda: exec({LOGS!r})).remote())\nprint('proof')"
)

# What `ws user add` has just done when it is killed; the unit tests have all steps.
KILLED_AFTER = [("ws.users.people", "token_of"), ("ws.users.accounts.Accounts", "add")]
KILLED = """
import os, pkgutil, signal, sys
from ws import cli
owner = pkgutil.resolve_name("{module}")
done = getattr(owner, "{name}")
def killed(*arguments, **options):
    done(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, "{name}", killed)
cli.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-logins", SETTINGS, tmp_path_factory.mktemp("logins")) as stack:
        yield stack


def asked(user: str | None = None, password: str = "") -> int:
    url = f"http://127.0.0.1:{PORT}/api/2.0/mlflow/experiments/search"
    login = (user, password) if user else None
    return requests.post(url, json={"max_results": 1}, auth=login, timeout=60).status_code


def logged(stack: LiveStack, service: str, program: str, **environment: str) -> str:
    done = stack.container(service).exec_run(["python", "-c", program], environment=environment)
    return cast("bytes", done.output).decode().strip().splitlines()[-1]


def account(stack: LiveStack, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [stack.python, "-m", "ws", "user", *command, "-s", stack.name],
        cwd=stack.folder,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def passwords(stack: LiveStack) -> tuple[str, str]:
    found = stack.secrets()
    return found[SERVICE_SECRET], found[ADMIN_SECRET]


def test_nobody_gets_in_without_a_login(stack):
    assert asked() == asked(SERVICE, "not-the-password") == 401
    assert requests.get(f"http://127.0.0.1:{PORT}/health", timeout=60).status_code == 200


def test_a_task_and_a_notebook_log_in_by_themselves(stack):
    assert logged(stack, "ray-cpu", IN_A_TASK) == "proof"
    assert logged(stack, "marimo", LOGS) == "proof"


def test_a_person_who_was_added_logs_a_run_and_loses_the_account(stack):
    added = account(stack, "add", "alice")
    assert added.returncode == 0, added.stderr
    password = added.stdout.strip().splitlines()[-1]
    own = {"MLFLOW_TRACKING_USERNAME": "alice", "MLFLOW_TRACKING_PASSWORD": password}
    assert logged(stack, "ray-cpu", LOGS, **own) == "proof"
    assert account(stack, "add", "alice").returncode != 0  # has both; the password stays
    assert asked("alice", password) == 200
    listed = json.loads(account(stack, "list", "--json").stdout)
    assert [(one["name"], one["mlflow_account"]) for one in listed] == [("alice", True)]
    assert account(stack, "remove", "alice").returncode == 0
    assert json.loads(account(stack, "list", "--json").stdout) == []


@pytest.mark.parametrize("step", KILLED_AFTER)
def test_an_addition_that_is_killed_is_completed_by_the_same_command(stack, step):
    module, name = step
    program = KILLED.format(module=module, name=name)
    killed = subprocess.run(
        [stack.python, "-c", program, "user", "add", "carol", "-s", stack.name],
        cwd=stack.folder,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    added = account(stack, "add", "carol")
    assert added.returncode == 0, added.stderr
    assert asked("carol", added.stdout.splitlines()[-1]) == 200
    assert account(stack, "add", "carol").returncode != 0
    assert account(stack, "remove", "carol").returncode == 0
    assert json.loads(account(stack, "list", "--json").stdout) == []


def test_a_right_that_is_given_or_taken_away_counts_at_once_in_each_worker(stack):
    _, admin = passwords(stack)
    bob = ("bob", "the-password-of-bob")
    change(admin, "2.0/mlflow/users/create", {"username": bob[0], "password": bob[1]})
    experiment = change(admin, "2.0/mlflow/experiments/create", {"name": "of-the-admin"})["experiment_id"]
    right = {"username": bob[0], "resource_type": "experiment", "resource_id": experiment}
    assert read(experiment, bob) == {200}
    change(admin, "3.0/mlflow/users/permissions/grant", {**right, "permission": "DENY"})
    assert read(experiment, bob) == {403}
    change(admin, "3.0/mlflow/users/permissions/revoke", right)
    assert read(experiment, bob) == {200}
    change(admin, "2.0/mlflow/users/delete", {"username": bob[0]}, "DELETE")
    assert read(experiment, bob) == {401}


def test_the_cache_of_rights_fits_this_mlflow(stack):
    said = stack.container("mlflow").logs().decode()
    assert "which this MLflow needs" not in said


def change(admin: str, what: str, body: dict[str, str], method: str = "POST") -> dict[str, str]:
    url = f"http://127.0.0.1:{PORT}/api/{what}"
    answer = requests.request(method, url, json=body, auth=(ADMIN, admin), timeout=60)
    answer.raise_for_status()
    return cast("dict[str, str]", answer.json() if answer.content else {})


def read(experiment: str, user: tuple[str, str]) -> set[int]:
    """What both workers answer, by enough connections that each has some."""
    url = f"http://127.0.0.1:{PORT}/api/2.0/mlflow/experiments/get?experiment_id={experiment}"
    return {requests.get(url, auth=user, timeout=60).status_code for _ in range(16)}


def test_docker_shows_no_password(stack):
    for one in stack.containers().values():
        shown = json.dumps(one.attrs) + one.logs().decode(errors="replace")
        assert [secret for secret in passwords(stack) if secret in shown] == []


def test_after_a_rotation_the_former_passwords_are_refused(stack):
    service, admin = passwords(stack)
    done = stack.ws("secrets", "rotate", SERVICE_SECRET, ADMIN_SECRET, "--yes")
    assert done.returncode == 0, done.stdout
    assert asked(SERVICE, service) == asked(ADMIN, admin) == 401
    new_service, new_admin = passwords(stack)
    assert asked(SERVICE, new_service) == asked(ADMIN, new_admin) == 200
    assert logged(stack, "ray-cpu", IN_A_TASK) == "proof"
