"""Everyday work on the whole platform: it ends no other user's job, loses no result, and health reports the truth.

One deployment serves all cases, in the order of this file; about seven minutes on two cores with built images. All
cases, with the sizes of the reports that they come from: ``DAILY_WORK=long``.
"""

import base64
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from contracts.mlflow_login import ADMIN, ADMIN_SECRET
from entrypoints.verify_cluster import make_wheel, remove_wheel
from testing.harness import PROJECT, merged
from testing.live.day import Day, Head
from testing.live.deployment import FULL, LiveStack, deployed, wait_until
from testing.live.users import PROGRAMS, Job, User

pytestmark = pytest.mark.live

LONG = os.environ.get("DAILY_WORK") == "long"
DASHBOARD = 29265
HEALTH = 29888
MLFLOW = 25100
NOTEBOOK_SECONDS = 300
# The sizes of the default node; the scratch is small, so that filling it takes no minutes.
SETTINGS: dict[str, Any] = merged(
    FULL,
    {
        "network": {"name": "cslr-live-daily", "subnet": "10.215.0.0/24"},
        "ray": {
            "scratch_limit": "4500m",
            "cpu": {"memory": "6g", "ports": {"dashboard": DASHBOARD, "client": 20101}},
        },
        "redis": {"port": 29381},
        "postgres": {"port": 25433},
        "mlflow": {"port": MLFLOW, "logins": True},  # as a new stack has
        "marimo": {"port": 28180},
        "health": {"port": HEALTH},
    },
)
MORE_MEMORY = {"ray": {"cpu": {"memory": "6200m"}}}
EXPERIMENT = "daily-work"
READ_ONLY_FOLDER = "/opt"
TUTORIAL = PROJECT / "docs" / "tutorial.md"
NO_ROOM = r"No space left on device|Disk quota exceeded"
NAMED = "scratch full"
ENDED = r"out of memory: process \d+ took"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A user's program, and how it ends."""

    program: str
    arguments: tuple[object, ...] = ()
    says: str = ""  # a regular expression that what its user sees has
    ends: str = "SUCCEEDED"
    at_once: int = 1  # how many of them
    seconds: float = 180.0
    long: bool = False

    @property
    def name(self) -> str:
        return "-".join([self.program, *map(str, self.arguments), *([f"{self.at_once}x"] if self.at_once > 1 else [])])


def cases(*table: Case) -> pytest.MarkDecorator:
    """Parametrizes a test with those cases that are to be run."""
    return pytest.mark.parametrize(
        "case", [case for case in table if LONG or not case.long], ids=lambda case: case.name
    )


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    signs = tmp_path_factory.mktemp("signs")
    signs.chmod(0o755)
    (signs / "one").write_text("a sign")
    settings = merged(SETTINGS, {"datasets": {"signs": {"source": str(signs)}}})
    with deployed("live-daily", settings, tmp_path_factory.mktemp("daily")) as stack:
        yield stack


@pytest.fixture(scope="module")
def day(stack: LiveStack) -> Iterator[Day]:
    user = User(dashboard=f"http://127.0.0.1:{DASHBOARD}", token=stack.secrets()["ray-token"].strip())
    day = Day(user=user, health=f"http://127.0.0.1:{HEALTH}", head=stack.container("ray-cpu"))
    yield day
    if day.heartbeat:
        user.stop(day.heartbeat)


def judge(case: Case, day: Day) -> None:
    """Runs a case, and nothing but that case may end."""
    with day.undisturbed():
        jobs = [day.user.submit(case.program, *case.arguments) for _ in range(case.at_once)]
        ended = [day.user.wait(job, case.seconds) for job in jobs]
        for job in ended:
            assert job.status == case.ends, job.said
            assert re.search(case.says, job.said), job.said


class TestDataset:
    def test_is_read_where_it_is_and_not_changed(self, day):
        job = day.user.run("dataset", "signs")
        assert "dataset: a sign, EROFS" in job.log, job.said

    def test_is_there_for_notebooks(self, stack):
        assert stack.exec("marimo", "cat", "/data/signs/one") == (0, "a sign")


class TestTutorial:
    """docs/tutorial.md, as its reader follows it on a deployed stack."""

    @pytest.fixture(scope="class")
    def checkout(self, stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder with `bin/ws`, which has this stack in place of `dev`."""
        folder = tmp_path_factory.mktemp("checkout")
        (folder / "bin").mkdir()
        ws = folder / "bin" / "ws"
        start = f'cd "{stack.folder}" && exec "{stack.python}" -m ws'
        ws.write_text(
            f'#!/bin/sh\ncommand=$1\nshift\n[ $command != user ] || {{ {start} user "$@" --stack {stack.name}; }}\n'
            f'{start} "$command" --stack {stack.name} "$@"\n'
        )
        ws.chmod(0o755)
        return folder

    def test_leads_to_a_registered_model(self, stack, checkout):
        blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
        assert blocks[0] == "make up\n", "which the fixture has done"
        script = "".join(blocks[1:])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=checkout, env=stack.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-20_000:]
        for said in (
            "task 3 ran on ray-cpu",
            "trained: ",
            "searched: 3 trials, 0 failed",
            "named: 24 clips",
            "checked: ",
        ):
            assert said in done.stdout
        assert "registered: signs version 1 is champion, of the run signs" in done.stdout


class TestNotebooks:
    """The example notebooks, each run from top to bottom as a script where people open them, in the order of the page.

    (`marimo export html` does not end after a notebook with Ray's client.)
    """

    @staticmethod
    def ran(stack: LiveStack, notebook: str) -> str:
        """Runs a notebook. Returns its output."""
        program = f"cd notebooks/examples && exec timeout {NOTEBOOK_SECONDS} python {notebook}.py"
        code, said = stack.exec("marimo", "sh", "-c", program)
        assert code == 0, said[-20_000:]
        return said

    def test_show_the_nodes_and_tasks_that_ran_on_them(self, stack):
        assert "task 3 ran on ray-cpu" in self.ran(stack, "1_hello")

    def test_train_a_model_that_mlflow_and_the_checkpoints_have(self, stack):
        self.ran(stack, "2_train")
        (run,) = runs(stack, "signs", "attributes.run_name = 'notebook'")
        assert run["info"]["status"] == "FINISHED"
        history = mlflow(stack, "GET", "metrics/get-history", run_id=run["info"]["run_id"], metric_key="accuracy")[
            "metrics"
        ]
        assert [each["step"] for each in history] == [*range(8)]
        assert history[-1]["value"] > 1 / 3, "better than a guess"
        assert len(run["outputs"]["model_outputs"]) == 1
        assert stack.exec("ray-cpu", "sh", "-c", "ls ~/ray_results/notebook/checkpoint_*/state.pt | wc -l")[1] == "2\n"

    def test_search_with_trials_of_their_own_settings(self, stack):
        self.ran(stack, "3_search")
        _, folders = stack.exec("marimo", "sh", "-c", "ls -d ~/ray_results/notebook-search/trial_*")
        found = runs(stack, "signs-search", "attributes.status = 'FINISHED'")
        own = [run for run in found if f"/{run['info']['run_name']}_" in folders]
        rates = {each["value"] for run in own for each in run["data"]["params"] if each["key"] == "rate"}
        assert len(rates) == len(own) == 4
        assert all(metric(run, "loss") > 0 for run in own)

    def test_recognize_all_clips(self, stack):
        self.ran(stack, "4_infer")
        read = "import pandas; t = pandas.read_parquet('/home/cslr/ray_results/notebook-named')"
        shown = f"{read}; print(len(t), set(t.named) <= set(t.sign), t.certainty.between(1 / 3, 1).all())"
        assert stack.exec("marimo", "python", "-c", shown) == (0, "24 True True\n")

    def test_register_the_best_model_as_champion(self, stack):
        assert "is champion, of the run " in self.ran(stack, "5_registry")
        best = max(
            runs(stack, "signs", "attributes.status = 'FINISHED'"),
            key=lambda r: (metric(r, "accuracy"), -metric(r, "loss")),
        )
        version = mlflow(stack, "GET", "registered-models/alias", name="signs", alias="champion")["model_version"]
        assert version["run_id"] == best["info"]["run_id"]
        assert version["status"] == "READY"


class TestObjects:
    @cases(
        Case(program="objects", arguments=("put", 48, 64), says="48 read again"),
        Case(program="objects", arguments=("returned", 24, 64), says="24 read again"),
        Case(program="objects", arguments=("actor", 24, 64), says="24 read again", long=True),
        Case(program="objects", arguments=("put", 20, 64), says="20 read again", at_once=2),
        Case(program="objects", arguments=("put", 1, 1500), says="1 read again", long=True),
        Case(program="objects", arguments=("put", 3000, 1), says="3000 read again", long=True),
        Case(program="closure", arguments=(4, 60), says="dragged: 4", long=True),
    )
    def test_kept_are_read_again(self, case, day):
        judge(case, day)


class TestOutput:
    @cases(
        Case(program="prints", arguments=("task", 1300), says="printed: 1300"),
        Case(program="prints", arguments=("driver", 1000), says="printed: 1000"),
        Case(program="prints", arguments=("actor", 400), says="printed: 400", long=True),
        Case(program="prints", arguments=("stderr", 400), says="printed: 400", long=True),
        Case(program="prints", arguments=("subprocess", 400), says="printed: 400", long=True),
    )
    def test_by_the_gigabyte_is_only_output(self, case, day, stack):
        judge(case, day)
        assert used(stack) < 1.2e9, "what was printed is not kept without bound"

    def test_that_was_printed_costs_no_memory(self, day, stack):
        """The report's second half: the node, idle again, has room for a task of 1.8 GB."""
        with day.undisturbed():
            job = day.user.run("memory", "fast", 1.8)
            assert "took: 1932735283" in job.log, job.said


class TestFiles:
    @pytest.mark.parametrize("service", ["ray-cpu", "marimo"])
    def test_that_fill_tmp_end_for_want_of_room_and_nothing_else(self, service, day, stack):
        with day.undisturbed():
            code, said = stack.exec(service, "sh", "-c", "head -c 3300000000 /dev/zero > /tmp/big")
            job = day.user.run("small")
            stack.exec(service, "rm", "-f", "/tmp/big")
        assert code != 0
        assert re.search(NO_ROOM, said), said
        assert "small: FINE" in job.log, job.said

    @cases(
        Case(program="files", arguments=("home", 500), says="written: 500 MB"),
        Case(program="files", arguments=("temporary", 500), says="written: 500 MB", long=True),
        Case(program="files", arguments=("/tmp", 1000), says=NO_ROOM, ends="FAILED"),
        Case(program="files", arguments=("/dev/shm", 6000), says=NO_ROOM, ends="FAILED", long=True),
        Case(program="files", arguments=(READ_ONLY_FOLDER, 1), says="Read-only file system", ends="FAILED", long=True),
    )
    def test_are_written_where_there_is_room(self, case, day):
        judge(case, day)


class TestScratchIsFull:
    @cases(
        Case(program="objects", arguments=("put", 100, 64)),
        Case(program="objects", arguments=("returned", 100, 64), long=True),
        Case(program="files", arguments=("temporary", 6000), long=True),
    )
    def test_costs_the_job_that_filled_it(self, case, day, stack):
        with day.undisturbed():
            job = day.user.wait(day.user.submit(case.program, *case.arguments), case.seconds)
            assert job.status in ("STOPPED", "FAILED"), job.said
            assert f"ray-cpu: {NAMED}" in job.said, job.said
            wait_until(lambda: any(NAMED in told for told in day.told), f"that health says {NAMED}", 10)
        wait_until(lambda: used(stack) < 3e9, "that the room is given back", 120)


class TestMemoryIsFull:
    """Each asks for more than the node has. The task fails, with a reason; its driver and everything else continue."""

    @cases(
        Case(program="memory", arguments=("fast", 12), says=ENDED),
        Case(program="memory", arguments=("slow", 12), says=ENDED),
        Case(program="memory", arguments=("python_child", 12), says=ENDED),
        Case(program="memory", arguments=("shell_child", 12)),
        Case(program="memory", arguments=("shm_file", 8), says=f"{NO_ROOM}|{ENDED}"),
        Case(program="memory", arguments=("shm_module", 8), says=r"failed: \w+"),
        Case(program="memory", arguments=("eight", 3), says=ENDED, seconds=300),
        Case(program="memory", arguments=("actor", 12), says=ENDED, long=True),
        Case(program="memory", arguments=("slow", 12), says=ENDED, at_once=2, long=True),
    )
    def test_ends_the_task_that_took_it_with_the_reason(self, case, day):
        judge(replace(case, says=rf"(?s)^(?=.*({case.says}))(?=.*the driver lives on)"), day)

    @cases(Case(program="memory", arguments=("driver", 12), says=ENDED, ends="FAILED"))
    def test_ends_the_job_that_took_it(self, case, day):
        judge(case, day)

    def test_by_hand_in_the_node_ends_that_process(self, day, stack):
        with day.undisturbed():
            code, _ = stack.exec("ray-cpu", "python", "-c", f"b'1' * {12 * 2**30}")
        assert code not in (0, 1), "killed, or it would not have taken the memory"


class TestLoader:
    @cases(
        Case(program="loader", arguments=("driver",), says="loaded: 8"),
        Case(program="loader", arguments=("task",), says="loaded: 8"),
        Case(program="loader", arguments=("actor",), says="loaded: 8"),
        Case(program="loader", arguments=("task", 24), says="loaded: 24", at_once=2, long=True),
    )
    def test_with_workers_loads_clips_after_the_object_store_was_full(self, case, day):
        judge(case, day)

    def test_with_workers_loads_clips_in_a_notebook(self, day, stack):
        with day.undisturbed():
            code, said = in_marimo(stack, "notebook.py")
        assert code == 0, said


class TestOwnPackages:
    @pytest.fixture(scope="class")
    def wheel(self, tmp_path_factory) -> Iterator[tuple[str, bytes]]:
        """A package that no image has, as a file beside the job's program."""
        wheel = Path(make_wheel("daily_work", f"1.{time.time_ns()}"))
        yield wheel.name, wheel.read_bytes()
        remove_wheel(str(wheel))

    @pytest.mark.parametrize("tool", ["uv", "pip"])
    def test_of_a_job_are_there_and_the_libraries_of_the_image_stay(self, tool, wheel, day):
        name, content = wheel
        environment = {tool: [f"${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{name}"]}
        with day.undisturbed():
            took = []
            for _ in range(2):
                began = time.monotonic()
                job = day.user.run("package", "daily_work", runtime_env=environment, files={name: content})
                took.append(time.monotonic() - began)
                assert re.search(r"(?s)package: 1\..*torch.*driver: 1\.", job.log), job.said
        assert took[1] < 30, f"the second use takes seconds: {took}"

    def test_that_do_not_exist_fail_the_job_with_their_name(self, day):
        with day.undisturbed():
            job = day.user.run("package", "x", runtime_env={"uv": ["no-such-package-of-cslr==1.2.3"]})
        assert job.status == "FAILED", job.said
        assert "no-such-package-of-cslr" in job.said


class TestTracking:
    @cases(
        Case(program="tracking", arguments=(EXPERIMENT, "model", "image", "figure", "table"), says="run: "),
        Case(program="tracking", arguments=(EXPERIMENT, "forest", "metrics"), says="run: ", at_once=2, long=True),
    )
    def test_takes_models_with_examples_images_and_figures(self, case, day):
        judge(case, day)


class TestUploads:
    COUNT = 200 if LONG else 3

    def test_of_a_changed_folder_leave_the_state_of_the_cluster_small(self, day, stack):
        before = stack.container("redis").attrs["State"]["StartedAt"]
        with day.undisturbed():
            for number in range(self.COUNT):
                changed = {"weights.bin": os.urandom(2**20) * 95, "number": str(number).encode()}
                job = day.user.run("small", files=changed)
                assert "small: FINE" in job.log, job.said
        redis = stack.container("redis")
        assert (redis.attrs["State"]["StartedAt"], redis.attrs["RestartCount"]) == (before, 0)
        assert redis_memory(stack) < 100e6


class TestResults:
    """What was saved is there after the container was restarted, killed, and replaced."""

    @pytest.fixture(scope="class")
    def saved(self, day) -> Job:
        """Ray Tune and Train ran; the log of the first is kept as well."""
        tuned, trained = (day.user.submit(program, "daily") for program in ("tuning", "training"))
        ended = [day.user.wait(job, 300) for job in (tuned, trained)]
        assert all(job.succeeded for job in ended), [job.said for job in ended]
        first: Job = ended[0]
        return first

    @staticmethod
    def still_there(saved: Job, day: Day, stack: LiveStack) -> None:
        again = day.user.run("tuning", "daily", "read")
        assert "tuned: /home/cslr/ray_results/daily" in again.log, again.said
        code, found = stack.exec("marimo", "sh", "-c", "ls ~/ray_results/daily/*/model.pt")
        assert code == 0, found
        assert "tuned: " in day.user.log(saved.id), "the log of a job before the restart"
        assert "tuned: " in stack.exec("ray-cpu", "ray", "job", "logs", saved.id)[1]

    def test_at_the_default_place_outlive_a_restart(self, saved, day, stack):
        """The 31st in this session, as far as Ray can see: each took a number for its log files."""
        before = Head.seen(day.head)
        names = "cd /scratch/ray-cpu/ray/session_latest/logs && touch $(seq -f 'gcs_server.%g.out' 30)"
        assert stack.exec("ray-cpu", "sh", "-c", names)[0] == 0
        day.head.restart()
        day.is_up_again(before)
        self.still_there(saved, day, stack)

    @pytest.mark.only_with("DAILY_WORK=long", LONG)
    def test_outlive_a_node_that_was_killed(self, saved, day, stack):
        before = Head.seen(day.head)
        stack.exec("ray-cpu", "python", "-c", "import os; os.kill(1, 15)")
        day.is_up_again(before)
        self.still_there(saved, day, stack)

    def test_outlive_a_container_that_was_replaced(self, saved, day, stack):
        stack.configure(MORE_MEMORY)
        assert stack.up().ok
        day.head = stack.container("ray-cpu")
        self.still_there(saved, day, stack)
        stack.configure()


def mlflow(stack: LiveStack, method: str, path: str, **parameters: Any) -> Any:
    """What MLflow's REST API answers to its account with all rights."""
    url, query, body = f"http://127.0.0.1:{MLFLOW}/api/2.0/mlflow/{path}", parameters, None
    if method == "POST":
        query, body = {}, parameters
    login = (ADMIN, stack.secrets()[ADMIN_SECRET].strip())
    answer = requests.request(method, url, params=query, json=body, auth=login, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def runs(stack: LiveStack, experiment: str, condition: str) -> list[dict[str, Any]]:
    """The runs of an experiment that a filter lets through."""
    found = mlflow(stack, "GET", "experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
    answered: list[dict[str, Any]] = mlflow(stack, "POST", "runs/search", experiment_ids=[found], filter=condition)[
        "runs"
    ]
    return answered


def metric(run: dict[str, Any], name: str) -> float:
    """The last value of a run's metric."""
    return next(float(each["value"]) for each in run["data"]["metrics"] if each["key"] == name)


def used(stack: LiveStack) -> float:
    """Bytes of the scratch folder's disk."""
    return 1024 * float(stack.heard("ray-cpu", "du", "-sk", "/scratch")[1].split()[-2])


def redis_memory(stack: LiveStack) -> float:
    """Bytes that Redis takes with its data."""
    password = stack.secrets()["redis-password"].strip()
    _, said = stack.exec("redis", "redis-cli", "--no-auth-warning", "-a", password, "info", "memory")
    return float(re.findall(r"used_memory:(\d+)", said)[0])


def in_marimo(stack: LiveStack, notebook: str) -> tuple[int, str]:
    """Runs a notebook as Marimo runs it, in its container. Its exit code and output."""
    text = base64.b64encode((PROGRAMS / notebook).read_bytes()).decode()
    at = f"/workspace/notebooks/{notebook}"
    export = f"python -m marimo export html {at} --output /tmp/run.html"
    command = f"echo {text} | base64 -d > {at} && {export}; status=$?; rm -f {at} /tmp/run.html; exit $status"
    return stack.exec("marimo", "sh", "-c", command)
