"""Images of the embedded engine: when one is up to date, when only its push is missing, and its build report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build_report.records import Build
from build_report.runs import current_run
from build_report.store import Store
from docker_api.api import DockerApi, DockerError
from docker_api.builds import BuildError
from embedded_engine.registration import Registration, recorded
from embedded_engine.resources.base import Actual, ResourceError
from embedded_engine.resources.image import Image

TAG = "registry.test/x:1"
DIGEST = "registry.test/x@sha256:5e"


class Engine(DockerApi):
    """An Engine that answers calls with a stream (builds, pushes, pulls) from `answers`, by the path's beginning."""

    def __init__(self, image: dict[str, Any] | None = None, **answers: list[dict[str, Any]]) -> None:
        self._image = image
        self._answers = answers
        self.calls: list[str] = []
        self.queries: list[dict[str, Any]] = []

    def find(self, path: str) -> dict[str, Any] | None:
        return self._image if path == f"/images/{TAG}/json" else None

    def call(self, method: str, path: str, **_: Any) -> Any:
        return {"/info": {"DockerRootDir": "/"}, "/version": {"Version": "20.10.24"}}[path]

    def stream(self, path: str, *, query: dict[str, Any], **_: Any) -> Iterator[dict[str, Any]]:
        kind = "build" if path == "/build" else "push" if path.endswith("/push") else "pull"
        self.calls.append(kind)
        self.queries.append(query)
        if kind == "build" and self._answers["build"] == []:
            self._image = {"Id": "sha256:made", "RepoDigests": []}
        yield from self._answers[kind]


PUSHED: list[dict[str, Any]] = [{"status": "Pushed"}, {"aux": {"Tag": "1", "Digest": "sha256:5e", "Size": 1}}]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who is logged in nowhere and has built nothing."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return tmp_path


def wanted(home: Path, **inputs: Any) -> Registration:
    build = {"context": str(home), "dockerfile": str(home / "Dockerfile"), "args": {}, "platform": "linux/amd64"}
    build |= inputs.pop("build", {})
    inputs = {"imageName": TAG, "build": build, **inputs}
    return Registration(
        urn="urn", type="docker:index/image:Image", name="x", inputs=inputs, recorded=recorded(inputs),
        dependencies=(), retain_on_delete=False,
    )  # fmt: skip


def read(engine: Engine, registration: Registration) -> Actual:
    """An image that is there."""
    actual = Image(engine).read(registration)
    assert actual
    return actual


def ignore(_: str) -> None:
    pass


def builds() -> list[Build]:
    return Store().builds_of_run(current_run())


class TestRead:
    def test_missing_image_is_none(self, home):
        assert Image(Engine()).read(wanted(home)) is None

    def test_image_that_stays_here_is_right_by_its_tag(self, home):
        actual = read(Engine({"Id": "sha256:1"}), wanted(home, skipPush=True))
        assert actual.defect is None
        assert actual.outputs["repoDigest"] == "sha256:1"

    def test_image_to_push_is_right_once_it_was_pushed(self, home):
        pushed = read(Engine({"Id": "sha256:1", "RepoDigests": [DIGEST]}), wanted(home, skipPush=False))
        assert (pushed.defect, pushed.outputs["repoDigest"]) == (None, DIGEST)
        elsewhere = {"Id": "sha256:1", "RepoDigests": ["other.test/x@sha256:1"]}
        assert read(Engine(elsewhere), wanted(home, skipPush=False)).defect == "is not pushed yet"

    def test_pushing_is_the_default_as_for_pulumi(self, home):
        assert read(Engine({"Id": "sha256:1"}), wanted(home)).defect == "is not pushed yet"


class TestCreate:
    def test_builds_then_pushes(self, home):
        engine = Engine(build=[], push=PUSHED)
        actual = Image(engine).create(wanted(home), None, ignore)
        assert engine.calls == ["build", "push"]
        assert (actual.identifier, actual.outputs["repoDigest"]) == ("sha256:made", DIGEST)

    def test_only_pushes_what_is_built(self, home):
        engine = Engine({"Id": "sha256:1"}, push=PUSHED)
        image = Image(engine)
        assert image.create(wanted(home), image.read(wanted(home)), ignore).outputs["repoDigest"] == DIGEST
        assert engine.calls == ["push"]

    def test_tells_the_builder_of_caches(self, home):
        engine = Engine(build=[])
        cached = wanted(home, skipPush=True, build={"cacheFrom": {"images": ["registry.test/ml:x"]}})
        Image(engine).create(cached, None, ignore)
        assert engine.queries[0]["cachefrom"] == '["registry.test/ml:x"]'
        assert engine.calls == ["build"]  # the registry is open: BuildKit asks it by itself

    def test_says_that_the_image_is_there_when_the_push_fails(self, home):
        engine = Engine(build=[], push=[{"error": "unauthorized: authentication required"}])
        with pytest.raises(ResourceError, match=r"is built, but cannot be pushed: .* docker login registry\.test"):
            Image(engine).create(wanted(home), None, ignore)

    def test_push_that_names_no_digest_is_refused(self, home):
        with pytest.raises(ResourceError, match="did not return a digest"):
            Image(Engine(build=[], push=[])).create(wanted(home), None, ignore)


class TestBuildReport:
    def test_is_told_of_a_build(self, home):
        Image(Engine(build=[])).create(wanted(home, skipPush=True), None, ignore)
        (build,) = builds()
        assert (build.tag, build.result, build.image_id, build.builder) == (TAG, "built", "sha256:made", "20.10.24")
        assert build.sent
        assert build.usage
        assert build.started <= build.ended

    def test_is_told_of_a_build_that_failed(self, home):
        engine = Engine(build=[{"error": "exit code: 1"}])
        with pytest.raises(BuildError):
            Image(engine).create(wanted(home), None, ignore)
        (build,) = builds()
        assert (build.result, build.error, build.image_id) == ("failed", "exit code: 1", None)
        assert engine.calls == ["build"]

    def test_is_told_when_the_engine_refuses_a_build(self, home):
        class Refusing(Engine):
            def stream(self, path: str, *, query: dict[str, Any], **_: Any) -> Iterator[dict[str, Any]]:
                raise DockerError("dockerfile parse error", 400)

        with pytest.raises(BuildError, match="dockerfile parse error"):
            Image(Refusing()).create(wanted(home), None, ignore)
        assert [build.result for build in builds()] == ["failed"]


class TestBuildAnew:
    def test_an_image_that_exists_is_built_where_that_is_asked(self, home):
        engine, registration = Engine({"Id": "sha256:old", "RepoDigests": []}, build=[]), wanted(home, skipPush=True)
        image = Image(engine, rebuild=True)
        found = image.read(registration)
        assert found
        assert found.defect
        assert image.create(registration, found, lambda _: None).identifier == "sha256:made"
        assert engine.calls == ["build"]

    def test_it_is_left_alone_where_it_is_not(self, home):
        assert read(Engine({"Id": "sha256:old", "RepoDigests": []}), wanted(home, skipPush=True)).defect is None

    def test_one_that_is_pushed_is_built_and_pushed(self, home):
        engine = Engine({"Id": "sha256:old", "RepoDigests": [DIGEST]}, build=[], push=PUSHED)
        image, registration = Image(engine, rebuild=True), wanted(home)
        image.create(registration, image.read(registration), lambda _: None)
        assert engine.calls == ["build", "push"]
