"""Whatever stands in an argument of `ws`, or in a file that it reads, it ends with a message and never a traceback.

INPUT_EXAMPLES=27 tries all values in each parameter.
"""

import os
import subprocess
import sys

import pytest

from testing.harness import PROJECT
from tests.process.ws.copied_project import STACK, CopiedProject

SECONDS = 280


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return CopiedProject.make(tmp_path_factory.mktemp("hostile"), {})


def run(project: CopiedProject, *words: str) -> "subprocess.CompletedProcess[str]":
    home = project.folder.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "PULUMI_CONFIG_PASSPHRASE": "x",
        "DOCKER_HOST": f"unix://{home}/none.sock", "PYTHONPATH": f"{project.folder}:{PROJECT}",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=project.folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def test_every_argument_and_option_takes_a_value_or_refuses_it(project):
    done = run(project, "testing.hostile_arguments")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "content", [
        b"\xff\xfe", b"config: {cslr:platform: {redis: {port: 010}}}", b"config: '" + b"[" * 100_000 + b"'",
        b"config: {cslr:platform: '" + b"[" * 100_000 + b"'}", b'config: {"cslr:\\e[31mx": 1}',
        b'config: {cslr:cluster: "a\\0b"}',
    ],
)  # fmt: skip
def test_a_hostile_stack_file_is_one_message_of_the_real_command(project, content):
    (project.folder / f"Pulumi.{STACK}.yaml").write_bytes(content)
    done = run(project, "ws", "export", "kuberay", "--stack", STACK)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"Pulumi.{STACK}.yaml: ")
    assert all(line.isprintable() for line in done.stderr.splitlines())
