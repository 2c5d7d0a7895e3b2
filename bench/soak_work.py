"""The users' work in the soak: a table of kinds of work, each with its entries in the ledger."""

import base64
import hashlib
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from bench.soak_ledger import Entry, Ledger
from entrypoints.verify_cluster import make_wheel, remove_wheel
from testing.live.deployment import LiveStack
from testing.live.users import ENDED, PROGRAMS, Job, User

JOB_SECONDS = 420.0  # for one job, while another user works and services are restarted
ANSWER_SECONDS = 180.0  # for a head that is being restarted to answer again
POLL_SECONDS = 1.0
MEGABYTE = 2**20
RESULTS = "/home/cslr/ray_results"
NOTEBOOKS = "/workspace/notebooks"
Json = Any
Answer = TypeVar("Answer")


class Failed(Exception):  # noqa: N818  (a result of the work)
    """A piece of work failed; the message is what its user saw."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The stack as its users see it, and the ledger of what they make."""

    stack: LiveStack
    user: User
    mlflow: str  # URL without a slash at the end
    ledger: Ledger
    prefix: str  # of everything that this soak makes

    def url(self, path: str, **query: str) -> Json:
        """The JSON of MLflow's answer."""
        answer = requests.get(f"{self.mlflow}/api/2.0/mlflow/{path}", params=query, timeout=20)
        require(answer)
        return answer.json()

    def patiently(self, ask: Callable[[], Answer]) -> Answer:
        """The answer, as soon as there is one: a user tries again while the head is restarted."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return ask()
            except (AssertionError, OSError, requests.RequestException) as error:
                if time.monotonic() > deadline:
                    raise Failed(f"no answer for {ANSWER_SECONDS:.0f} s: {error}"[:600]) from error
                time.sleep(POLL_SECONDS)

    def ended(self, job: str) -> Job:
        """The job at its end; one that takes too long is stopped."""
        deadline = time.monotonic() + JOB_SECONDS
        while self.patiently(lambda: self.user.status(job)) not in ENDED:
            if time.monotonic() > deadline:
                self.patiently(lambda: self.user.stop(job))
                raise Failed(f"not ended within {JOB_SECONDS:.0f} s: {self.patiently(lambda: self.user.job(job)).said}")
            time.sleep(POLL_SECONDS)
        return self.patiently(lambda: self.user.job(job))

    def run(self, says: str, program: str, *arguments: object, **options: Any) -> Job:  # noqa: ANN401
        """A job to its end, which must have said something. Its log is from then on what must not be lost."""
        job = self.patiently(lambda: self.user.submit(program, *arguments, **options))
        ended = self.ended(job)
        if not ended.succeeded or not re.search(says, ended.log):
            raise Failed(ended.said[-1500:])
        self.ledger.add(Entry(kind="job log", name=job, is_there=lambda: self._log_lacks(job, says)))
        return ended

    def _log_lacks(self, job: str, says: str) -> str:
        log = self.user.log(job)
        return "" if re.search(says, log) else f"its log no longer says {says!r}: {log[-200:]!r}"

    def exec(self, service: str, command: str) -> str:
        """What a shell in a service's container says. Raises Failed where it fails."""
        code, said = self.stack.exec(service, "sh", "-c", command)
        if code:
            raise Failed(f"{service}: exit code {code}: {said[-1200:]}")
        return said

    def lacks(self, service: str, command: str) -> str:
        """As `exec`, for the ledger: what is wrong, or nothing."""
        code, said = self.stack.exec(service, "sh", "-c", command)
        return "" if code == 0 else f"{command}: exit code {code}: {said[-200:]}"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of it."""

    name: str
    weight: int
    do: Callable[[Rig, random.Random], object]
    needs: tuple[str, ...] = ("ray-cpu", "redis")  # services; while one of them is restarted on purpose it may fail


def objects(rig: Rig, draw: random.Random) -> None:
    """Keeps objects, at times more than the object store holds."""
    rig.run("read again", "objects", draw.choice(["put", "returned", "actor"]), draw.randint(8, 40), 64)


def prints(rig: Rig, draw: random.Random) -> None:
    """Prints a lot."""
    rig.run("printed", "prints", draw.choice(["task", "driver", "actor", "stderr"]), draw.randint(50, 300))


def upload(rig: Rig, draw: random.Random) -> None:
    """Submits a folder with a changed file of 90 MB."""
    rig.run("small: FINE", "small", files={"weights.bin": draw.randbytes(MEGABYTE) * 90})


def closure(rig: Rig, draw: random.Random) -> None:
    """Functions that drag arrays along."""
    rig.run("dragged", "closure", draw.randint(1, 3), 20)


def tune(rig: Rig, draw: random.Random) -> None:
    """Four trials."""
    name = named(rig, draw, "tune")
    rig.run("tuned", "tuning", name)
    command = f"test $(ls {RESULTS}/{name}/*/result.json | wc -l) = 4"
    rig.ledger.add(Entry(kind="Tune result", name=name, is_there=lambda: rig.lacks("marimo", command)))


def train(rig: Rig, draw: random.Random) -> None:
    """A training with checkpoints."""
    name = named(rig, draw, "train")
    rig.run("trained", "training", name, draw.randint(2, 5))
    command = f"test -s $(ls {RESULTS}/{name}/*/model.pt | tail -1)"
    rig.ledger.add(Entry(kind="Train checkpoint", name=name, is_there=lambda: rig.lacks("marimo", command)))


def loader(rig: Rig, draw: random.Random) -> None:
    """Video clips by a DataLoader."""
    rig.run("loaded", "loader", draw.choice(["task", "actor", "driver"]), draw.randint(4, 16))


def tracking(rig: Rig, _: random.Random) -> None:
    """A run of MLflow with a model, images and figures."""
    job = rig.run("run: ", "tracking", rig.prefix, "model", "image", "figure", "table", "metrics")
    run = re.findall(r"run: (\w+)", job.log)[0]
    model = re.findall(r"model: models:/(\S+)", job.log)[0]
    rig.ledger.add(Entry(kind="MLflow run", name=run, is_there=lambda: run_lacks(rig, run)))
    rig.ledger.add(Entry(kind="MLflow model", name=model, is_there=lambda: model_lacks(rig, model)))


def run_lacks(rig: Rig, run: str) -> str:
    """What is wrong with a run of `tracking`."""
    found = rig.url("runs/get", run_id=run)["run"]
    files = {file["path"] for file in rig.url("artifacts/list", run_id=run).get("files", [])}
    missing = {"figure.png", "table.json", "images"} - files
    metrics = {metric["key"]: metric["value"] for metric in found["data"].get("metrics", [])}
    if missing or found["info"]["status"] != "FINISHED" or abs(metrics.get("loss", 0) - 1 / 200) > 1e-9:
        return f"status {found['info']['status']}, missing {sorted(missing)}, metrics {metrics}"
    return ""


def model_lacks(rig: Rig, model: str) -> str:
    """What is wrong with a logged model."""
    found = rig.url(f"logged-models/{model}")["model"]["info"]
    root = found["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
    answer = requests.get(f"{rig.mlflow}/api/2.0/mlflow-artifacts/artifacts/{root}/MLmodel", timeout=20)
    return "" if answer.ok and b"pytorch" in answer.content else f"MLmodel: {answer.status_code} {answer.text[:100]}"


def keep(rig: Rig, draw: random.Random) -> None:
    """Files that are saved one by one: each that was reported is there, also if the job ended before its last."""
    folder = f"{rig.prefix}/{draw.getrandbits(32):08x}"
    job = rig.patiently(lambda: rig.user.submit("keep", folder, draw.randint(3, 12), draw.randint(1, 8)))
    ended = rig.ended(job)
    saved = re.findall(r"saved: (\S+) ([0-9a-f]{64})", ended.log)
    for path, digest in saved:
        command = f"echo '{digest}  {path}' | sha256sum --check --status"
        rig.ledger.add(Entry(kind="file", name=path, is_there=lambda command=command: rig.lacks("marimo", command)))  # type: ignore[misc]
    if not ended.succeeded:
        raise Failed(ended.said[-1500:])


def package(rig: Rig, draw: random.Random) -> None:
    """A job with a package of its own."""
    wheel = make_wheel("soak_package", f"1.{draw.randint(1, 4)}")
    with open(wheel, "rb") as file:  # noqa: PTH123 (a path of the program's)
        content = file.read()
    remove_wheel(wheel)
    name = wheel.rpartition("/")[2]
    tool = draw.choice(["uv", "pip"])
    environment = {tool: [f"${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{name}"]}
    rig.run("driver: 1", "package", "soak_package", runtime_env=environment, files={name: content})


def greed(rig: Rig, draw: random.Random) -> None:
    """Asks for more memory than there is, in a task: its driver must live on."""
    way = draw.choice(["fast", "slow", "python_child", "shm_file"])
    rig.run("the driver lives on", "memory", way, 12)


def notebook(rig: Rig, draw: random.Random) -> None:
    """Writes a notebook and runs it as Marimo does."""
    path = f"{NOTEBOOKS}/{named(rig, draw, 'notebook').replace('-', '_')}.py"
    content = (PROGRAMS / "notebook.py").read_bytes() + f"# {draw.getrandbits(64)}\n".encode()
    digest = hashlib.sha256(content).hexdigest()
    text = base64.b64encode(content).decode()
    rig.exec("marimo", f"echo {text} | base64 -d > {path}")
    command = f"echo '{digest}  {path}' | sha256sum --check --status"
    rig.ledger.add(Entry(kind="notebook", name=path, is_there=lambda: rig.lacks("marimo", command)))
    export = f"/tmp/{path.rpartition('/')[2]}.html"  # noqa: S108 (in the container)
    rig.exec(
        "marimo", f"python -m marimo export html {path} --output {export}; status=$?; rm -f {export}; exit $status"
    )


def client(rig: Rig, _: random.Random) -> None:
    """A notebook's Python uses the cluster as a client."""
    text = base64.b64encode((PROGRAMS / "small.py").read_bytes()).decode()
    said = rig.exec("marimo", f"echo {text} | base64 -d | timeout 120 python -")
    if "small: FINE" not in said:
        raise Failed(said[-1000:])


def named(rig: Rig, draw: random.Random, what: str) -> str:
    """A unique name."""
    return f"{rig.prefix}-{what}-{draw.getrandbits(32):08x}"


TRACKED = ("ray-cpu", "redis", "mlflow", "postgres")
WORK = (
    Work(name="objects", weight=4, do=objects),
    Work(name="output", weight=3, do=prints),
    Work(name="upload of 90 MB", weight=4, do=upload),
    Work(name="large functions", weight=1, do=closure),
    Work(name="Tune", weight=3, do=tune),
    Work(name="Train", weight=3, do=train),
    Work(name="DataLoader", weight=3, do=loader),
    Work(name="MLflow model, images", weight=3, do=tracking, needs=TRACKED),
    Work(name="files", weight=2, do=keep),
    Work(name="own package", weight=2, do=package),
    Work(name="too much memory", weight=1, do=greed),
    Work(name="notebook", weight=2, do=notebook, needs=("marimo",)),
    Work(name="client from a notebook", weight=2, do=client, needs=("marimo", "ray-cpu", "redis")),
)


def clean_up(rig: Rig) -> Mapping[str, str]:
    """Removes what the soak made. Returns what could not be removed, and why."""
    left = {}
    files = f"rm -rf {RESULTS}/{rig.prefix}-* ~/{rig.prefix} {NOTEBOOKS}/{rig.prefix.replace('-', '_')}_*"
    removals: dict[str, Callable[[], object]] = {
        "files": lambda: rig.exec("marimo", files),
        "experiment": lambda: remove_experiment(rig),
        "jobs": lambda: remove_jobs(rig),
    }
    for what, remove in removals.items():
        try:
            remove()
        except (Failed, AssertionError, OSError, requests.RequestException) as error:
            left[what] = str(error)[:300]
    return left


def require(answer: requests.Response) -> None:
    """Raises ConnectionError where MLflow refuses, which may pass: it is restarted at times."""
    if not answer.ok:
        raise ConnectionError(f"{answer.url}: {answer.status_code} {answer.text[:200]}")


def remove_experiment(rig: Rig) -> None:
    """Marks the soak's experiment as deleted; what belonged to it goes with MLflow's own `gc`."""
    found = rig.url("experiments/get-by-name", experiment_name=rig.prefix)["experiment"]["experiment_id"]
    answer = requests.post(f"{rig.mlflow}/api/2.0/mlflow/experiments/delete", json={"experiment_id": found}, timeout=20)
    require(answer)


def remove_jobs(rig: Rig) -> None:
    """Removes the soak's jobs from the cluster's table."""
    for entry in rig.ledger.entries():
        if entry.kind == "job log":
            rig.user.delete(entry.name)
