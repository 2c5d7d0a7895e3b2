"""Work on a deployed stack that goes on while services fail, and what each piece of it was told is safe.

Whatever a service acknowledged is noted here, outside of the stack, and is later compared with what is there.
"""

import hashlib
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import docker
import requests

from contracts.queue import API, USER_HEADER
from testing.live.deployment import LiveStack, wait_until
from testing.live.users import ENDED, User

PAUSE = 0.3  # seconds between two pieces of work
HTTP_SECONDS = 10.0
NOTEBOOKS = "/workspace/notebooks"
SAVES = 20  # of one notebook
STEPS = 10  # of one run
ARTIFACT = 64 * 1024  # bytes
QUEUE_EVERY = 3.0  # seconds: each job starts a Python
QUEUE_SECONDS = 600.0  # for all jobs to end; one that was lost with its node is found so after two minutes
READ_SECONDS = 180.0
# A service that fails closes connections, answers with errors, or does not answer.
FAILURES = (
    AssertionError, LookupError, OSError, ValueError, docker.errors.DockerException, requests.RequestException,
)  # fmt: skip


@dataclass(kw_only=True)
class Work:
    """One kind of work, by one thread."""

    name: str
    acknowledged: dict[str, str] = field(default_factory=dict)  # what → its content
    # What was tried after its last acknowledgement: this may be there instead.
    tried: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pieces: int = 0  # acknowledgements
    began: float = 0.0  # of the last piece that was acknowledged; the clock that no fault changes, and containers share
    failure: str = ""  # the last

    def do(self) -> float:
        """One piece. When it was begun. Raises one of FAILURES where it was not acknowledged."""
        raise NotImplementedError

    def there(self) -> Mapping[str, str]:
        """What is there of all that was acknowledged: what → its content."""
        raise NotImplementedError

    def acknowledge(self, what: str, content: str) -> None:
        """Notes that a service says that it has it."""
        self.acknowledged[what] = content
        self.pieces += 1
        self.tried.pop(what, None)

    def losses(self) -> list[str]:
        """What was acknowledged and is not there. The work must rest."""
        there = self.there()
        return [
            f"{self.name}: {what}: {there.get(what, 'is not there')!r:.80} instead of {content!r:.80}"
            for what, content in self.acknowledged.items()
            if there.get(what) not in (content, *self.tried.get(what, ()))
        ]

    def rest(self) -> None:
        """Ends what goes on without further pieces."""

    def run(self, over: threading.Event) -> None:
        """One piece after the other."""
        while not over.wait(PAUSE):
            try:
                self.began = max(self.began, self.do())
            except FAILURES as error:
                self.failure = f"{type(error).__name__}: {error}"[:300]


def accepted(answer: requests.Response) -> requests.Response:
    """The answer; raises an AssertionError where the request was refused."""
    assert answer.ok, f"{answer.url}: {answer.status_code} {answer.text[:200]}"
    return answer


@dataclass(kw_only=True)
class OfRay(Work):
    """A driver on the cluster, which is submitted again where it ended; a detached actor, tasks, keys of the GCS."""

    name: str = "Ray"
    user: User
    key: str  # of this workload
    job: str = ""
    read: int = 0  # lines of the job's log

    def do(self) -> float:
        if not self.job or self.user.status(self.job) in ENDED:
            self.job, self.read = self.user.submit("durable", self.key), 0
        lines = re.findall(r"^done: (\d+) ([\d.]+)$", self.user.log(self.job), re.MULTILINE)
        found = lines[self.read :]
        assert found, "no further piece of work in the job's log"
        for number, _ in found:
            for place in ("counted", "saved", "stored"):
                self.acknowledge(f"{place} {number}", place)
        self.read = len(lines)
        return float(found[-1][1])

    def rest(self) -> None:
        if self.job and self.user.status(self.job) not in ENDED:
            self.user.stop(self.job)

    def there(self) -> Mapping[str, str]:
        log = self.user.run("durable", self.key, "read", seconds=READ_SECONDS).log
        assert "read: all" in log, log
        return {f"{place} {number}": place for place, number in re.findall(r"^(\w+) (\d+)$", log, re.MULTILINE)}


@dataclass(kw_only=True)
class OfMlflow(Work):
    """Runs with a metric at each step, and an artifact with it."""

    name: str = "MLflow"
    url: str
    key: str
    draw: random.Random
    experiment: str = ""
    run_id: str = ""
    step: int = 0

    def do(self) -> float:
        began = time.monotonic()
        if not self.experiment:
            self.experiment = self._experiment()
        if not self.run_id:
            made = self._call("POST", "mlflow/runs/create", json={"experiment_id": self.experiment})
            self.run_id, self.step = made["run"]["info"]["run_id"], 0
            self.acknowledge(f"{self.run_id} run", "RUNNING")
        run = self.run_id
        self.step += 1
        metric = {
            "run_id": run,
            "key": "loss",
            "step": self.step,
            "value": self.step,
            "timestamp": int(time.time() * 1000),
        }
        self._call("POST", "mlflow/runs/log-metric", json=metric)
        self.acknowledge(f"{run} metric {self.step}", str(self.step))
        content = self.draw.randbytes(ARTIFACT)
        path = f"{self.experiment}/{run}/artifacts/part-{self.step}"
        self._ask("PUT", f"mlflow-artifacts/artifacts/{path}", data=content)
        self.acknowledge(f"{run} artifact {self.step}", hashlib.sha256(content).hexdigest())
        if self.step == STEPS:
            self.tried[f"{run} run"].append("FINISHED")
            self._call("POST", "mlflow/runs/update", json={"run_id": run, "status": "FINISHED"})
            self.acknowledge(f"{run} run", "FINISHED")
            self.run_id = ""
        return began

    def _experiment(self) -> str:
        """The workload's; one whose creation was not acknowledged may be there."""
        where = {"filter": f"name = '{self.key}'", "max_results": 1}
        if found := self._call("POST", "mlflow/experiments/search", json=where).get("experiments"):
            return str(found[0]["experiment_id"])
        return str(self._call("POST", "mlflow/experiments/create", json={"name": self.key})["experiment_id"])

    def there(self) -> Mapping[str, str]:
        found = {}
        for run in {what.split()[0] for what in self.acknowledged}:
            about = self._call("GET", "mlflow/runs/get", params={"run_id": run})["run"]
            found[f"{run} run"] = about["info"]["status"]
            history = self._call("GET", "mlflow/metrics/get-history", params={"run_id": run, "metric_key": "loss"})
            found |= {f"{run} metric {m['step']}": str(int(m["value"])) for m in history.get("metrics", [])}
            for file in self._call("GET", "mlflow/artifacts/list", params={"run_id": run}).get("files", []):
                path = f"{self.experiment}/{run}/artifacts/{file['path']}"
                content = self._ask("GET", f"mlflow-artifacts/artifacts/{path}").content
                found[f"{run} artifact {file['path'].partition('-')[2]}"] = hashlib.sha256(content).hexdigest()
        return found

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return self._ask(method, path, **options).json()

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return accepted(requests.request(method, f"{self.url}/api/2.0/{path}", timeout=HTTP_SECONDS, **options))


@dataclass(kw_only=True)
class OfQueue(Work):
    """Small jobs; each that was accepted must succeed."""

    name: str = "queue"
    url: str
    token: str
    user: str
    key: str
    number: int = 0

    def do(self) -> float:
        began = time.monotonic()
        if began < self.began + QUEUE_EVERY:
            return self.began
        self.number += 1
        job = {"entrypoint": "true", "id": f"{self.key}-{self.number}", "cpus": 0.5}
        self._call("POST", "/jobs", json=job)
        self.acknowledge(str(job["id"]), "succeeded")
        return began

    def there(self) -> Mapping[str, str]:
        jobs = {name: self._call("GET", f"/jobs/{name}") for name in self.acknowledged}

        def all_ended() -> bool:
            for name, job in jobs.items():
                if job["state"] != "ended":
                    jobs[name] = self._call("GET", f"/jobs/{name}")
            return all(job["state"] == "ended" for job in jobs.values())

        wait_until(all_ended, "the end of every job of the queue", QUEUE_SECONDS)
        return {name: job["outcome"] for name, job in jobs.items()}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", USER_HEADER: self.user}
        url = f"{self.url}{API}{path}"
        return accepted(requests.request(method, url, headers=headers, timeout=HTTP_SECONDS, **options)).json()


@dataclass(kw_only=True)
class OfMarimo(Work):
    """A notebook that is saved again and again, as its editor does it, and then the next."""

    name: str = "notebook"
    stack: LiveStack
    url: str
    token: str
    key: str
    number: int = 0

    def do(self) -> float:
        began = time.monotonic()
        file = f"{self.key}-{self.number // SAVES}.py".replace("-", "_")
        path, content = f"{NOTEBOOKS}/{file}", f"# revision {self.number}\n" + "x = 1\n" * 2000
        if self.number % SAVES == 0:
            code, said = self.stack.exec("marimo", "touch", path)
            assert code == 0, said
        digest = hashlib.sha256(content.encode()).hexdigest()
        self.tried[file].append(digest)
        page = requests.get(self.url, auth=("chaos", self.token), timeout=HTTP_SECONDS)
        token = re.findall(r'"serverToken": "([^"]+)"', page.text)[0]
        answer = requests.post(
            f"{self.url}/api/files/update",
            json={"path": path, "contents": content},
            headers={"Marimo-Server-Token": token},
            auth=("chaos", self.token),
            timeout=HTTP_SECONDS,
        )
        assert accepted(answer).json()["success"], answer.text[:200]
        self.acknowledge(file, digest)
        self.number += 1
        return began

    def there(self) -> Mapping[str, str]:
        prefix = self.key.replace("-", "_")
        _, said = self.stack.heard("marimo", "sh", "-c", f"sha256sum {NOTEBOOKS}/{prefix}_*")
        return {
            path.rpartition("/")[2]: digest for digest, path in re.findall(r"^(\w{64})  (\S+)$", said, re.MULTILINE)
        }
