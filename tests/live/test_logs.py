"""`ws logs`: a job's output and Ray's own files are found, also when the node's container is stopped, gone or new.

About four minutes with built images.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed, wait_until
from testing.live.users import User
from ws.cluster.ray_api import RayApi

pytestmark = pytest.mark.live

DASHBOARD = 14265
SETTINGS: dict[str, Any] = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-logs", "subnet": "10.227.0.0/24"},
        "ray": {
            "cpu": {
                "enabled": True,
                "torch": False,
                "memory": "3g",
                "cpus": 1,
                "ports": {"dashboard": DASHBOARD, "client": 14001},
                "image": {"source": "dockerfile", "path": "docker/mine/Dockerfile", "target": "runtime"},
            }
        },
        "redis": {"port": 14381},
        "health": {"port": 14888},
    },
)
OWN = {  # the node's image, which changes nothing in its logs
    "docker/mine/Dockerfile": (
        "ARG BASE\n"
        "FROM ${BASE} AS tools\nUSER 0:0\nRUN echo made by a step > /made\n"
        "FROM ${BASE} AS runtime\nUSER 0:0\nCOPY --from=tools /made /opt/made\nCOPY . /opt/mine/\nUSER 1000:1000\n"
        "FROM runtime AS unused\nRUN false\n"
    ),
    "docker/mine/tool": "tool",
    "docker/mine/.dockerignore": "draft\n",
    "docker/mine/draft": "draft",
}
PROGRAM = (
    "import ray, logging; ray.init(); print('the driver says hello')\n"
    "@ray.remote\n"
    "def square(number):\n"
    "    print(f'square of {number}')\n"
    "    logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s'); logging.warning('beware of %s', number)\n"
    "    return number**2\n"
    "print('sum', sum(ray.get([square.remote(n) for n in range(3)])))\n"
    "try: 1 / 0\n"
    "except ZeroDivisionError: logging.exception('it failed')\n"
)


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-logs", SETTINGS, tmp_path_factory.mktemp("logs"), files=OWN) as stack:
        yield stack


@pytest.fixture(scope="module")
def user(stack: LiveStack) -> User:
    return User(dashboard=f"http://127.0.0.1:{DASHBOARD}", token=stack.secrets()["ray-token"].strip())


@pytest.fixture(scope="module")
def job(user: User) -> str:
    """A job that has printed, from its driver and from its tasks."""
    found = user.wait(user.command(f"python -c {json.dumps(PROGRAM)}".replace("\\n", "\n")))
    assert found.succeeded, found.said
    return found.id


def test_the_node_runs_an_image_of_an_own_dockerfile(stack: LiveStack) -> None:
    image = stack.container("ray-cpu").image
    assert image is not None
    assert image.attrs["Config"]["User"] == "1000:1000"
    assert image.labels["cslr.target"] == "ray-lean"
    assert any(tag.startswith("cslr/own-ray-cpu:cuda") for tag in image.tags)
    said = stack.exec("ray-cpu", "sh", "-c", "cat /opt/made; ls /opt/mine; id -u")
    assert said == (0, "made by a step\nDockerfile\ntool\n1000\n")


def logs(stack: LiveStack, *options: str, code: int = 0) -> str:
    done = stack.ws("logs", *options)
    assert done.returncode == code, done.stdout
    return done.stdout


def entries(stack: LiveStack, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logs(stack, "--json", *options).splitlines() if line.startswith("{")]


def finds_the_job(stack: LiveStack, job: str) -> None:
    found = entries(stack, "--job", job)
    sources = {entry["source"] for entry in found}
    assert f"job-driver-{job}.log" in sources
    text = "\n".join(entry["text"] for entry in found)
    assert "the driver says hello" in text
    assert "sum 5" in text
    assert "(square pid=" not in text, "what the tasks print stands there once"
    assert not sources & {"raylet.out", "gcs_server.out", "dashboard.log"}, "what Ray says of itself"


class TestJob:
    def test_of_a_submission_has_the_drivers_and_the_workers_output(self, stack, job):
        finds_the_job(stack, job)
        # The driver's log repeats what the tasks print.
        found = entries(stack, "--job", job, "--grep", "square of", "--source", "worker-*")
        assert {entry["text"] for entry in found} == {f"square of {number}" for number in range(3)}
        assert {(entry["service"], entry["node"], entry["task"]) for entry in found} == {
            ("ray-cpu", "ray-cpu", "square")
        }

    def test_by_rays_own_id_is_the_same(self, stack, job):
        ray_job = entries(stack, "--job", job, "--source", "worker-*")[0]["job"]
        assert ray_job != job
        assert entries(stack, "--job", ray_job, "--source", "job-driver-*")

    def test_a_task_and_a_level(self, stack, job):
        assert len(entries(stack, "--task", "square", "--level", "warning", "--grep", "beware")) == 3

    def test_a_traceback_is_one_entry(self, stack, job):
        found = entries(stack, "--job", job, "--level", "error", "--source", "job-driver-*")
        assert any("it failed" in entry["text"] and "ZeroDivisionError" in entry["text"] for entry in found)


class TestMerged:
    def test_docker_and_ray_are_merged_by_time(self, stack, job):
        found = entries(stack, "--tail", "all")
        assert {"container", "raylet.out", "gcs_server.out", "dashboard.log"} <= {entry["source"] for entry in found}
        assert {"redis", "health", "ray-cpu"} <= {entry["service"] for entry in found}
        assert [entry["time"] for entry in found] == sorted(entry["time"] for entry in found)

    def test_a_nodes_files_can_be_read_through_the_dashboard(self, stack, job, user):
        """As those of other hosts are; recorded answers stand for them in tests/process/ws/test_logs_elsewhere.py."""
        ray, source = RayApi(user.dashboard, user.token), f"job-driver-{job}.log"
        node = next(node for node in ray.nodes() if node.alive)
        assert {source, "raylet.out"} <= set(ray.log_files(node))
        with ray.log(node, source, lines=1000) as blocks:
            assert b"".join(blocks).decode() == user.log(job)
        with ray.log(node, source, lines=1, follow=True) as blocks:
            assert next(blocks).decode() == user.log(job).splitlines(keepends=True)[-1]
        assert "the cluster has no host beta. It has: none." in logs(stack, "--host", "beta", code=1)

    def test_a_tail_says_what_it_left_out(self, stack, job):
        text = logs(stack, "ray-cpu", "--tail", "3")
        assert "Left out" in text
        assert "Read Docker's logs of ray-cpu." in text

    def test_a_node_that_is_not_there_is_refused(self, stack):
        assert "no node ray-gpus on this host. It has: ray-cpu." in logs(stack, "--node", "ray-gpus", code=1)

    def test_since_leaves_out_what_was_before(self, stack, job, user):
        # Only what is new of a service that is quiet.
        time.sleep(2)
        said = logs(stack, "--since", "1s", "--job", job, "--source", "job-driver-*", code=1)
        assert "No entry matches the options." in said

    def test_follows_a_job(self, stack, job, user):
        with stack.ws_started("logs", "ray-cpu", "--follow", "--tail", "0", "--source", "job-driver-*") as process:
            assert process.stdout is not None
            wait_until(lambda: readers(stack) != "", "the reader", 30)
            time.sleep(3)
            user.command("echo heard")
            for line in process.stdout:
                if "heard" in line:
                    break
            else:
                pytest.fail("the stream ended")
        wait_until(lambda: readers(stack) == "", "that the reader ends with its killed client", 30)


def readers(stack: LiveStack) -> str:
    """The names of readers that are there."""
    filters: dict[str, str | list[str] | bool] = {"name": stack.identity.object_name("logs-")}
    there = stack.engine.containers.list(all=True, filters=filters, ignore_removed=True)  # a reader removes itself
    return " ".join(str(container.name) for container in there)


class TestWithoutItsContainer:
    """In this order."""

    def test_a_stopped_one(self, stack, job):
        stack.container("ray-cpu").stop(timeout=60)
        finds_the_job(stack, job)

    def test_none(self, stack, job):
        stack.container("ray-cpu").remove(force=True)
        finds_the_job(stack, job)

    def test_a_new_one(self, stack, job):
        done = stack.ws("up", "--engine", "embedded")
        assert done.returncode == 0, done.stdout
        finds_the_job(stack, job)
        # One session: Ray goes on with it for as long as Redis knows the cluster.
        assert re.search(r"Read \d+ files of Ray of ray-cpu\.", logs(stack, "ray-cpu"))

    def test_no_reader_is_left(self, stack, job):
        assert readers(stack) == ""
