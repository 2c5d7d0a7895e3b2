"""The devel container, used by OpenSSH's own client: logins, jobs, files, and what ends no session."""

import contextlib
import hashlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("sshd")]

PORT = 20579
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-devel", "subnet": "10.245.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 2, "memory": "3g", "ports": {"dashboard": 20575, "client": 20576}}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": 20577},
    "health": {"port": 20578},
    "devel": {"enabled": True, "port": PORT, "keys": ["keys/ann.pub"], "env": {"WORDS": 'two "quoted" words'}},
}
SECONDS = 120.0
VARIABLES = 'import json, os, ray; print(json.dumps([os.environ["WORDS"], os.getcwd(), os.environ["RAY_ADDRESS"]]))'
PROGRAM = f"python -c {shlex.quote(VARIABLES)}"


@dataclass(frozen=True)
class Person:
    """Somebody with a key and with the host keys that they have seen."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Person":
        folder.mkdir()
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            f"{folder.name}@laptop",
            "-f",
            str(folder / "id"),
        ]
        subprocess.run(command, check=True)
        return cls(folder)

    @property
    def public(self) -> str:
        return (self.folder / "id.pub").read_text()

    @property
    def options(self) -> list[str]:
        """A host key is taken when it is first seen, and never another one."""
        known = f"UserKnownHostsFile={self.folder / 'known'}"
        words = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new", known]
        return ["-F", "none", "-i", str(self.folder / "id"), *(part for word in words for part in ("-o", word))]

    def ssh(self, *command: str) -> list[str]:
        return ["ssh", *self.options, "-p", str(PORT), "cslr@127.0.0.1", *command]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.ssh(*command), capture_output=True, text=True, timeout=SECONDS)

    def said(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def gets_in(self) -> bool:
        return self.run("true").returncode == 0


def answer(url: str) -> int | None:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code
    return None


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person.make(tmp_path_factory.mktemp("people") / "ann")


@pytest.fixture(scope="module")
def ben(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person.make(tmp_path_factory.mktemp("people") / "ben")


@pytest.fixture(scope="module")
def stack(docker_engine: None, ann: Person, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed(
        "live-devel", SETTINGS, tmp_path_factory.mktemp("devel"), files={"keys/ann.pub": ann.public}
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _deployed(stack: LiveStack) -> None:
    """Each test needs it."""


class TestLogin:
    @pytest.mark.parametrize("command", [PROGRAM, f"bash -lc {shlex.quote(PROGRAM)}"], ids=["command", "login shell"])
    def test_has_the_clusters_python_and_the_variables_of_the_container(self, ann, command):
        assert json.loads(ann.said(command)) == ['two "quoted" words', "/home/cslr", "ray://ray-cpu:10001"]

    def test_runs_an_example_on_the_cluster(self, ann):
        assert "ran on ray-cpu" in ann.said("python examples/hello.py")

    def test_submits_a_job(self, ann):
        assert "succeeded" in ann.said("ray job submit --working-dir examples -- python hello.py")

    def test_has_a_terminal(self, ann):
        done = subprocess.run(
            [*ann.ssh()[:1], "-tt", *ann.ssh("tty")[1:]], capture_output=True, text=True, timeout=SECONDS
        )
        assert "/dev/pts/" in done.stdout

    def test_without_a_key_of_the_stack_is_refused(self, ben):
        done = ben.run("true")
        assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
            255, "cslr@127.0.0.1: Permission denied (publickey).",
        )  # fmt: skip

    def test_is_of_the_images_user_alone(self, ann):
        root = [word.replace("cslr@", "root@") for word in ann.ssh("true")]
        assert "Permission denied" in subprocess.run(root, capture_output=True, text=True, timeout=SECONDS).stderr

    def test_two_people_at_once(self, ann):
        both = [subprocess.Popen(ann.ssh("sleep 2; echo in"), stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.communicate(timeout=SECONDS)[0] for process in both] == ["in\n", "in\n"]


class TestFiles:
    def test_go_there_and_back_whole(self, ann, tmp_path):
        """By scp, which speaks sftp."""
        content = hashlib.sha256(b"seed").digest() * 2**18
        (tmp_path / "clip").write_bytes(content)
        place = "cslr@127.0.0.1:/scratch/devel/clip"
        for source, target in ((str(tmp_path / "clip"), place), (place, str(tmp_path / "back"))):
            subprocess.run(["scp", "-q", *ann.options, "-P", str(PORT), source, target], check=True, timeout=SECONDS)
        assert (tmp_path / "back").read_bytes() == content

    def test_of_the_home_are_those_of_nodes(self, stack, ann):
        ann.said("echo seen > ~/from-devel")
        assert stack.container("ray-cpu").exec_run(["cat", "/home/cslr/from-devel"]).output == b"seen\n"


class TestForwarding:
    def test_leads_from_a_laptop_to_the_cluster(self, ann):
        """As VS Code reaches its server there."""
        port = 20574
        tunnel = subprocess.Popen([*ann.ssh()[:-1], "-N", "-L", f"{port}:ray-cpu:8265", "cslr@127.0.0.1"])
        try:
            wait_until(lambda: answer(f"http://127.0.0.1:{port}/api/version") == 401, "an answer of the dashboard")
        finally:
            tunnel.terminate()
            tunnel.wait()

    def test_leads_nobody_into_a_laptop(self, ann):
        remote = [
            *ann.ssh()[:-1],
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            "20573:127.0.0.1:22",
            "cslr@127.0.0.1",
            "true",
        ]
        assert subprocess.run(remote, capture_output=True, timeout=SECONDS).returncode == 255


class TestChanges:
    def test_a_key_that_comes_ends_no_session(self, stack, ann, ben):
        before = stack.container("devel").id
        session = subprocess.Popen(ann.ssh("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        (stack.folder / "keys/ann.pub").write_text(ann.public + ben.public)
        said = stack.ws("up", "--engine", "embedded", "--yes").stdout
        assert "2 keys may log in" in said
        assert ben.gets_in()
        assert session.communicate("still here", timeout=SECONDS)[0] == "still here"
        assert stack.container("devel").id == before

    def test_a_key_that_goes_lets_nobody_in(self, stack, ann, ben):
        """With another container, whose host key must be the same: `ann.options` refuse any other."""
        before = stack.container("devel").id
        assert ann.gets_in()
        (stack.folder / "keys/ann.pub").write_text(ann.public)
        stack.configure({"devel": {"env": {"WORDS": "other"}}})
        stack.ws("up", "--engine", "embedded", "--yes")
        assert stack.container("devel").id != before
        assert not ben.gets_in()
        assert ann.said('echo "$WORDS"') == "other\n"

    def test_killed_it_is_back_by_itself(self, stack, ann):
        stack.container("devel").exec_run(["sh", "-c", "kill -9 $(pgrep -o -x sshd)"])
        wait_until(ann.gets_in, "a login", SECONDS)
        assert stack.container("devel").attrs["RestartCount"] == 1

    def test_the_log_says_who_came_and_not_that_checks_did(self, stack, ann):
        assert ann.gets_in()
        wait_until(lambda: stack.container("devel").attrs["State"]["Health"]["Status"] == "healthy", "health", SECONDS)
        log = stack.container("devel").logs().decode()
        assert "Accepted publickey for cslr" in log
        assert "user cslr 127.0.0.1" not in log
