"""Greedy tasks get no more rights in Redis than their node, and not all process ids.

On one host, where tasks run in a container that may lead: over several, a worker has the reader's secret alone
(tests/unit/test_program_of_a_cluster.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed, wait_until
from testing.live.users import PROGRAMS

pytestmark = pytest.mark.live
PROGRAM = PROGRAMS / "greedy.py"
NAME = "livegreedy"
# Whether kernel and Docker let a container hide a file from its own processes.
HIDE = (
    "import pathlib; from entrypoints.ray.hidden_files import hide; "
    "print(hide(pathlib.Path('/run/secrets/redis-agent')))"
)
SETTINGS: dict[str, Any] = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-greedy", "subnet": "10.238.0.0/24"},
        "ray": {
            "cpu": {
                "enabled": True,
                "torch": False,
                "cpus": 1,
                "memory": "3g",
                "env": {"PROCESS_ID_LIMIT": "1500"},
                "ports": {"gcs": 22379, "dashboard": 22265, "client": 22001},
            }
        },
        "redis": {"port": 22381},
        "health": {"port": 22888},
    },
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LiveStack]:
    with deployed(NAME, SETTINGS, tmp_path_factory.mktemp("greedy")) as stack:
        yield stack


def run(stack: LiveStack, *arguments: str) -> Any:
    code = PROGRAM.read_text()
    status, output = stack.exec("ray-cpu", "/opt/venv/bin/python", "-c", code, *arguments)
    assert status == 0, output
    return json.loads(output.strip().splitlines()[-1])


def run_python(stack: LiveStack, code: str) -> str:
    return stack.exec("ray-cpu", "sh", "-c", 'cd /run/cslr && exec /opt/venv/bin/python -c "$1"', "sh", code)[1].strip()


def redis(stack: LiveStack, *words: str) -> str:
    command = 'REDISCLI_AUTH="$(cat /run/secrets/redis-password)" exec redis-cli "$@"'
    return stack.exec("redis", "sh", "-c", command, "sh", *words)[1]


class TestRedis:
    def test_what_a_task_finds_is_good_for_the_election_of_its_own_cluster_alone(self, stack):
        answers = run(stack, "secrets", stack.identity.prefix)
        hidden = run_python(stack, HIDE) == "True"
        users = {"cslr-reader"} if hidden else {"cslr-reader", "cslr-agent"}
        assert {key.partition(" as ")[2] for key in answers} == users
        for key, (*harm, lease) in answers.items():
            assert all(answer.startswith("-NOPERM") for answer in harm), key
            assert lease.startswith("-NOPERM" if key.endswith("reader") else ":"), key
        assert "intruder" not in redis(stack, "ACL", "USERS")

    def test_the_head_has_the_only_user_of_its_kind_also_after_a_restart_of_redis(self, stack):
        users = heads(stack)
        assert len(users) == 1
        stack.container("redis").restart()
        wait_until(lambda: len(heads(stack)) == 1 and heads(stack) != users, "another user for the head")
        assert run(stack, "secrets", stack.identity.prefix)

    def test_the_head_leads_again_after_its_node_was_replaced(self, stack):
        users = heads(stack)
        stack.container("ray-cpu").restart()
        wait_until(lambda: len(heads(stack)) == 1 and heads(stack) != users, "another head", 180)
        wait_until(lambda: not stack.unhealthy(), "a healthy stack", 180)


class TestProcesses:
    def test_who_takes_them_ends_and_somebody_elses_task_works(self, stack):
        assert run(stack, "processes", "3000") == "WorkerCrashedError"
        log = stack.container("ray-cpu").logs().decode(errors="replace")
        assert "too many processes: ray::processes" in log
        assert not stack.unhealthy()


def heads(stack: LiveStack) -> set[str]:
    return {user for user in redis(stack, "ACL", "USERS").split() if user.startswith("ray-")}
