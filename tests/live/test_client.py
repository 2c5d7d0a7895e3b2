"""The bundle of the whole platform, with the services that run: what its check says, and its first job.

The person's end of the tunnel is this host's own port, so there is no tunnel; `tests/process/ws/test_client_tunnel.py`
has one. Jobs are submitted by this environment's Ray, which is the cluster's; its Python is not. About half a minute.
"""

import re
import sys
from pathlib import Path

import pytest
import requests

from testing.client_servers import outcomes, run
from testing.live.deployment import FULL

pytestmark = pytest.mark.live

MLFLOW = f"http://127.0.0.1:{FULL['mlflow']['port']}"
JOB = ". ./environment && ray job submit --working-dir jobs -- python hello.py"


@pytest.fixture(scope="module")
def folder(platform, tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("client") / "bundle"
    done = platform.ws("client", "--output", str(path))
    assert done.returncode == 0, done.stdout
    (path / ".venv").symlink_to(sys.prefix)
    return path


class TestBundle:
    def test_every_service_answers_and_takes_the_token(self, folder):
        """All but the Python of this environment, which is not the cluster's."""
        found = outcomes(folder)
        assert {title for title, result in found.items() if result != "ok"} == {"Python environment"}
        assert len(found) == 7

    def test_another_token_is_told(self, folder):
        token = folder / "ray-token"
        right = token.read_text()
        token.write_text("another-token-than-the-clusters")
        try:
            assert outcomes(folder)["Ray's dashboard and Jobs API"] == "FAIL"
        finally:
            token.write_text(right)

    def test_the_first_job_computes_on_the_cluster_and_logs_a_run(self, folder):
        done = run("sh", "-c", JOB, at=folder, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the sum is 285" in done.stdout
        logged = re.search(r"Logged as run (\w+) ", done.stdout)
        assert logged, done.stdout
        answer = requests.get(f"{MLFLOW}/api/2.0/mlflow/runs/get", {"run_id": logged[1]}, timeout=30)
        assert {one["key"]: one["value"] for one in answer.json()["run"]["data"]["metrics"]} == {"sum": 285}
