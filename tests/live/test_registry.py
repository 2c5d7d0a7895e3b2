"""A real registry: images that the embedded engine pushes, uses as a cache, joins to indexes; with and without login.

Every image is a few bytes on nothing, and is removed again, as are the build-cache records of its steps.
"""

import base64
import json
import os
import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build_report.records import Build
from build_report.runs import current_run
from build_report.store import Store
from docker_api.api import DockerApi
from docker_api.disk_usage import disk_usage
from docker_api.registry import RegistryError, index, index_digest, manifest_sizes, pull, push, pushed_digest
from docker_api.registry.__main__ import main
from embedded_engine.registration import Registration, recorded
from embedded_engine.resources.base import Actual, ResourceError
from embedded_engine.resources.image import Image
from testing.live.registry import PASSWORD, USER, Registry, serve

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def open_registry(
    docker_engine: None, docker_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """One that everybody may use."""
    yield from serve(docker_registry, tmp_path_factory.mktemp("open"), login=False)


@pytest.fixture(scope="module")
def closed_registry(
    docker_engine: None, docker_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """One that wants a login."""
    yield from serve(docker_registry, tmp_path_factory.mktemp("closed"), login=True)


class Workshop:
    """Builds and pushes as the embedded engine does, from a folder with two files of sizes that no one else has."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.api = DockerApi()
        self.said: list[str] = []
        self._folder = folder
        self._config = config
        self._tags: set[str] = set()
        self._sizes = [random.randrange(100_000, 1_000_000) for _ in range(2)]
        for name, size in zip("ab", self._sizes, strict=True):
            (folder / name).write_bytes(random.randbytes(size))
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /first/\nCOPY b /second/\n")

    def log_in(self, host: str, password: str = PASSWORD) -> None:
        """As `docker login` does."""
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        self._config.write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    def wanted(
        self, tag: str, *, pushed: bool = True, platform: str = "linux/amd64", cache_from: str | None = None
    ) -> Registration:
        """The registration of an image in the program."""
        self._tags.add(tag)
        build: dict[str, Any] = {
            "context": str(self._folder),
            "dockerfile": str(self._folder / "Dockerfile"),
            "args": {"BUILDKIT_INLINE_CACHE": "1"},
            "platform": platform,
            **({"cacheFrom": {"images": [cache_from]}} if cache_from else {}),
        }
        inputs = {"imageName": tag, "build": build, "skipPush": not pushed}
        return Registration(
            urn=f"urn:{tag}", type="docker:index/image:Image", name="image", inputs=inputs, recorded=recorded(inputs),
            dependencies=(), retain_on_delete=False,
        )  # fmt: skip

    def read(self, wanted: Registration) -> Actual | None:
        return Image(self.api).read(wanted)

    def up(self, wanted: Registration) -> Actual:
        """What the engine does for one image: nothing where it is as it should be."""
        actual = self.read(wanted)
        if actual and not actual.defect:
            return actual
        return Image(self.api).create(wanted, actual, self.said.append)

    def builds(self) -> list[Build]:
        """What the build report knows, the newest first."""
        return sorted(Store().builds_of_run(current_run()), key=lambda build: build.number, reverse=True)

    def copied_from_cache(self) -> list[bool]:
        """Of the newest build: which of its two steps came from a cache."""
        return [step.cached for step in self.builds()[0].steps if "COPY" in step.name]

    def forget(self) -> None:
        """As on a host that never built this: neither images nor records of steps."""
        for tag in self._tags:
            if self.api.find(f"/images/{tag}/json"):
                self.api.call("DELETE", f"/images/{tag}", query={"force": "true"})
        records = disk_usage(self.api, "build-cache")["BuildCache"] or ()
        for size in reversed(self._sizes):  # one that another stands on would be kept
            for record in records:
                if record["Size"] == size:  # its description depends on the version of BuildKit
                    filters = json.dumps({"id": [record["ID"]]})
                    self.api.call("POST", "/build/prune", query={"all": "true", "filters": filters})


@pytest.fixture
def workshop(docker_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A host without any registry login, with a build report of its own."""
    for name in ("context", "docker"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    workshop = Workshop(tmp_path / "context", tmp_path / "docker" / "config.json")
    yield workshop
    workshop.forget()


class TestPush:
    def test_puts_the_image_where_others_pull_the_same_one(self, workshop, open_registry):
        tag = f"{open_registry.host}/team/image:1"
        made = workshop.up(workshop.wanted(tag))
        workshop.forget()
        pull(workshop.api, tag, workshop.said.append)
        assert workshop.api.find(f"/images/{tag}/json")["Id"] == made.identifier

    def test_answers_with_the_name_by_digest(self, workshop, open_registry):
        made = workshop.up(workshop.wanted(f"{open_registry.host}/team/digest:1"))
        digest = open_registry.digest("team/digest", "1")
        assert made.outputs["repoDigest"] == f"{open_registry.host}/team/digest@{digest}"

    def test_second_run_builds_nothing_and_pushes_nothing(self, workshop, open_registry):
        wanted = workshop.wanted(f"{open_registry.host}/team/twice:1")
        first = workshop.up(wanted)
        workshop.said.clear()
        assert workshop.up(wanted) == first
        assert not workshop.said
        assert len(workshop.builds()) == 1

    def test_image_that_was_only_built_is_pushed_and_not_built_again(self, workshop, open_registry):
        tag = f"{open_registry.host}/team/later:1"
        workshop.up(workshop.wanted(tag, pushed=False))
        assert open_registry.manifest("team/later", "1").status_code == 404
        workshop.up(workshop.wanted(tag))
        assert open_registry.manifest("team/later", "1").ok
        assert len(workshop.builds()) == 1

    def test_to_a_registry_that_does_not_answer_is_one_sentence(self, workshop):
        with socket.socket() as taken:  # bound and not listening: nothing answers
            taken.bind(("127.0.0.1", 0))
            host = f"localhost:{taken.getsockname()[1]}"
            with pytest.raises(ResourceError, match=f"cannot be pushed: the registry {host} does not answer"):
                workshop.up(workshop.wanted(f"{host}/team/image:1"))


class TestLogin:
    @pytest.mark.parametrize("password", [None, "wrong"])
    def test_that_fails_is_one_sentence_and_the_image_stays_built(self, workshop, closed_registry, password):
        if password:
            workshop.log_in(closed_registry.host, password)
        wanted = workshop.wanted(f"{closed_registry.host}/team/refused:1")
        with pytest.raises(
            ResourceError, match=f"requires a login with access to .*docker login {closed_registry.host}"
        ) as caught:
            workshop.up(wanted)
        assert str(caught.value).count("\n") == 0
        assert workshop.read(wanted).defect == "is not pushed yet"
        workshop.log_in(closed_registry.host)
        assert workshop.up(wanted).outputs["repoDigest"].startswith(f"{closed_registry.host}/team/refused@sha256:")
        assert len(workshop.builds()) == 1

    def test_comes_from_a_credential_helper_too(self, workshop, closed_registry, tmp_path, monkeypatch):
        answer = json.dumps({"ServerURL": closed_registry.host, "Username": USER, "Secret": PASSWORD})
        helper = tmp_path / "docker-credential-test"
        helper.write_text(f"#!/bin/sh\nread server\nprintf '%s' '{answer}'\n")
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"credHelpers": {closed_registry.host: "test"}}))
        workshop.up(workshop.wanted(f"{closed_registry.host}/team/helped:1"))
        assert closed_registry.manifest("team/helped", "1", auth=(USER, PASSWORD)).ok

    def test_by_a_helper_that_is_missing_is_one_sentence(self, workshop, closed_registry, tmp_path):
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"credsStore": "absent"}))
        with pytest.raises(ResourceError, match=r"Install it, or remove it from config\.json"):
            workshop.up(workshop.wanted(f"{closed_registry.host}/team/helped:2"))


class TestCache:
    def test_on_another_host_no_step_is_done_again(self, workshop, open_registry):
        tag = f"{open_registry.host}/team/cached:1"
        workshop.up(workshop.wanted(tag))
        workshop.forget()
        workshop.up(workshop.wanted("cslr-test/cold:1", pushed=False))
        assert workshop.copied_from_cache() == [False, False]
        workshop.forget()
        workshop.up(workshop.wanted("cslr-test/warm:1", pushed=False, cache_from=tag))
        assert workshop.copied_from_cache() == [True, True]

    def test_behind_a_login_serves_too(self, workshop, closed_registry):
        workshop.log_in(closed_registry.host)
        tag = f"{closed_registry.host}/team/cached:1"
        workshop.up(workshop.wanted(tag))
        workshop.forget()
        workshop.up(workshop.wanted("cslr-test/warm:2", pushed=False, cache_from=tag))
        assert workshop.copied_from_cache() == [True, True]

    def test_that_is_missing_is_no_error(self, workshop, open_registry, closed_registry):
        workshop.log_in(closed_registry.host)
        for host in (open_registry.host, closed_registry.host):
            workshop.up(workshop.wanted("cslr-test/none:1", pushed=False, cache_from=f"{host}/team/absent:1"))
            assert workshop.copied_from_cache() == [False, False]
            workshop.forget()


class TestIndex:
    @pytest.fixture
    def members(self, workshop, closed_registry) -> list[str]:
        """One image for each of two platforms, in the registry."""
        workshop.log_in(closed_registry.host)
        tags = []
        for processor in ("amd64", "arm64"):
            tag = f"{closed_registry.host}/team/several:{processor}"
            workshop.up(workshop.wanted(tag, platform=f"linux/{processor}"))
            tags.append(tag)
        return tags

    def test_gives_each_platform_its_own_image(self, workshop, closed_registry, members):
        tag = f"{closed_registry.host}/team/several:all"
        images = {member: workshop.api.find(f"/images/{member}/json")["Id"] for member in members}
        assert main(["index", tag, *members]) == 0
        workshop.wanted(tag)  # so that it is removed in the end
        for member in members:
            workshop.forget()
            pull(workshop.api, tag, workshop.said.append, platform=f"linux/{member.rpartition(':')[2]}")
            found = workshop.api.find(f"/images/{tag}/json")
            assert (found["Id"], found["Architecture"]) == (images[member], member.rpartition(":")[2])

    def test_has_the_digest_that_its_images_give_it_before(self, closed_registry, members):
        tag, repository = f"{closed_registry.host}/team/several:told", "team/several"
        digests = [closed_registry.digest(repository, one.rpartition(":")[2], auth=(USER, PASSWORD)) for one in members]
        told = index_digest(tag, [f"{closed_registry.host}/{repository}@{digest}" for digest in digests])
        assert told == index(tag, members) == pushed_digest(tag)

    def test_of_one_platform_twice_is_refused(self, closed_registry, members):
        with pytest.raises(RegistryError, match="would hold linux/amd64 more than once"):
            index(f"{closed_registry.host}/team/several:bad", [members[0], members[0]])

    def test_of_images_elsewhere_is_refused(self, closed_registry, members):
        with pytest.raises(RegistryError, match="is not in the repository of"):
            index(f"{closed_registry.host}/team/other:all", members)

    def test_of_an_image_that_was_not_pushed_says_so(self, closed_registry, members):
        with pytest.raises(RegistryError, match="push it first"):
            index(f"{closed_registry.host}/team/several:all", [f"{closed_registry.host}/team/several:absent"])

    def test_without_login_is_one_sentence(self, workshop, closed_registry, members, capsys):
        workshop.log_in(closed_registry.host, "wrong")
        assert main(["index", f"{closed_registry.host}/team/several:all", *members]) == 1
        assert f"docker login {closed_registry.host}" in capsys.readouterr().err


class TestFurtherName:
    def test_is_given_here_and_in_the_registry(self, workshop, open_registry):
        tag, further = f"{open_registry.host}/team/image:content", f"{open_registry.host}/ml:readable"
        made = workshop.up(workshop.wanted(tag))
        workshop.wanted(further)
        assert main(["tag", tag, further, "--push"]) == 0
        assert workshop.api.find(f"/images/{further}/json")["Id"] == made.identifier
        assert open_registry.manifest("ml", "readable").ok

    def test_of_an_image_that_is_missing_is_one_sentence(self, docker_engine, capsys):
        assert main(["tag", "cslr-test/absent:1", "cslr-test/further:1"]) == 1
        assert "No such image" in capsys.readouterr().err


class TestSizes:
    def test_are_the_registrys_for_each_layer_of_the_image(self, workshop, open_registry):
        tag = f"{open_registry.host}/team/sizes:1"
        workshop.up(workshop.wanted(tag))
        layers = workshop.api.find(f"/images/{tag}/json")["RootFS"]["Layers"]
        manifest = open_registry.manifest("team/sizes", "1").json()
        assert manifest_sizes(tag) == dict(zip(layers, [layer["size"] for layer in manifest["layers"]], strict=True))

    def test_push_of_what_is_not_here_is_one_sentence(self, docker_engine, open_registry):
        with pytest.raises(RegistryError, match="does not exist locally"):
            push(DockerApi(), f"{open_registry.host}/team/absent:1", lambda _: None)
