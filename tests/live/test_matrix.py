"""`ws matrix` as a process, on a family with the real names whose images add a few bytes to the real base."""

import contextlib
import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from build_report.contents import LABEL
from config.project import version
from docker_api.api import DockerApi
from docker_api.builds import Build, build
from docker_api.disk_usage import disk_usage
from testing.live.deployment import LiveStack
from testing.live.registry import Registry, serve
from testing.signing_keys import allow, make_key
from ws.matrix.prune import look, remove

pytestmark = pytest.mark.live

REGISTRY = "cslr-live-matrix"  # a prefix of names alone: nothing is pushed
VERSION = version()
REPORTS = [f"{name}={value}" for name, value in LABEL.items()]
NAME_BASES = (
    "from images.base.recipe import PLATFORMS, base_tag\n"
    "print(*(base_tag('trixie', 'bootstrap', platform=platform) for platform in PLATFORMS))"
)
# What each image adds. The whole chain of the real family, so that what is shared and what is rebuilt is the same.
STAGES = {
    "runtime": "${BASE}",
    "ray-runtime": "runtime",
    "marimo-runtime": "ray-runtime",
    "devel": "runtime",
    "ray-devel": "devel",
    "marimo-devel": "ray-devel",
}
ENGINES = [
    "embedded",
    pytest.param("pulumi", marks=[
        pytest.mark.pulumi, pytest.mark.skipif(shutil.which("pulumi") is None, reason="needs the Pulumi CLI on PATH")
    ]),
]  # fmt: skip


@dataclass(kw_only=True)
class TinyFamily:
    """A copy of the project whose family is tiny."""

    stack: LiveStack
    engine: docker.DockerClient

    @classmethod
    def make(cls, at: Path) -> "TinyFamily":
        stack = LiveStack.make("matrix", {}, at)
        (stack.folder / ".venv").symlink_to(sys.prefix)
        family = cls(stack=stack, engine=stack.engine)
        family.configure()
        family.write_dockerfile()
        return family

    def configure(self, **settings: Any) -> None:
        """Writes the stack file."""
        # What the budgets of the real family would need does not matter here.
        config = {"cslr:preflight": False, "cslr:matrix": {"registry": REGISTRY, "cuda": ["13.*"], **settings}}
        (self.stack.folder / "Pulumi.matrix.yaml").write_text(yaml.safe_dump({"config": config}))

    def write_dockerfile(self, **steps: str) -> None:
        """Writes the family's Dockerfile, with other steps for some targets (their names with _)."""
        lines = ["ARG BASE"]
        for target, parent in STAGES.items():
            step = steps.get(target.replace("-", "_"), f"echo {target} >> /family")
            lines += [f"FROM {parent} AS {target}", "ARG CUDA", f"RUN {step}"]
        (self.stack.folder / "images/ml/Dockerfile").write_text("\n".join(lines))

    def ws(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.stack.ws("matrix", *arguments)

    def tags(self) -> set[str]:
        """The tags that there are."""
        return {tag for tag in tags_of(self.engine) if f"{REGISTRY}/" in tag}

    def built(self) -> set[str]:
        """The targets that there are images of, by their readable names."""
        return {tag.partition("ml:")[2].partition("-cuda")[0] for tag in self.tags() if "/ml:" in tag}

    def remove(self) -> None:
        """All images of this family, and nothing else. Their build reports may have been interrupted."""
        for tag in self.tags():
            for left in self.engine.api.containers(all=True, filters={"ancestor": tag, "label": REPORTS}):
                with contextlib.suppress(docker.errors.NotFound):
                    self.engine.api.remove_container(left["Id"], force=True)
            with contextlib.suppress(docker.errors.ImageNotFound):
                self.engine.images.remove(tag, force=True)


@pytest.fixture
def family(docker_engine: None, tmp_path: Path) -> Iterator[TinyFamily]:
    found = TinyFamily.make(tmp_path)
    found.remove()
    try:
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="module")
def registry(
    docker_engine: None, docker_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    yield from serve(docker_registry, tmp_path_factory.mktemp("registry"), login=False)


class TestBuilding:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_builds_what_is_selected_and_then_nothing(self, family, engine):
        first = family.ws("--engine", engine, "--target", "*-runtime", "--target", "runtime")
        assert first.returncode == 0, first.stdout
        assert family.built() == {"runtime", "ray-runtime", "marimo-runtime"}
        assert "3 of 3 images are to be built" in first.stdout
        again = family.ws("--engine", engine, "--target", "*-runtime", "--target", "runtime")
        assert again.returncode == 0, again.stdout
        assert "All 3 images are here" in again.stdout
        assert "image: " not in again.stdout  # creating, updating

    @pytest.mark.parametrize("engine", ENGINES)
    def test_goes_on_when_an_image_fails_and_names_it(self, family, engine):
        family.write_dockerfile(devel="echo 'main.c:1: error: no' >&2; exit 1")
        done = family.ws("--engine", engine, "--retries", "3")
        assert done.returncode == 1
        assert family.built() == {"runtime", "ray-runtime", "marimo-runtime"}
        assert "✗ devel-cuda13.1.1-py3.14: " in done.stdout
        assert "✗ marimo-devel-cuda13.1.1-py3.14: is built on devel-cuda13.1.1-py3.14, which failed" in done.stdout
        assert "Trying " not in done.stdout

    @pytest.mark.parametrize("engine", ENGINES)
    def test_tries_again_what_the_network_failed(self, family, engine):
        family.write_dockerfile(runtime="echo \"Temporary failure resolving 'mirror.example.org'\" >&2; exit 100")
        with family.stack.ws_started("matrix", "--engine", engine, "--target", "runtime", "--retries", "2") as process:
            assert process.stdout
            for line in process.stdout:
                family.stack.output.append(line)
                if line.startswith("Trying runtime-cuda13.1.1-py3.14 again in "):
                    family.write_dockerfile()  # the network is back
                    break
            rest, _ = process.communicate()
        assert process.returncode == 0, rest
        assert family.built() == {"runtime"}

    @pytest.mark.parametrize("engine", ENGINES)
    def test_makes_an_image_again_that_somebody_removed(self, family, engine):
        assert family.ws("--engine", engine, "--target", "runtime").returncode == 0
        family.remove()
        assert family.ws("--engine", engine, "--target", "runtime").returncode == 0
        assert family.built() == {"runtime"}

    def test_interrupted_goes_on_where_it_was(self, family):
        family.write_dockerfile(devel="for i in $(seq 600); do echo $i; sleep 0.1; done")
        with family.stack.ws_started("matrix", "--engine", "embedded") as process:
            deadline = time.monotonic() + 300
            while "ray-runtime" not in family.built() and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=20)
        assert process.returncode == 130, said
        assert "run it again to continue" in said
        before = family.tags()
        family.write_dockerfile()
        assert family.ws("--engine", "embedded").returncode == 0
        assert family.built() == set(STAGES)
        assert before <= family.tags()


class TestSignedImages:
    def test_are_verified_and_others_are_not(self, family, registry, ssh_keygen, tmp_path):
        key = make_key(tmp_path / "signing")
        place = f"{registry.host}/{REGISTRY}/signed"
        one, both = ("--target", "runtime", "--registry", place), ("--target", "*runtime", "--registry", place)
        trusted = ("--verify", "--signers", str(allow(key)))
        pushed = family.ws(*one, "--engine", "embedded", "--push", "--signing-key", str(key))
        assert pushed.returncode == 0, pushed.stdout
        assert "Signed 2 names of images" in pushed.stdout
        verified = family.ws(*one, *trusted)
        assert verified.returncode == 0, verified.stdout
        assert "2 of 2 are signed" in verified.stdout
        # More of them, which nobody signs.
        assert family.ws(*both, "--engine", "embedded", "--push").returncode == 0
        verified = family.ws(*both, *trusted)
        assert verified.returncode == 1
        assert "2 of 6 are signed" in verified.stdout
        assert "not in list" in verified.stdout

    def test_of_a_key_that_cannot_sign_are_not_built(self, family, registry, ssh_keygen, tmp_path):
        key = make_key(tmp_path / "signing", "secret")
        options = ("--target", "runtime", "--push", "--registry", f"{registry.host}/{REGISTRY}/unsigned")
        refused = family.ws(*options, "--signing-key", str(key))
        assert refused.returncode == 1
        assert "has a passphrase, and no agent holds it" in refused.stdout
        assert not family.built()


class TestPush:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_puts_images_where_they_are_named_after(self, family, registry, engine):
        place = f"{REGISTRY}/{engine}"
        options = ("--engine", engine, "--target", "*runtime", "--push", "--registry", f"{registry.host}/{place}")
        done = family.ws(*options)
        assert done.returncode == 0, done.stdout
        assert registry.tags(f"{place}/ml") == {
            f"{target}-cuda13.1.1-py3.14" for target in ("runtime", "ray-runtime", "marimo-runtime")
        }
        (by_content,) = registry.tags(f"{place}/runtime")
        assert f"{registry.host}/{place}/runtime:{by_content}" in done.stdout
        again = family.ws(*options)
        assert again.returncode == 0, again.stdout
        assert "image: " not in again.stdout  # creating, updating


# Makes bases of one file, that names their platform, and of no programs: nothing runs, so that no emulator is needed.
SMALL_BASES = """
def _require_emulator(platform):
    pass


def _bootstrap(client, suite, tag, mirror, platform, folder):
    root = folder / "root"
    root.mkdir()
    (root / "platform").write_text(platform)
    made = _load(client, root, folder, _Rootfs("", suite, "bootstrap", platform))
    client.tag(made.image, *tag.split(":"))


if __name__ == "__main__":
"""
TITLE = 'LABEL org.opencontainers.image.title="cslr {name}"\n'
SMALL_SERVICES = {
    "health": "ARG BASE\nFROM ${BASE}\nCOPY requirements.txt /\n",
    "transcription-frontend": "ARG BASE\nARG BUILD_BASE=${BASE}\nFROM --platform=linux/amd64 ${BUILD_BASE} AS site\n"
    "FROM ${BASE}\nCOPY --from=site /platform /built-on\n",
}


class TestServices:
    """Images of services, of a few bytes, for two platforms."""

    @pytest.fixture
    def services(self, family):
        bootstrap = family.stack.folder / "images/base/bootstrap.py"
        bootstrap.write_text(bootstrap.read_text().replace('\nif __name__ == "__main__":\n', SMALL_BASES))
        for name, text in SMALL_SERVICES.items():
            (family.stack.folder / "images" / name / "Dockerfile").write_text(text + TITLE.format(name=name))
        family.configure(bases="bootstrap", services=["*"], platforms=["linux/amd64", "linux/arm64"])
        bases = subprocess.run(
            [sys.executable, "-c", NAME_BASES], cwd=family.stack.folder, capture_output=True, text=True, check=True
        ).stdout.split()
        yield family
        family.remove()
        for tag in bases:
            with contextlib.suppress(docker.errors.ImageNotFound):
                family.engine.images.remove(tag, force=True)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_are_pushed_for_each_platform_under_one_name(self, services, registry, engine):
        place = f"{REGISTRY}/{engine}-services"
        selection = [word for name in SMALL_SERVICES for word in ("--service", name)]
        options = ("--engine", engine, *selection, "--push", "--registry", f"{registry.host}/{place}")
        done = services.ws(*options, "--also-tag", "abc")
        assert done.returncode == 0, done.stdout
        assert "4 of 4 images are to be built" in done.stdout
        for name in SMALL_SERVICES:
            tags = registry.tags(f"{place}/{name}")
            assert {VERSION, f"{VERSION}-amd64", f"{VERSION}-arm64", "abc", "abc-arm64"} <= tags
            members = registry.manifest(f"{place}/{name}", VERSION).json()["manifests"]
            assert {member["platform"]["architecture"] for member in members} == {"amd64", "arm64"}
            each = {registry.digest(f"{place}/{name}", f"{VERSION}-{processor}") for processor in ("amd64", "arm64")}
            assert {member["digest"] for member in members} == each
        again = services.ws(*options)
        assert again.returncode == 0, again.stdout
        assert "All 4 images are here" in again.stdout
        assert "image: " not in again.stdout  # creating, updating

    def test_are_partly_built_by_programs_of_one_platform(self, services):
        done = services.ws("--engine", "embedded", "--service", "transcription-f*", "--platform", "linux/arm64")
        assert done.returncode == 0, done.stdout
        (tag,) = (tag for tag in services.tags() if "/transcription-frontend:" in tag and VERSION not in tag)
        image = services.engine.images.get(tag)
        assert image.attrs["Architecture"] == "arm64"
        container = services.engine.containers.create(image, "none", platform="linux/arm64")
        try:
            packed = b"".join(container.get_archive("/built-on")[0])
            own = b"".join(container.get_archive("/platform")[0])
        finally:
            container.remove()
        assert b"linux/amd64" in packed
        assert b"linux/arm64" in own

    def test_that_nobody_wants_any_more_are_listed_with_their_names(self, services):
        only = ("--service", "health", "--platform", "linux/amd64")
        assert services.ws("--engine", "embedded", *only).returncode == 0
        before = services.tags()
        assert f"{REGISTRY}/health:{VERSION}" in before
        dockerfile = services.stack.folder / "images/health/Dockerfile"
        dockerfile.write_text(f"{dockerfile.read_text()}LABEL changed=yes\n")
        listed = services.ws("--list", "--prune", *only)
        assert listed.returncode == 0, listed.stdout
        assert {tag for tag in before if f"- {tag}" not in listed.stdout} == set(), listed.stdout
        assert services.tags() == before


class TestNotification:
    def test_tells_a_webhook_how_it_went(self, family, monkeypatch):
        told: list[Any] = []

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        family.write_dockerfile(devel="echo 'main.c:1: error: no' >&2; exit 1")
        with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            monkeypatch.setenv("CSLR_SLACK_WEBHOOK", f"http://127.0.0.1:{server.server_port}/")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            done = family.ws("--engine", "embedded", "--target", "runtime", "--target", "devel")
            server.shutdown()
        assert done.returncode == 1
        (message,) = told
        assert "❌" in json.dumps(message, ensure_ascii=False)
        assert "devel" in json.dumps(message)


class TestPrune:
    def test_lists_what_no_stack_file_wants_any_more(self, family):
        assert family.ws("--engine", "embedded", "--target", "runtime").returncode == 0
        before = family.tags()
        family.write_dockerfile(runtime="echo changed > /family")
        with measuring():
            listed = family.ws("--list", "--prune", "--target", "runtime")
        assert listed.returncode == 0, listed.stdout
        assert {tag for tag in before if f"- {tag}" not in listed.stdout} == set(), listed.stdout
        assert family.tags() == before

    def test_removes_images_and_records_of_its_own_and_nothing_else(self, docker_engine, tmp_path):
        """On the functions themselves, so that no stack of this host loses an image to a test."""
        api, engine = DockerApi(), docker.from_env()
        place, secret = "cslr-live-prune", secrets.token_hex(8)
        (tmp_path / "Dockerfile").write_text(
            f"FROM {base(engine)} AS maker\nRUN echo {secret} > /made\nFROM scratch\nCOPY --from=maker /made /\n"
        )
        build_args = {"context": tmp_path, "dockerfile": tmp_path / "Dockerfile", "target": None, "args": {}}
        tags = [f"{place}/runtime:{name}" for name in ("0" * 12, "1" * 12, "2" * 12)]
        built = [build(api, Build(tag=tag, platform="linux/amd64", **build_args), lambda _: None) for tag in tags]
        engine.images.get(tags[1]).tag(f"{place}/not-ours", "1")
        try:
            old = look(api, {tags[0]}, [step.name for step in built[0].steps if secret in step.name])
            assert [image for image in old.images if not image.startswith("sha256:")] == tags[1:]
            assert old.records
            ours = replace(old, images=tuple(tags[1:]))
            assert remove(api, ours) == []
            assert {tag for tag in tags_of(engine) if tag.startswith(place)} == {tags[0], f"{place}/not-ours:1"}
            records = disk_usage(api, "build-cache")["BuildCache"]
            assert not any(secret in record["Description"] for record in records)
        finally:
            for tag in (*tags, f"{place}/not-ours:1"):
                with contextlib.suppress(docker.errors.ImageNotFound):
                    engine.images.remove(tag)


def base(engine: docker.DockerClient) -> str:
    """A base image of this project that is here."""
    return next(tag for tag in sorted(tags_of(engine)) if tag.startswith("cslr/base:"))


def tags_of(engine: docker.DockerClient) -> set[str]:
    """The tags of all images. (The SDK's own list fails if another module removes an image meanwhile.)"""
    return {tag for image in engine.api.images() for tag in image["RepoTags"] or ()}


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Somebody else asks the Engine again and again what is on its disk, which it measures for one at a time."""
    over = threading.Event()

    def measure() -> None:
        api = DockerApi()
        while not over.is_set():
            disk_usage(api, "image")
            over.wait(0.3)  # in which it is another's turn

    asking = threading.Thread(target=measure, daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


class TestOtherCommands:
    def test_know_that_nothing_runs(self, family):
        assert family.stack.ws("up", "--engine", "embedded").returncode == 0
        assert family.built() == set(STAGES)
        assert "only builds images" in family.stack.ws("ps").stdout
        assert re.search(r"Images stay", family.stack.ws("down").stdout)
        assert family.built() == set(STAGES)
        assert f"{REGISTRY}/runtime:cuda13.1.1-py3.14-" in family.stack.ws("outputs").stdout
