"""A job's own packages on a separate Ray node: installed without network, isolated, and errors reported.

About two minutes with built images. The packages are files beside the job's program, so no index is needed.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed
from testing.live.users import Job, User
from testing.wheels import write_wheel

pytestmark = pytest.mark.live

DASHBOARD = 32265
SETTINGS: dict[str, Any] = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-packages", "subnet": "10.225.0.0/24"},
        "ray": {"cpu": {"enabled": True, "memory": "4g", "ports": {"dashboard": DASHBOARD, "client": 32001}}},
        "redis": {"port": 32381},
        "health": {"port": 32888},
    },
)
BESIDE = "--find-links=${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
SIZE = "du -sm $(python -c 'import sys; print(sys.prefix)') | cut -f1"


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-packages", SETTINGS, tmp_path_factory.mktemp("packages")) as stack:
        yield stack


@pytest.fixture(scope="module")
def user(stack: LiveStack) -> User:
    code, token = stack.exec("ray-cpu", "cat", "/run/secrets/ray-token")
    assert code == 0, token
    return User(dashboard=f"http://127.0.0.1:{DASHBOARD}", token=token.strip())


@pytest.fixture(scope="module")
def folder(user: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a working_dir with wheels."""
    wheels = tmp_path_factory.mktemp("wheels")
    write_wheel(wheels, "cslr_metrics", "1.0", ["torch>=2"])
    write_wheel(wheels, "cslr_old", "1.0", ["numpy<2"])
    return user.upload({path.name: path.read_bytes() for path in wheels.iterdir()})


@pytest.fixture
def node(stack: LiveStack) -> Iterator[None]:
    """The node, which no job's packages may restart."""
    before = stack.container("ray-cpu").attrs["State"]["StartedAt"]
    yield
    assert stack.container("ray-cpu").attrs["State"]["StartedAt"] == before
    assert not stack.unhealthy()


def run(user: User, folder: str, entrypoint: str, **environment: Any) -> Job:
    job = user.command(entrypoint, runtime_env={"working_dir": folder, **environment})
    return user.wait(job)


def reason(job: Job) -> str:
    """What the job's status says after Ray's own words."""
    assert job.status == "FAILED", job.said
    return job.message.rpartition("PackagesError: ")[2]


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("tool", ["uv", "pip"])
class TestPackagesOfAJob:
    def environment(self, tool: str, *packages: str) -> dict[str, Any]:
        options = {"uv": "uv_pip_install_options", "pip": "pip_install_options"}[tool]
        return {tool: {"packages": [BESIDE, *packages], options: ["--no-index"]}}

    def test_what_needs_torch_gets_that_of_the_image(self, user: User, folder: str, tool: str) -> None:
        program = f"python -c 'import cslr_metrics, torch; print(torch.__file__)' && {SIZE}"
        job = run(user, folder, program, **self.environment(tool, "cslr_metrics"))
        assert job.succeeded, job.said
        torch, size = job.log.split()[-2:]
        assert torch.startswith("/opt/venv/"), job.said
        assert int(size) < 20

    def test_the_second_use_takes_seconds(self, user: User, folder: str, tool: str) -> None:
        began = time.monotonic()
        job = run(user, folder, "python -c 'import cslr_metrics'", **self.environment(tool, "cslr_metrics"))
        assert job.succeeded, job.said
        assert time.monotonic() - began < 60  # 3 s on an idle machine

    def test_a_wrong_name_is_the_job_s_error(self, user: User, folder: str, tool: str) -> None:
        said = reason(run(user, folder, "true", **self.environment(tool, "no-such-package-of-cslr")))
        assert "a name or version is wrong" in said
        assert "no-such-package-of-cslr" in said

    def test_a_conflict_names_both_sides(self, user: User, folder: str, tool: str) -> None:
        said = reason(run(user, folder, "true", **self.environment(tool, "cslr_old")))
        assert re.search(r"do not fit the image, which has numpy \d", said)
        assert "numpy<2" in said

    def test_ray_stays_as_it_is(self, user: User, folder: str, tool: str) -> None:
        said = reason(run(user, folder, "true", **self.environment(tool, "ray==2.40.0")))
        assert "ray cannot be another for one job" in said

    def test_two_jobs_at_once(self, user: User, folder: str, tool: str) -> None:
        environment = {"working_dir": folder, **self.environment(tool, "cslr_metrics==1.0")}
        jobs = [user.command("python -c 'import cslr_metrics'", runtime_env=environment) for _ in range(2)]
        for job in jobs:
            ended = user.wait(job)
            assert ended.succeeded, ended.said


@pytest.mark.usefixtures("node")
def test_a_job_s_pythonpath_does_not_lose_the_hooks(user: User) -> None:
    program = "import json, os, sys; print(json.dumps([os.environ['PYTHONPATH'], 'cslr_hooks' in sys.modules]))"
    job = user.wait(user.command(f'python -c "{program}"', runtime_env={"env_vars": {"PYTHONPATH": "/elsewhere"}}))
    assert job.succeeded, job.said
    path, hooked = json.loads(job.log.strip().splitlines()[-1])
    assert path.endswith(":/elsewhere")
    assert hooked
