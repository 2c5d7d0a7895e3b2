"""Builds by the Engine's BuildKit: the request, and parsing the answer."""

import base64
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from docker_api.api import DockerApi
from docker_api.builds import (
    FOREIGN_PROGRAM,
    INSTALL_EMULATOR,
    Build,
    BuildError,
    Built,
    build,
    context_files,
    context_tar,
)
from docker_api.step import Step
from docker_api.trace import MESSAGE_ID
from images.base import bootstrap
from images.catalog import CATALOG, Image
from images.variants import VARIANTS

# `COPY [--flag=value …] source … destination`, from the context (and not from another stage).
COPY = re.compile(r"^COPY (?!.*--from=)(?:--\S+ )*(?P<words>.+)$", re.MULTILINE)


# --- moby.buildkit.v1.StatusResponse by hand: a field is its number and kind, then a length, then its bytes ---


def field(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def stamp(seconds: float) -> bytes:
    """A google.protobuf.Timestamp: seconds (1) and nanoseconds (2)."""
    return b"\x08" + varint(int(seconds)) + b"\x10" + varint(round(seconds % 1 * 1e9))


def vertex(digest: str, name: str, *, started=0.0, completed=0.0, cached=False, error="") -> bytes:
    """A step."""
    parts = [field(1, digest), field(2, "sha256:input"), field(3, name)]
    parts += [bytes([4 << 3, 1])] if cached else []
    parts += [field(5, stamp(started))] if started else []
    parts += [field(6, stamp(completed))] if completed else []
    parts += [field(7, error)] if error else []
    return field(1, b"".join(parts))


def log(digest: str, text: str) -> bytes:
    """What a step printed; with a time (2) and a stream (3), which are not read."""
    return field(3, field(1, digest) + field(2, b"\x08\x01") + bytes([3 << 3, 1]) + field(4, text))


class FakeApi:
    """Answers a build with these messages; afterwards the image is there, if there was no error."""

    def __init__(self, *messages: bytes | dict[str, Any]) -> None:
        self.messages = messages
        self.sent: dict[str, Any] = {}

    def stream(
        self, path: str, *, query: dict[str, Any], data: bytes, headers: Any, **_: Any
    ) -> Iterator[dict[str, Any]]:
        self.sent = {"path": path, "data": data, **query}
        for message in self.messages:
            aux = (
                message if isinstance(message, dict) else {"id": MESSAGE_ID, "aux": base64.b64encode(message).decode()}
            )
            yield aux

    def find(self, path: str) -> dict[str, Any] | None:
        return {"Id": "sha256:made"} if path == "/images/cslr/x:1/json" else None


@pytest.fixture
def wanted(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("# all but a\n*\n!a\n")
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    return Build(
        tag="cslr/x:1",
        context=tmp_path,
        dockerfile=tmp_path / "Dockerfile",
        target="final",
        args={"BASE": "base:1"},
        platform="linux/amd64",
    )


def run(wanted: Build, *messages: bytes | dict[str, Any]) -> tuple[Built, list[str], FakeApi]:
    """Builds; what came of it, what was shown, and the Engine that did it."""
    api, shown = FakeApi(*messages), list[str]()
    return build(cast(DockerApi, api), wanted, shown.append), shown, api


def failure(wanted: Build, *messages: bytes | dict[str, Any]) -> str:
    with pytest.raises(BuildError) as caught:
        run(wanted, *messages)
    return str(caught.value)


class TestRequest:
    def test_asks_buildkit_for_one_stage_platform_and_tag(self, wanted):
        built, _, api = run(wanted)
        assert built.image_id == "sha256:made"
        assert {key: api.sent[key] for key in ("version", "t", "target", "platform", "dockerfile")} == {
            "version": "2",
            "t": "cslr/x:1",
            "target": "final",
            "platform": "linux/amd64",
            "dockerfile": "Dockerfile",
        }
        assert json.loads(api.sent["buildargs"]) == {"BASE": "base:1"}

    def test_names_images_to_take_steps_from_only_where_there_are_any(self, wanted):
        assert "cachefrom" not in run(wanted)[2].sent
        sent = run(replace(wanted, cache_from=("registry.test/x:1",)))[2].sent
        assert json.loads(sent["cachefrom"]) == ["registry.test/x:1"]

    def test_says_how_much_was_sent_and_when(self, wanted):
        before = time.time()
        built, _, api = run(wanted)
        assert built.sent == len(api.sent["data"]) > 0
        assert before <= built.started <= built.ended <= time.time()

    def test_sends_what_the_allow_list_lets_in(self, wanted):
        with tarfile.open(fileobj=io.BytesIO(context_tar(wanted))) as tar:
            assert tar.getnames() == ["Dockerfile", "a"]

    def test_is_the_same_whatever_the_modes_and_times(self, wanted):
        before = context_tar(wanted)
        (wanted.context / "a").chmod(0o600)
        (wanted.context / "a").touch()
        assert context_tar(wanted) == before

    def test_is_another_when_a_file_changed(self, wanted):
        before = context_tar(wanted)
        (wanted.context / "a").write_text("other")
        assert context_tar(wanted) != before


class TestProgress:
    def test_names_a_step_that_begins(self, wanted):
        _, shown, _ = run(wanted, vertex("sha256:1", "[1/2] FROM base", started=1))
        assert shown == ["sending the context", "[1/2] FROM base"]

    def test_does_not_name_what_is_done_or_cached_or_not_begun(self, wanted):
        _, shown, _ = run(
            wanted,
            vertex("sha256:1", "one", started=1, completed=2)
            + vertex("sha256:2", "two", started=1, cached=True)
            + vertex("sha256:3", "three"),
        )
        assert shown == ["sending the context"]

    def test_shows_the_last_line_of_a_steps_output(self, wanted):
        step = vertex("sha256:1", "RUN uv", started=1)
        _, shown, _ = run(wanted, step, log("sha256:1", "10 %\r50 %\rResolved 80 packages\n\n"))
        assert shown[-1] == "RUN uv │ Resolved 80 packages"

    def test_survives_output_that_is_no_text(self, wanted):
        message = field(3, field(1, "sha256:1") + field(4, b"\xff\xfe"))
        assert run(wanted, message)[0].image_id == "sha256:made"

    def test_ignores_messages_of_other_kinds(self, wanted):
        assert (
            run(wanted, {"stream": "Step 1"}, {"id": "moby.image.id", "aux": {"ID": "x"}})[0].image_id == "sha256:made"
        )


class TestSteps:
    def test_have_the_times_that_buildkit_took(self, wanted):
        built, _, _ = run(
            wanted,
            vertex("sha256:1", "RUN one", started=100.25),
            vertex("sha256:2", "RUN two"),
            vertex("sha256:1", "RUN one", started=100.25, completed=103.5),
        )
        assert built.steps == (Step(name="RUN one", started=100.25, completed=103.5), Step(name="RUN two"))
        assert [step.seconds for step in built.steps] == [3.25, 0.0]

    def test_from_the_cache_are_told_apart(self, wanted):
        built, _, _ = run(wanted, vertex("sha256:1", "RUN one", started=1, completed=1, cached=True))
        assert [step.cached for step in built.steps] == [True]

    def test_that_were_worked_on_twice_have_the_times_of_the_longer_work(self, wanted):
        """BuildKit tells of a step when it looks for it in the cache, and again when it runs."""
        looking = vertex("sha256:1", "COPY", started=1, completed=1.5)
        running = vertex("sha256:1", "COPY", started=2) + vertex("sha256:1", "COPY", started=2, completed=9)
        for messages in ((looking, running), (running, looking)):
            built, _, _ = run(wanted, *messages)
            assert [(step.started, step.completed) for step in built.steps] == [(2, 9)]

    def test_of_a_failed_build_are_known(self, wanted):
        failed = vertex("sha256:1", "RUN false", started=1, completed=2, error="exit code: 1")
        with pytest.raises(BuildError) as caught:
            run(wanted, failed, {"error": "failed"})
        assert caught.value.steps == (Step(name="RUN false", started=1, completed=2, error="exit code: 1"),)


class TestFailure:
    def test_for_want_of_an_emulator_says_how_to_get_one(self, wanted):
        text = failure(wanted, {"error": "failed to load: exec /bin/sh: exec format error"})
        assert "cannot run programs for linux/amd64" in text
        assert "apt-get install qemu-user-static binfmt-support" in text

    def test_for_want_of_an_emulator_is_told_alike_by_what_makes_bases(self):
        """Its program is part of the recipe of bases, so it has texts of its own."""
        assert bootstrap.EMULATOR.endswith(INSTALL_EMULATOR)
        assert bootstrap.FOREIGN_PROGRAM == FOREIGN_PROGRAM

    def test_names_the_step_and_shows_the_end_of_its_output(self, wanted):
        lines = "".join(f"line {i}\n" for i in range(100))
        text = failure(
            wanted,
            vertex("sha256:1", "RUN false", started=1),
            log("sha256:1", lines),
            log("sha256:2", "of another step\n"),
            vertex("sha256:1", "RUN false", started=1, completed=2, error="exit code: 1"),
            {"error": "process did not complete: exit code: 1"},
        )
        assert text.startswith("RUN false failed: process did not complete: exit code: 1\n")
        assert text.endswith("line 98\nline 99")
        assert "line 69" not in text
        assert "another step" not in text

    def test_of_a_step_is_not_blamed_on_one_that_was_cancelled(self, wanted):
        text = failure(
            wanted,
            vertex("sha256:1", "RUN slow", started=1, error="context canceled"),
            vertex("sha256:2", "RUN false", started=1, error="exit code: 1"),
            {"error": "failed"},
        )
        assert text == "RUN false failed: failed"

    def test_before_any_step_is_the_daemons_own_words(self, wanted):
        assert failure(wanted, {"error": "dockerfile parse error"}) == "dockerfile parse error"

    def test_to_leave_an_image_is_told(self, wanted):
        class NoImage(FakeApi):
            def find(self, path: str) -> None:
                return None

        with pytest.raises(BuildError, match="the build of cslr/x:1 ended without an image"):
            build(cast(DockerApi, NoImage()), wanted, lambda _: None)


def copied(image: Image) -> set[str]:
    """The context's files and folders that a Dockerfile copies, for every value of its arguments."""
    found = set()
    for match in COPY.finditer(image.dockerfile.read_text()):
        for source in match["words"].split()[:-1]:
            for variant in VARIANTS:
                values = {"${CUDA}": variant.cuda, "${PYTHON}": variant.python}
                path = source
                for name, value in values.items():
                    path = path.replace(name, value)
                found.add(path.rstrip("/"))
    return found


class TestContextOfTheCatalog:
    @pytest.mark.parametrize("image", CATALOG.values(), ids=CATALOG)
    def test_holds_every_file_that_the_dockerfile_copies(self, image: Image):
        sent = context_files(image.folder, image.dockerfile)
        for path in copied(image):
            assert any(name == path or name.startswith(f"{path}/") for name in sent), path

    def test_copies_are_found(self):
        assert copied(CATALOG["mlflow"]) == {"requirements.txt"}
        assert "locks/cuda13.1.1-py3.14" in copied(CATALOG["ray-runtime"])

    def test_the_rules_of_the_folder_hold_where_the_dockerfile_has_none(self, tmp_path: Path):
        """As Docker does, and the genuine engine."""
        for name in ("Dockerfile", "a", "b"):
            (tmp_path / name).write_text("FROM scratch\n")
        (tmp_path / ".dockerignore").write_text("a\n")
        assert context_files(tmp_path, tmp_path / "Dockerfile") == ["b"]
        (tmp_path / "Dockerfile.dockerignore").write_text("b\n")
        assert context_files(tmp_path, tmp_path / "Dockerfile") == ["Dockerfile.dockerignore", "a"]
