"""The exporter's image as `docker run` starts it, without a stack."""

import subprocess
import sys
import time
from collections.abc import Iterator

import docker
import pytest
import requests
from docker.models.containers import Container

from testing.harness import PROJECT

pytestmark = pytest.mark.live

SECONDS = 10


@pytest.fixture(scope="module")
def image(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name, built as people build it."""
    command = [sys.executable, "-m", "ws", "build", "system-info-exporter"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def exporter(image: str) -> Iterator[Container]:
    """A container with eight GPUs of the demo, with as few rights as a stack gives it."""
    container = docker.from_env().containers.run(
        image,
        ["--demo", "8"],
        detach=True,
        publish_all_ports=True,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
    )
    try:
        until = time.monotonic() + SECONDS
        while not (code := answer(container, "/-/ready")) or code.status_code != requests.codes.ok:
            assert time.monotonic() < until, container.logs().decode()
            time.sleep(0.1)
        yield container
    finally:
        container.remove(force=True)


def answer(container: Container, path: str) -> requests.Response | None:
    container.reload()
    if not (ports := container.ports.get("8080/tcp")):
        return None
    try:
        return requests.get(f"http://127.0.0.1:{ports[0]['HostPort']}{path}", timeout=SECONDS)
    except requests.ConnectionError:
        return None


class TestByItself:
    def test_is_healthy_and_shows_gpus_and_the_host(self, exporter):
        health, metrics = answer(exporter, "/health"), answer(exporter, "/metrics")
        assert health is not None
        assert health.json() == {"status": "healthy", "problems": []}
        assert metrics is not None
        text = metrics.text
        assert text.count("\nDCGM_FI_DEV_GPU_UTIL{") == 8
        assert "\nnode_memory_MemTotal_bytes " in text
        assert "\nnode_network_receive_bytes_total{" in text

    def test_promtool_complains_of_names_of_dcgm_and_node_exporter_alone(self, exporter, promtool):
        """Dashboards know these names, so they stay; promtool's exit code 3 says that it found such."""
        metrics = answer(exporter, "/metrics")
        assert metrics is not None
        check = [promtool, "check", "metrics"]
        done = subprocess.run(check, input=metrics.text, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 3, said
        assert {line.partition("_")[0] for line in said.splitlines()} <= {"DCGM", "node"}, said

    def test_runs_as_nobody_and_holds_no_tools_to_build(self, exporter):
        code, output = exporter.exec_run(["sh", "-c", "id -u; command -v gcc pip make"])
        assert output.decode().split() == ["65534"]
        assert code != 0

    def test_says_which_setting_it_does_not_know(self, image):
        container = docker.from_env().containers.run(image, environment={"CSLR_SETTINGS": '{"prt": 1}'}, detach=True)
        try:
            assert container.wait(timeout=SECONDS)["StatusCode"] == 1
            assert "unknown field 'prt'" in container.logs().decode()
        finally:
            container.remove(force=True)
