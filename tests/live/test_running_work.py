"""Changes of a stack with running work: `ws` names the work that they end and asks; other changes end nothing.

One deployment on each engine, in the order of this file; about ten minutes with built images on two cores.
"""

import base64
import contextlib
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from testing.harness import merged
from testing.live.day import Head
from testing.live.deployment import UP_SECONDS, LiveStack, wait_until
from testing.live.users import ENDED, User

DASHBOARD = 30265
MARIMO = {"alice": 30180, "bob": 30181}  # each with notebooks of their own
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-work", "subnet": "10.219.0.0/24"},
    # Without PyTorch, whose checks take minutes beside a job on a small machine.
    "ray": {
        "cpu": {
            "memory": "3g",
            "cpus": 1,
            "torch": False,
            "ports": {"gcs": 30379, "dashboard": DASHBOARD, "client": 30101},
        }
    },
    "redis": {"port": 30381},
    "mlflow": {"port": 30100},
    "postgres": {"port": 30432},
    "marimo": {"port": MARIMO["alice"], "memory": "1g", "users": {"alice": {}, "bob": {}}},
    "health": {"port": 30888},
}
LET_GO = "/tmp/let-go"  # in the node's container: at which the job ends
MORE_MEMORY = {"ray": {"cpu": {"memory": "3200m"}}}
MORE_REDIS = {"redis": {"memory": "1g"}}
# Everything beside the head and the notebooks, at once.
BESIDE = {service: {"env": {"LIVE_TEST": "1"}} for service in ("health", "keeper", "mlflow", "postgres", "redis")}
NOTEBOOK = (
    "import marimo\napp = marimo.App()\n@app.cell\ndef _():\n    return\nif __name__ == '__main__':\n    app.run()\n"
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=["embedded", pytest.param("pulumi", marks=pytest.mark.pulumi)])
def engine(request) -> str:
    if request.param == "pulumi" and shutil.which("pulumi") is None:
        pytest.skip("needs the Pulumi CLI, which is not on PATH")
    return str(request.param)


@pytest.fixture(scope="module")
def stack(docker_engine: None, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    home = tmp_path_factory.mktemp(f"work-{engine}")
    stack = LiveStack.make(f"live-work-{engine}", SETTINGS, home)
    stack.remove()
    with pytest.MonkeyPatch.context() as environment:
        if engine == "pulumi":
            (home / "backend").mkdir()
            (stack.folder / ".venv").symlink_to(sys.prefix)
            environment.setenv("PULUMI_BACKEND_URL", f"file://{home / 'backend'}")
            environment.setenv("PULUMI_CONFIG_PASSPHRASE", "live")
        try:
            done = stack.ws("up", "--engine", engine)
            assert done.returncode == 0, done.stdout
            yield stack
        finally:
            stack.remove()


@pytest.fixture(scope="module")
def user(stack: LiveStack) -> User:
    return User(dashboard=f"http://127.0.0.1:{DASHBOARD}", token=stack.secrets()["ray-token"].strip())


@pytest.fixture
def up(stack: LiveStack, engine: str) -> Callable[..., tuple[int, str]]:
    """Runs `ws up` without a terminal, on the stack's settings with changes as overrides."""

    def run(*arguments: str, changes: dict[str, Any] | None = None) -> tuple[int, str]:
        stack.configure(changes or {})
        done = stack.ws("up", "--engine", engine, *arguments)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def job(user: User) -> Iterator[str]:
    """A job that keeps the cluster's state busy."""
    job = user.submit("state", 3000)
    wait_until(lambda: beats(user, job) > 2, "that the job counts", 120)
    yield job
    with contextlib.suppress(requests.ConnectionError):  # the stack is gone, and the job with it
        if user.status(job) not in ENDED:
            user.stop(job)
            user.wait(job)


def beats(user: User, job: str) -> int:
    found = re.findall(r"^beat (\d+)", user.log(job), re.MULTILINE)
    return int(found[-1]) if found else 0


def goes_on(user: User, job: str) -> None:
    """The job has lost nothing, and counts on."""
    before = beats(user, job)
    wait_until(lambda: beats(user, job) > before + 3, "that the job counts on", 60)
    assert user.status(job) == "RUNNING", user.job(job).said


def away(stack: LiveStack) -> float:
    """Seconds for which Redis was away last, as the head's relay says."""
    log = stack.container("ray-cpu").logs().decode(errors="replace")
    return float(re.findall(r"Redis was away for ([\d.]+) s", log)[-1])


class TestRefused:
    def test_without_a_terminal_a_job_and_a_notebook_are_not_ended(self, up, stack, user, job):
        before = stack.ids()
        with notebook(stack, "alice", "foo.py"), notebook(stack, "bob", "foo.py"):
            code, said = up(changes=merged(MORE_MEMORY, {"marimo": {"users": {"alice": {"memory": "1100m"}}}}))
        assert code == 1
        assert "1 running job would end: ray-cpu is replaced (memory 3g → 3200m)" in said
        assert f"{job}: python state.py 3000" in said
        assert "1 notebook session would end: marimo-alice is replaced (memory 1g → 1100m)" in said
        assert "notebook foo.py" in said
        assert "Nothing was changed" in said
        assert re.search(r"ws up -s \S+ --engine \w+ --drain 2h", said)
        assert stack.ids() == before
        goes_on(user, job)

    def test_a_persons_token_opens_nobody_elses_notebooks(self, stack):
        alice, bob = notebook(stack, "alice", "foo.py"), notebook(stack, "bob", "foo.py")
        assert alice.sessions().status_code == 200
        assert requests.get(bob.url("/api/sessions"), auth=alice.login, timeout=10).status_code == 401

    def test_the_preview_says_it_and_so_does_its_json(self, stack, engine, job):
        stack.configure(MORE_MEMORY)
        assert "1 running job would end" in stack.ws("preview", "--engine", engine).stdout
        assert f'"id": "{job}"' in stack.ws("preview", "--engine", engine, "--json").stdout

    def test_an_up_that_changes_nothing_asks_nothing(self, up, stack, job):
        before = stack.ids()
        code, said = up()
        assert code == 0, said
        assert "Nothing to change" in said
        assert "Service" in said, "the table of services"
        assert stack.ids() == before

    @pytest.mark.parametrize("arguments", [(), ("--volumes",)])
    def test_nor_is_the_stack_taken_down(self, stack, job, arguments):
        before = stack.ids()
        down = stack.ws("down", *arguments)
        assert down.returncode == 1
        assert "would end: the stack is taken down" in down.stdout
        assert stack.ids() == before


class TestRedis:
    def test_is_replaced_under_a_job_that_loses_nothing(self, up, stack, user, job):
        before, head = stack.ids(), Head.seen(stack.container("ray-cpu"))
        code, said = up(changes=MORE_REDIS)
        assert code == 0, said
        assert "redis is replaced (memory 512m → 1g); running work continues" in said
        after = stack.ids()
        assert {service for service in after if after[service] != before[service]} == {"redis"}
        assert Head.seen(stack.container("ray-cpu")) == head
        goes_on(user, job)
        print(f"Redis was away for {away(stack):.1f} s; {user.log(job).splitlines()[-1]}")  # noqa: T201 (pytest -rP)

    def test_the_fence_holds_after_that(self, stack):
        """The head's present user alone is there, and it is a new one."""
        password = stack.secrets()["redis-password"].strip()
        _, users = stack.exec("redis", "redis-cli", "--no-auth-warning", "-a", password, "acl", "list")
        assert len(re.findall(r"^user ray[:-]", users, re.MULTILINE)) <= 1, users

    def test_with_all_others_beside_the_head_it_is_replaced_under_a_job(self, up, stack, user, job):
        before, head = stack.ids(), Head.seen(stack.container("ray-cpu"))
        code, said = up(changes=merged(MORE_REDIS, BESIDE))
        assert code == 0, said
        after = stack.ids()
        assert {service for service in after if after[service] != before[service]} == set(BESIDE)
        assert Head.seen(stack.container("ray-cpu")) == head
        goes_on(user, job)

    def test_that_is_away_for_a_minute_is_waited_for(self, stack, user, job):
        head, redis = Head.seen(stack.container("ray-cpu")), stack.container("redis")
        redis.stop()
        time.sleep(60)
        redis.start()
        goes_on(user, job)
        assert Head.seen(stack.container("ray-cpu")) == head
        assert away(stack) > 60

    def test_with_other_data_it_would_end_the_job(self, up, stack, job):
        before = stack.ids()
        code, said = up(changes={"redis": {"data": "cslr-live-work-other"}})
        assert code == 1
        assert "1 running job would end: redis is replaced" in said
        assert "starts without its data" in said
        assert stack.ids() == before


class TestDrain:
    def test_that_takes_too_long_changes_nothing(self, up, stack, job):
        before = stack.ids()
        code, said = up("--drain", "3s", changes=merged(MORE_REDIS, BESIDE, MORE_MEMORY))
        assert code == 1
        # The time that passed: a little more than was given, where the machine is busy.
        assert re.search(rf"Nothing was changed: not ended after [3-9] s: 1 running job\n    {job}", said), said
        assert stack.ids() == before

    def test_waits_for_the_job_and_then_replaces_the_node(self, stack, engine, user):
        before, short = stack.ids(), user.submit("state", 600, LET_GO)
        wait_until(lambda: beats(user, short) > 0, "that the job counts", 120)
        stack.configure(merged(MORE_REDIS, BESIDE, MORE_MEMORY))
        with stack.ws_started("up", "--engine", engine, "--drain", "5m") as run:
            assert run.stdout
            said = run.stdout.readline()
            while "Waiting for 1 running job" not in said and (line := run.stdout.readline()):
                said += line
            assert "Waiting for 1 running job" in said, said
            assert stack.ids() == before
            assert user.status(short) == "RUNNING", user.job(short).said
            assert stack.exec("ray-cpu", "touch", LET_GO)[0] == 0
            rest, _ = run.communicate(timeout=UP_SECONDS)
        said += rest
        assert run.returncode == 0, said
        assert "All work has ended" in said
        after = stack.ids()
        assert after["ray-cpu"] != before["ray-cpu"]
        assert "kept:" in user.log(short)


class TestRestartOfTheHead:
    def test_ends_a_job_and_says_so_to_all_who_ask(self, stack, engine, user, job):
        stack.container("ray-cpu").restart()

        def has_failed() -> bool:
            try:
                return bool(user.status(job) == "FAILED")
            except (requests.RequestException, AssertionError):  # the dashboard starts
                return False

        wait_until(has_failed, "that Ray fails the job", 120)
        stack.configure(MORE_MEMORY)
        preview = stack.ws("preview", "--engine", engine)
        assert "memory: " in preview.stdout
        assert "would end" not in preview.stdout, preview.stdout


def test_with_yes_the_stack_is_taken_down_under_a_job(stack, job):
    down = stack.ws("down", "--volumes", "--yes")
    assert down.returncode == 0, down.stdout
    assert re.search(r"^1 running job.* would end: the stack is taken down$", down.stdout, re.MULTILINE), down.stdout
    assert re.search(r"- \S+-redis-data: [\d.]+ [kMG]?B", down.stdout), down.stdout
    assert stack.containers() == {}


class notebook:  # noqa: N801 (a context manager)
    """A notebook that the browser of a person has open."""

    def __init__(self, stack: LiveStack, person: str, name: str) -> None:
        text = base64.b64encode(NOTEBOOK.encode()).decode()
        stack.exec(f"marimo-{person}", "sh", "-c", f"echo {text} | base64 -d > /workspace/notebooks/{name}")
        self.login = ("live", stack.secrets()[f"marimo-token-{person}"].strip())
        self.name, self.port = name, MARIMO[person]

    def __enter__(self) -> None:
        key, authorization = (
            base64.b64encode(part).decode() for part in (os.urandom(16), ":".join(self.login).encode())
        )
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        lines = (
            f"GET /ws?session_id=s_livework&file={self.name} HTTP/1.1", f"Host: 127.0.0.1:{self.port}",
            "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
            f"Authorization: Basic {authorization}", "", "",
        )  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        wait_until(lambda: self.name in self.sessions().text, "that the notebook is open", 30)

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        shutdown = {"sessionId": "s_livework"}
        requests.post(self.url("/api/home/shutdown_session"), json=shutdown, auth=self.login, timeout=10)

    def sessions(self) -> requests.Response:
        return requests.get(self.url("/api/sessions"), auth=self.login, timeout=10)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"
