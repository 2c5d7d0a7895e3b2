"""Whatever stands in a stack file or a cluster file, a command ends with a plan or with one clear message.

INPUT_EXAMPLES=10000 tries more, and other ones each time.
"""

import os
import resource
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from config import encryption
from config.problems import ConfigError, SettingsError
from coordination.printable import printable
from images.dockerfile_syntax import DockerfileError
from stack.env_secrets import EnvSecrets
from stack.secrets import SecretError
from testing.hostile_files import EXAMPLES, FORM, SNIPPETS, hostile
from ws.stack_settings import StackSettings

PROJECT = Path(__file__).parents[3]
STACKS = tuple((PROJECT / f"Pulumi.{name}.yaml").read_bytes() for name in ("dev", "gpu", "matrix"))
CLUSTER = (PROJECT / "cluster.example.yaml").read_bytes()
MEMBER = b"config:\n  cslr:cluster: %s\n  cslr:host: alpha\n  cslr:platform: {redis: {env: {A: b}}}\n"
SECONDS = 5
MEBIBYTES = 300
pytestmark = pytest.mark.timeout(60 + EXAMPLES // 5)
REFUSALS = (ConfigError, SettingsError, SecretError, DockerfileError)
ENVIRONMENT = {"PULUMI_CONFIG_PASSPHRASE": "correct horse"}
FORM = settings(FORM, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(encryption, "ITERATIONS", 10)
    monkeypatch.setattr("ws.stack_settings.FOLDER", project)
    (project / "Pulumi.yaml").write_text("name: cslr\n")
    return project


def read() -> None:
    """All that a preview reads before it looks at the host."""
    opened = StackSettings.read("dev", ENVIRONMENT)
    opened.builds  # noqa: B018
    if opened.matrix is None:
        stack = opened.previewed
        EnvSecrets.resolve(
            opened.deployable, stack.files, stack.config, stack="dev", stack_file=stack.file, strict=False
        )
        stack.secrets(opened.membership)


def outcome(folder: Path) -> str:
    """The message, or nothing for a plan; asserts what holds for both."""
    before = snapshot(folder.parent)
    began, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = ""
    try:
        read()
    except REFUSALS as error:
        said = str(error)
        assert said.startswith(("Pulumi.", str(folder)))
        assert said == printable(said)
    assert time.process_time() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < MEBIBYTES * 1024
    assert snapshot(folder.parent) == before
    return said


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@FORM
@given(hostile(*STACKS))
def test_of_a_stack_file_the_outcome_is_a_plan_or_one_message(folder, content):
    (folder / "Pulumi.dev.yaml").write_bytes(content)
    outcome(folder)


@FORM
@given(hostile(CLUSTER))
def test_of_a_cluster_file_the_outcome_is_a_plan_or_one_message(folder, content):
    (folder / "Pulumi.dev.yaml").write_bytes(MEMBER % str(folder / "cluster.yaml").encode())
    (folder / "cluster.yaml").write_bytes(content)
    outcome(folder)


@pytest.mark.parametrize("key", ["platform", "cluster", "matrix", "host", "envSecrets", "redisPassword", "preflight"])
def test_every_key_of_the_config_takes_a_value_or_refuses_it(folder, key):
    for snippet in SNIPPETS:
        (folder / "Pulumi.dev.yaml").write_bytes(b"config:\n  cslr:%s: %s\n" % (key.encode(), snippet))
        outcome(folder)


class TestNumbers:
    """One that programs read as different numbers is none."""

    @pytest.mark.parametrize("number", ["010", "0o17", "12:30", "6_381", "1:30.5", "1e3", "08", "!!int 12:30"])
    def test_that_are_ambiguous_are_refused(self, folder, number):
        (folder / "Pulumi.dev.yaml").write_text(f"config:\n  cslr:platform: {{redis: {{port: {number}}}}}\n")
        assert "as different numbers" in outcome(folder)

    @pytest.mark.parametrize("text", ["'010'", "1000:1000", "0:0", '"12:30"', "3.14", "10.0.0.1", "v1:ab", "1e", "-"])
    def test_that_are_not_are_taken(self, folder, text):
        (folder / "Pulumi.dev.yaml").write_text(f"config:\n  cslr:platform: {{redis: {{env: {{A: {text}}}}}}}\n")
        assert "as different numbers" not in outcome(folder)

    @pytest.mark.parametrize("value", ["'\u0663'", "'1_0'", "' 2'", "true", ".nan", "'inf'", "'1e400'"])
    def test_of_cores_have_decimal_digits(self, folder, value):
        text = f"config:\n  cslr:platform: {{ray: {{cpu: {{cpus: {value}}}}}}}\n"
        (folder / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
        assert "ray.cpu.cpus" in outcome(folder)


class TestFilesThatAreNone:
    """A read of one would never end, or would fill the memory."""

    @staticmethod
    def make(path: Path, kind: str) -> None:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "nowhere":
            path.symlink_to("nowhere")
        else:
            with path.open("wb") as file:
                file.truncate(2**40)

    KINDS = ("pipe", "device", "folder", "loop", "nowhere", "huge")

    @pytest.mark.parametrize("kind", KINDS)
    def test_are_refused_as_stack_file(self, folder, kind):
        self.make(folder / "Pulumi.dev.yaml", kind)
        assert outcome(folder).startswith("Pulumi.dev.yaml: ")

    @pytest.mark.parametrize("kind", KINDS)
    def test_are_refused_as_project_file(self, folder, kind):
        (folder / "Pulumi.yaml").unlink()
        self.make(folder / "Pulumi.yaml", kind)
        (folder / "Pulumi.dev.yaml").write_text("")
        assert outcome(folder).startswith("Pulumi.yaml: cannot be read")

    @pytest.mark.parametrize("kind", KINDS)
    def test_are_refused_as_cluster_file(self, folder, kind):
        (folder / "Pulumi.dev.yaml").write_bytes(MEMBER % str(folder / "cluster.yaml").encode())
        self.make(folder / "cluster.yaml", kind)
        assert "cluster.yaml" in outcome(folder)

    @pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
    def test_are_refused_as_lock_of_packages(self, folder, kind):
        platform: dict[str, object] = {"images": {"packages": ["six"]}}
        file = folder / "Pulumi.dev.yaml"
        file.write_text(yaml.safe_dump({"config": {"cslr:platform": platform}}))
        self.make(folder / "Pulumi.dev.packages.txt", kind)
        assert "not a regular file" in outcome(folder)


def test_control_characters_in_a_message_are_escaped(folder):
    (folder / "Pulumi.dev.yaml").write_text('config:\n  "cslr:\\e[31mx": 1\n')
    assert "\\x1b[31mx: unknown key" in outcome(folder)
