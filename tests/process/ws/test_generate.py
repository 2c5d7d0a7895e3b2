"""`ws generate` as a person calls it, and what Docker Compose says to the file."""

import subprocess

import pytest
import yaml

from testing.compose import NOT_HERE, compose_command
from tests.process.ws.copied_project import CopiedProject

PLATFORM = {
    "health": {"env": {"PRICE": "5$ or ${HOME}"}},
    "images": {"bases": "bootstrap", "torch": "cuda"},  # what is said is not looked for on the network
}
COMPOSE = compose_command()
pytestmark = pytest.mark.usefixtures("docker_engine")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return CopiedProject.make(tmp_path_factory.mktemp("generate"), PLATFORM)


class TestCommand:
    def test_writes_the_file_and_names_the_next_commands(self, project):
        done = project.ws("generate")
        assert done.returncode == 0, done.stderr
        assert "docker compose -f _build/compose.yaml up -d --wait" in done.stdout
        assert "ray-cpu" in yaml.safe_load((project.folder / "_build/compose.yaml").read_text())["services"]

    def test_writes_into_another_folder(self, project, tmp_path):
        done = project.ws("generate", "--output", str(tmp_path / "here"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "here/compose.yaml").is_file()

    def test_refuses_a_stack_that_only_builds(self, project):
        (project.folder / "Pulumi.family.yaml").write_text(yaml.safe_dump({"config": {"cslr:matrix": {}}}))
        done = project.ws("generate", "--stack", "family")
        assert done.returncode == 1
        assert "only builds images" in done.stderr


@pytest.mark.skipif(COMPOSE is None, reason=NOT_HERE)
class TestDockerCompose:
    def test_accepts_the_file_and_takes_its_dollars_as_they_are(self, project):
        assert COMPOSE
        project.ws("generate")
        command = [*COMPOSE, "-f", "_build/compose.yaml", "config"]
        done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        read = yaml.safe_load(done.stdout)
        # What `config` prints can be read again, so its dollars are doubled.
        assert read["services"]["health"]["environment"]["PRICE"] == "5$$ or $${HOME}"
        assert read["services"]["ray-cpu"]["depends_on"]["redis"]["condition"] == "service_healthy"
