"""`ws generate` as a person calls it, and what Docker Compose says to the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testing.compose import NOT_HERE, compose_command
from testing.live.deployment import copy_project

STACK = "process"
PLATFORM = {
    "health": {"env": {"PRICE": "5$ or ${HOME}"}},
    "images": {"bases": "bootstrap", "torch": "cuda"},  # what is said is not looked for on the network
}
COMPOSE = compose_command()
pytestmark = pytest.mark.usefixtures("docker_engine")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    at = tmp_path_factory.mktemp("generate")
    folder = copy_project(at)
    config = {"cslr:platform": PLATFORM, "cslr:preflight": "false"}
    (folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def generate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(project.parent / "state")}
    command = [sys.executable, "-m", "ws", "generate", "--stack", STACK, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


class TestCommand:
    def test_writes_the_file_and_names_the_next_commands(self, project):
        done = generate(project)
        assert done.returncode == 0, done.stderr
        assert "docker compose -f _build/compose.yaml up -d --wait" in done.stdout
        assert "ray-cpu" in yaml.safe_load((project / "_build/compose.yaml").read_text())["services"]

    def test_writes_into_another_folder(self, project, tmp_path):
        done = generate(project, "--output", str(tmp_path / "here"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "here/compose.yaml").is_file()

    def test_refuses_a_stack_that_only_builds(self, project):
        (project / "Pulumi.family.yaml").write_text(yaml.safe_dump({"config": {"cslr:matrix": {}}}))
        done = generate(project, "--stack", "family")
        assert done.returncode == 1
        assert "only builds images" in done.stderr


@pytest.mark.skipif(COMPOSE is None, reason=NOT_HERE)
class TestDockerCompose:
    def test_accepts_the_file_and_takes_its_dollars_as_they_are(self, project):
        assert COMPOSE
        generate(project)
        command = [*COMPOSE, "-f", "_build/compose.yaml", "config"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        read = yaml.safe_load(done.stdout)
        # What `config` prints can be read again, so its dollars are doubled.
        assert read["services"]["health"]["environment"]["PRICE"] == "5$$ or $${HOME}"
        assert read["services"]["ray-cpu"]["depends_on"]["redis"]["condition"] == "service_healthy"
