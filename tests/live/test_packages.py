"""The layer of a stack's own packages, built on a small image: its contents, leftovers and cost."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from docker_api.api import DockerApi
from docker_api.builds import Build, build
from images.base.bootstrap import make_base
from images.base.recipe import PLATFORM, base_tag
from images.catalog import CATALOG, ML, packages_image
from images.variants import DEFAULT_VARIANT
from testing.harness import PROJECT
from ws.packages.packages import resolve

pytestmark = pytest.mark.live

TAG, BELOW = "cslr-live/packages", "cslr-live/python"
FILES = ("images/packages", "images/ml/trim.py", "packages.Dockerfile", "packages.Dockerfile.dockerignore")
GOAL = 30.0  # seconds for one more package, on a machine that does nothing else
STRANGER = "4242:4242"
ASK = """
import json, os, shutil, sys, importlib.metadata, webvtt
print(json.dumps({
    "version": importlib.metadata.version("webvtt-py"), "compiled": os.path.exists(webvtt.__cached__ or ""),
    "file": shutil.which("file"), "left": [p for p in os.listdir("/var/lib/apt/lists") + os.listdir("/tmp")],
    "time": os.stat(webvtt.__file__).st_mtime,
}))
"""


@pytest.fixture(scope="module")
def api(docker_engine: None) -> DockerApi:
    return DockerApi()


@pytest.fixture(scope="module")
def below(api: DockerApi) -> Iterator[str]:
    """What every ML image begins with: Debian's Python, pip and uv."""
    base = base_tag("forky", "bootstrap")
    make_base("forky", "bootstrap", base, None, PLATFORM)
    args = CATALOG["ray-lean"].build_args(base=base, variant=DEFAULT_VARIANT)
    wanted = Build(tag=BELOW, context=ML, dockerfile=ML / "Dockerfile", target="python", args=args, platform=PLATFORM)
    build(api, wanted, lambda _: None)
    yield BELOW
    api.call("DELETE", f"/images/{BELOW}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the project that the build reads, and a lock."""
    folder = tmp_path_factory.mktemp("project")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copy)(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def made(api: DockerApi, below: str, project: Path) -> Iterator[Image]:
    """The image with one package of either kind."""
    make(api, below, project, ("webvtt-py",), ("file",))
    yield docker.from_env().images.get(TAG)
    api.call("DELETE", f"/images/{TAG}")


def make(api: DockerApi, below: str, project: Path, asked: tuple[str, ...], apt: tuple[str, ...]) -> float:
    """Build it; return the seconds that it took."""
    lock = resolve(asked, DEFAULT_VARIANT)
    (project / "Pulumi.live.packages.txt").write_text(lock.text)
    image = replace(
        packages_image(
            "packages", stack="live", lock_file="Pulumi.live.packages.txt", lock=lock.digest,
            packages=lock.versions(DEFAULT_VARIANT), apt=apt,
        ),
        folder=project,
    )  # fmt: skip
    args = image.build_args(base=below, variant=DEFAULT_VARIANT)
    began = time.monotonic()
    wanted = Build(tag=TAG, context=project, dockerfile=image.dockerfile, target=None, args=args, platform=PLATFORM)
    build(api, wanted, lambda _: None)
    return time.monotonic() - began


class TestLayer:
    def test_is_one_on_what_is_below(self, made, below):
        there = docker.from_env().images.get(below).attrs["RootFS"]["Layers"]
        assert made.attrs["RootFS"]["Layers"][:-1] == there

    def test_holds_both_kinds_for_every_user_and_leaves_nothing_behind(self, made):
        said = docker.from_env().containers.run(
            TAG, ["python", "-P", "-c", ASK], remove=True, user=STRANGER, read_only=True, network_mode="none",
            tmpfs={"/tmp": ""}, environment={"HOME": "/tmp"},
        )  # fmt: skip
        found = json.loads(said)
        assert f"webvtt-py=={found['version']}" == made.labels["cslr.packages"]
        assert found["compiled"]
        assert found["file"] == "/usr/bin/file"
        assert found["left"] == []
        assert found["time"] == 946_684_800

    def test_is_named_in_labels_and_runs_as_before(self, made):
        labels = made.labels
        assert labels["cslr.packages"].startswith("webvtt-py==")
        assert len(labels["cslr.packages.lock"]) == 12
        assert labels["cslr.apt"] == "file"
        assert made.attrs["Config"]["User"] == "1000:1000"

    def test_one_more_package_takes_seconds(self, api, made, below, project):
        """Without Debian's packages; the limit is generous, since other tests may run beside it."""
        assert make(api, below, project, ("webvtt-py", "pympi-ling"), ()) < 3 * GOAL
