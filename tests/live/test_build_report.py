"""The build report on a real image, small and built here: its numbers are Docker's."""

import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from build_report.compress import measure as measure_compressed
from build_report.measure import WITHIN, WRONG_CALL
from build_report.overview import overview
from build_report.records import Image
from build_report.runs import RUN, new_run
from build_report.store import Store
from docker_api.api import DockerApi
from docker_api.builds import Build
from embedded_engine.resources.image import recorded_build
from testing.build_report_builds import measured

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("docker_engine")]

# Written by BuildKit as layers: WORKDIR an empty one, ENV and LABEL none.
RECIPE = """
FROM {base}
ENV PATH=/x:$PATH
WORKDIR /nothing
RUN head -c 3000000 /dev/urandom > /three-megabytes && : install.py torch
LABEL cslr.torch=none
RUN echo {nonce} > /small
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(RUN, new_run())
    return Store()


@pytest.fixture(scope="module")
def wanted(base: str, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """A build on the platform's base; its image is removed in the end."""
    folder, nonce = tmp_path_factory.mktemp("tiny"), int(time.time())
    (folder / "Dockerfile").write_text(RECIPE.format(base=base, nonce=nonce))
    tag = f"cslr-test/tiny:cuda13.1.1-py3.14-{nonce}"
    yield Build(tag=tag, context=folder, dockerfile=folder / "Dockerfile", target=None, args={}, platform="linux/amd64")
    engine.images.remove(tag, force=True)


@pytest.fixture
def spec(wanted: Build, kept: Store) -> dict[str, Any]:
    """The image, built and recorded, and not measured yet."""
    recorded_build(DockerApi(), wanted, lambda _: None)
    return {
        "tag": wanted.tag,
        "image": "tiny",
        "target": None,
        "variant": "cuda13.1.1-py3.14",
        "flavour": "cuda",
        "platform": "linux/amd64",
        "budget": None,
    }


def image_of(store: Store) -> Image:
    report = overview(store)
    assert report is not None
    image = report.rows[0].image
    assert image is not None
    return image


class TestNumbers:
    def test_are_those_of_docker(self, kept, spec, engine):
        done = measured(spec)
        assert (done.returncode, done.stderr) == (WITHIN, f"measuring {spec['tag']}\n")
        image, found = image_of(kept), engine.api.inspect_image(spec["tag"])
        assert image.image_id == found["Id"]
        assert image.size == found["Size"] == sum(entry["Size"] for entry in engine.api.history(spec["tag"]))
        assert [layer.diff_id for layer in image.layers] == found["RootFS"]["Layers"]
        assert [(layer.name, layer.size) for layer in image.layers[-3:]] == [
            ("other", 0),
            ("torch", 3_000_000),
            ("other", len(str(int(spec["tag"].rpartition("-")[2]))) + 1),
        ]
        assert {layer.name for layer in image.layers[:-3]} == {"base"}
        assert image.labels["cslr.torch"] == "none"

    def test_packages_are_those_of_the_image_and_its_container_is_gone(self, kept, spec, engine):
        measured(spec)
        command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"]
        said = engine.containers.run(spec["tag"], command, remove=True).decode()
        packages = image_of(kept).packages
        assert {f"{one.name} {one.version}" for one in packages if one.kind == "debian"} == set(said.splitlines())
        assert not engine.containers.list(
            all=True, filters={"label": "cslr.component=build-report", "ancestor": spec["tag"]}
        )

    def test_the_second_measurement_needs_no_docker(self, kept, spec, monkeypatch):
        first = measured(spec)
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        began = time.perf_counter()
        again = measured(spec, image_of(kept).image_id)
        assert (again.returncode, again.stdout, again.stderr) == (WITHIN, first.stdout, "")
        assert time.perf_counter() - began < 2  # 0.1 s on a quiet machine

    def test_an_image_that_is_not_there_is_named(self, kept, spec):
        done = measured(spec | {"tag": "cslr-test/none:1"})
        assert done.returncode == WRONG_CALL
        assert done.stderr == (
            "cslr-test/none:1 is not on this Docker host, so it cannot be measured: build it first\n"
        )


class TestBuild:
    def test_has_the_times_of_its_steps_and_what_the_host_used(self, kept, spec):
        measured(spec)
        report = overview(kept)
        assert report is not None
        (row,) = report.rows
        assert (row.build.result, row.build.engine, row.build.timing) == ("built", "embedded", "steps")
        assert sum(row.phases.values()) > 0
        assert max(row.phases.values()) <= (row.build.seconds or 0)
        assert "export" in row.phases
        assert row.build.usage is not None
        assert row.build.builder == docker.from_env().version()["Version"]
        assert (row.build.sent or 0) > len(RECIPE)

    def test_is_warm_the_second_time(self, kept, spec, wanted):
        recorded_build(DockerApi(), wanted, lambda _: None)
        measured(spec)
        report = overview(kept)
        assert report is not None
        assert report.rows[-1].cache == "warm"
        assert report.rows[-1].phases.get("torch") is None

    def test_of_before_the_run_is_no_build_of_the_run(self, kept, spec, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        monkeypatch.setenv(RUN, new_run(time.time() + 2))
        measured(spec)
        report = overview(Store())
        assert report is not None
        (row,) = report.rows
        assert (row.build.engine, row.build.timing, row.cache, row.phases) == ("elsewhere", "none", "here", {})
        assert row.build.seconds is None

    def test_that_no_engine_recorded_is_told_from_the_images_history(self, kept, spec, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
        measured(spec)
        report = overview(Store())
        assert report is not None
        (row,) = report.rows
        assert (row.build.engine, row.build.timing, row.build.result) == ("pulumi", "history", "built")
        assert row.build.started <= row.build.ended <= time.time()


class TestCompressed:
    def test_sizes_are_measured_once(self, kept, spec):
        measured(spec)
        read: list[int] = []
        measure_compressed([image_of(kept)], kept, read.append)
        image = image_of(kept)
        # What is random does not get smaller.
        assert 3_000_000 < (image.layers[-2].compressed or 0) < 3_010_000
        assert (image.compressed or 0) < image.size <= sum(read)
        read.clear()
        measure_compressed([image], kept, read.append)
        assert read == []
