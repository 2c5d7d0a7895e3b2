"""verify_cluster.py as it is deployed, in a separate process, against one real Ray node on the loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from entrypoints import verify_cluster
from testing.ray_head import running_head
from verification.report import Report
from verification.spec import ENVIRONMENT, Client, ExpectedNode, ExpectedVersions, Heads, VerificationSpec

NODE = ExpectedNode(name="node-a", container="cslr-test-node-a", cpus=1, memory=2 * 2**30, torch=False)


@pytest.fixture(scope="module")
def ray_head():
    with running_head(gpus=0, node=NODE.name) as head:
        yield head


@pytest.fixture(scope="module")
def gpu_head():
    """A head that counts two GPUs, which do not exist: Ray still assigns them."""
    with running_head(gpus=2, node=NODE.name) as head:
        yield head


@pytest.fixture
def verify(ray_head, tmp_path):
    """Runs the program; returns its exit code, its report and what it wrote on stderr."""

    def run(*, checks: str = "", token: Path = ray_head.token, **changes: Any) -> tuple[int, Report, str]:
        heads = Heads(hosts=("127.0.0.1",), dashboard_port=ray_head.dashboard, client_port=ray_head.client)
        client = Client(image="none", program="/none", with_python="/none")
        values = {"nodes": (NODE,), "settle": 20.0, "deadline": 80.0, **changes}
        spec = VerificationSpec(project="cslr", stack="test", network="none", client=client, heads=heads, **values)
        environment = {
            **os.environ,
            ENVIRONMENT: spec.model_dump_json(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        # Alone in its folder, as in a container: beside it, the folder ray/ would stand in for Ray.
        program = shutil.copy(verify_cluster.__file__, tmp_path)
        command = [sys.executable, program, "--checks", checks]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        return ended.returncode, Report.model_validate_json(ended.stdout), ended.stderr

    return run


def results(report: Report) -> dict[str, str]:
    return {check.name: check.result for check in report.checks}


class TestAgainstRealRay:
    def test_a_cluster_as_expected_passes(self, verify):
        versions = ExpectedVersions(ray="2.60.0", python=".".join(map(str, sys.version_info[:2])))
        code, report, progress = verify(versions=versions)
        assert (code, report.ok) == (0, True), progress
        passed = {name for name, result in results(report).items() if result == "pass"}
        assert passed == {row.name for row in verify_cluster.CHECKS if row.part == "ray"}
        assert report.nodes[NODE.name]["ray"] == "2.60.0"
        assert f"{verify_cluster.PROGRESS}skip gpu_training" in progress

    def test_a_missing_node_fails_by_name(self, verify):
        missing = NODE.model_copy(update={"name": "node-b", "container": "cslr-test-node-b"})
        code, report, _ = verify(nodes=(NODE, missing), settle=1.0)
        assert (code, report.ok) == (1, False)
        assert results(report)["nodes_alive"] == "fail"
        assert results(report)["versions"] == "skip"
        assert report.failures[0].container == "cslr-test-node-b"
        assert "the node node-b is not alive" in report.failures[0].detail

    def test_another_version_fails_and_the_rest_is_still_checked(self, verify):
        wrong = NODE.model_copy(update={"cpus": 8.0})
        code, report, _ = verify(
            nodes=(wrong,), versions=ExpectedVersions(ray="2.59.0"), checks="resources,versions", settle=1.0
        )
        details = {check.name: check.detail for check in report.failures}
        assert code == 1
        assert details == {
            "resources": "node-a: 1 CPUs instead of 8",
            "versions": "node-a: ray 2.60.0 instead of 2.59.0",
        }

    def test_a_wrong_token_is_named_at_once(self, verify, tmp_path):
        token = tmp_path / "ray-token"
        token.write_text("not-the-one")
        code, report, _ = verify(token=token)
        assert code == 1
        assert report.seconds < 10
        assert [check.name for check in report.failures] == ["connect"]
        assert f"refuses the token ({token})" in report.failures[0].detail


# Hands tasks to the program's own `submit` and `collect`, and says what came of each.
TASKS = """
import json, os, sys, time
import ray
import verify_cluster as program
from types import SimpleNamespace

node = SimpleNamespace(name="node-a", container="cslr-test-node-a")
heads = SimpleNamespace(hosts=["127.0.0.1"], dashboard_port=int(sys.argv[1]), client_port=int(sys.argv[2]), patience=0)
spec = SimpleNamespace(nodes=[node], heads=heads, other_nodes=False)
token = open(os.environ["RAY_AUTH_TOKEN_PATH"]).read()
session = program.Session(spec=spec, deadline=time.monotonic() + 180, ray_token=token)
while True:
    try:
        program.connect(session)
        program.nodes_alive(session)
        break
    except program.NotYet:  # a busy machine is not a failure
        if session.remaining() <= 0:
            raise

def facts():
    return ray.get_runtime_context().get_node_id(), sorted(map(int, ray.get_gpu_ids())), os.environ.get("MARK")

def fails():
    raise ValueError("no such device")

def outcome(function, timeout=60.0, **options):
    try:
        work = program.submit(session, function, node, **options)
        return program.on_one(session, work, node, timeout, "do its part")
    except program.NotYet as error:
        return [str(error), error.container]

@ray.remote(num_cpus=0, num_gpus=1)
class Holder:
    def hold(self):
        return True

found = {"node": session.listed["node-a"]["NodeID"], "both": outcome(facts, num_gpus=2)}
found["marked"] = outcome(facts, runtime_env={"env_vars": {"MARK": "here"}})
found["failed"] = outcome(fails)
holder = Holder.remote()
ray.get(holder.hold.remote())
found["taken"] = outcome(facts, timeout=2.0, num_gpus=2)
ray.kill(holder)
found["again"] = outcome(facts, num_gpus=2)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(gpu_head, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tasks")
    shutil.copy(verify_cluster.__file__, folder)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(gpu_head.token)}
    command = [sys.executable, "-c", TASKS, str(gpu_head.dashboard), str(gpu_head.client)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1]))


class TestTasks:
    """Submitted and collected by a real Ray, as checks do it with the GPUs of a node."""

    def test_run_on_the_node_with_all_of_its_gpus(self, found):
        assert found["both"] == [found["node"], [0, 1], None]

    def test_are_given_their_environment_and_no_gpu_unasked(self, found):
        assert found["marked"] == [found["node"], [], "here"]

    def test_that_fail_are_explained_with_the_container(self, found):
        assert found["failed"] == ["node-a could not do its part: ValueError: no such device", NODE.container]

    def test_whose_gpus_are_taken_are_named_and_given_up(self, found):
        assert found["taken"] == ["node-a did not do its part within 2 s", NODE.container]
        assert found["again"] == found["both"], "the one that waited is gone"


class TestCall:
    def test_without_an_expectation_cannot_run(self):
        environment = {key: value for key, value in os.environ.items() if key != ENVIRONMENT}
        ended = subprocess.run(
            [sys.executable, verify_cluster.__file__], env=environment, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout) == (verify_cluster.COULD_NOT_RUN, "")
        assert "cannot run" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_unknown_check_cannot_run(self):
        environment = {**os.environ, ENVIRONMENT: json.dumps({"deadline": 1})}
        command = [sys.executable, verify_cluster.__file__, "--checks", "nonsense"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == verify_cluster.COULD_NOT_RUN
        assert "unknown check nonsense" in ended.stderr
