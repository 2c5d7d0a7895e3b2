"""Images of a few bytes, declared as the project's own: pushed, named, measured and joined for two platforms, by either
engine; and what a second run does.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from build_report.store import Store
from docker_api.api import DockerApi
from images.variants import VARIANTS
from testing.harness import PROJECT
from testing.live.deployment import LiveStack, done
from testing.live.pulumi_stack import PulumiStack
from testing.live.registry import Registry, serve

pytestmark = pytest.mark.live

PROGRAM = PROJECT / "testing" / "live" / "small_images_program.py"
STACK = "live-images"
READABLE = f"tiny-{VARIANTS[0].key}"
RESOURCES = {f"tiny-{processor}{part}" for processor in ("amd64", "arm64") for part in ("", "-tag", "-report")} | {
    "tiny"
}
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nARG PYTHON\nCOPY content /\n"


class SmallImages:
    """That program as a stack."""

    def __init__(self, stack: LiveStack, registry: Registry) -> None:
        self.stack = stack
        self.registry = registry
        self._api = DockerApi()
        shutil.copytree(PROJECT / "build_report", stack.folder / "build_report", dirs_exist_ok=True)
        shutil.copy(PROGRAM, stack.folder / "__main__.py")
        self.folder = stack.folder / "images" / "tiny"
        self.folder.mkdir()
        (self.folder / "Dockerfile").write_text(DOCKERFILE)
        self.change()
        config = {"config": {"cslr:registry": f"{registry.host}/cslr"}}
        (stack.folder / f"Pulumi.{stack.name}.yaml").write_text(yaml.safe_dump(config))

    def store(self) -> Store:
        """The stack's user's build report."""
        return Store(self.stack.state_home / "cslr" / "builds.sqlite")

    def content(self) -> bytes:
        """What is in the images."""
        return (self.folder / "content").read_bytes()

    def tags_here(self) -> dict[str, set[str]]:
        """Tags in this Engine by repository."""
        found: dict[str, set[str]] = defaultdict(set)
        for image in self._api.call("GET", "/images/json"):
            for name in image.get("RepoTags") or ():
                host, _, rest = name.partition("/")
                if host == self.registry.host:
                    repository, _, tag = rest.partition(":")
                    found[repository].add(tag)
        return found

    def change(self) -> None:
        """Gives the images another content."""
        (self.folder / "content").write_bytes(os.urandom(1000))

    def remove(self) -> None:
        """The images, also those of before that lost their names to newer ones."""
        for image in self._api.call("GET", "/images/json"):
            names = [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]
            if any(name.startswith(f"{self.registry.host}/") for name in names):
                self._api.call("DELETE", f"/images/{image['Id']}", query={"force": "true"})


@pytest.fixture
def images(
    docker_engine: None, docker_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallImages]:
    """Not made yet; without any login."""
    for name in ("docker", "storage"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for registry in serve(docker_registry, tmp_path / "storage", login=False):
        images = SmallImages(LiveStack.make(STACK, {}, tmp_path), registry)
        yield images
        images.remove()


def assert_complete(images: SmallImages) -> None:
    """Everything is in the registry, has its names here, and is in the build report."""
    registry = images.registry
    tags = images.tags_here()
    assert len(tags["cslr/tiny"]) == len(tags["cslr/ml"]) == 2
    assert tags["cslr/ml"] == {f"{READABLE}-amd64", f"{READABLE}-arm64"}
    for repository in ("cslr/tiny", "cslr/ml"):
        # And the index of both.
        (name,) = registry.tags(repository) - tags[repository]
        assert "-amd64" not in name
        assert "-arm64" not in name
        members = registry.manifest(repository, name).json()["manifests"]
        assert {member["platform"]["architecture"] for member in members} == {"amd64", "arm64"}
        digests = {registry.digest(repository, tag) for tag in tags[repository]}
        assert {member["digest"] for member in members} == digests
    builds = images.store().newest()
    assert {build.subject.platform for build in builds} == {"linux/amd64", "linux/arm64"}
    for build in builds:
        assert build.result == "built"
        image = images.store().image(build.image_id)
        assert image
        assert image.size == len(images.content())


class TestEmbeddedEngine:
    def test_makes_them_once(self, images):
        assert set(done(images.stack.up())) == RESOURCES
        assert_complete(images)
        assert done(images.stack.up()) == {}

    def test_makes_again_what_changed(self, images):
        assert images.stack.up().ok
        images.change()
        assert set(done(images.stack.up())) == RESOURCES
        assert all(step.name for build in images.store().newest() for step in build.steps)


@pytest.mark.pulumi
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="needs the Pulumi CLI, which is not on PATH")
class TestGenuineEngine:
    def test_makes_them_once(self, images, tmp_path):
        pulumi = PulumiStack(images.stack, tmp_path)
        pulumi("stack", "init")
        pulumi("up", "--yes", "--skip-preview")
        assert_complete(images)
        pulumi("preview", "--expect-no-changes")
        images.change()
        pulumi("up", "--yes", "--skip-preview")
