"""Data that users left in the older deployment, and checks that the newer one still has it: a table."""

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests

from testing.live.deployment import LiveStack
from testing.live.users import User

NAME = "takeover"
REDIS = "REDISCLI_AUTH=$(cat /run/secrets/redis-password) redis-cli"
NOTEBOOK = "/workspace/notebooks/takeover.py"
JOB = "takeover-job"
ANSWER = "the answer is 42"
# The answers of programs in containers, which print other things as well.
KEPT = "takeover: kept"
LOG_RUN = f"""
import mlflow
mlflow.set_experiment("{NAME}")
with mlflow.start_run():
    mlflow.log_param("rate", 7)
    mlflow.log_metric("loss", 0.125)
    mlflow.log_text("of then", "notes/kept.txt")
print("{KEPT}")
"""
READ_RUN = f"""
import mlflow
(run,) = mlflow.search_runs(experiment_names=["{NAME}"], output_format="list")
found = run.data.params, run.data.metrics, mlflow.artifacts.load_text(run.info.artifact_uri + "/notes/kept.txt")
assert found == ({{"rate": "7"}}, {{"loss": 0.125}}, "of then"), found
print("{KEPT}")
"""
# Session folders of Ray: in the container's memory in deployments before 0.2.0, since then in the scratch volume.
MEMORY, SCRATCH = "/tmp/ray", "/scratch/ray-cpu/ray"  # noqa: S108 (in the container)
SAVE_LOGS = f"cd {MEMORY} && tar -c session_2*/logs/job-driver-* | base64 -w0"
ANSWER_SECONDS = 60.0


class NotTakenOverError(Exception):
    """A step failed; the message has its output."""


@dataclass(frozen=True, kw_only=True)
class Datum:
    """One piece of data. `read` returns what is wrong with it, empty where nothing is."""

    name: str
    write: Callable[[], object]
    read: Callable[[], str]


class Data:
    """All data that is checked from one deployment to the next."""

    def __init__(self, stack: LiveStack) -> None:
        self._stack = stack
        self._saved_logs = ""
        self._secrets: dict[str, str] = {}
        self._data = [
            Datum(
                name="MLflow run, metric, artifact",
                write=lambda: self._python(LOG_RUN),
                read=lambda: self._lacks(READ_RUN),
            ),
            Datum(
                name="Redis key",
                write=lambda: self._shell("redis", f"{REDIS} set {NAME} kept"),
                read=lambda: self._differs("redis", f"{REDIS} get {NAME}", "kept"),
            ),
            Datum(name="Ray job, in the job table", write=self._run_job, read=self._job_is_missing),
            Datum(name="Ray job's log", write=self._save_logs, read=self._log_is_missing),
            Datum(
                name="Marimo notebook",
                write=lambda: self._shell("marimo", f"echo 'import marimo' > {NOTEBOOK}"),
                read=lambda: self._differs("marimo", f"cat {NOTEBOOK}", "import marimo"),
            ),
            Datum(name="generated secrets", write=self._note_secrets, read=self._secrets_differ),
        ]
        # Deployments since 0.2.0 have a disk for what jobs and notebooks write.
        for folder in ("/home/cslr", "/scratch"):
            if self._is_mounted("marimo", folder):
                self._data.append(self._file(f"{folder}/{NAME}"))

    def write(self) -> None:
        """Makes all of it."""
        for datum in self._data:
            datum.write()

    @property
    def logs_were_in_memory(self) -> bool:
        """Whether the older deployment kept the logs of jobs in its container, so that they had to be carried over."""
        return bool(self._saved_logs)

    def read(self) -> Iterator[tuple[str, str]]:
        """Each piece of data and what is wrong with it."""
        if self._saved_logs:
            self._shell("ray-cpu", f"echo {self._saved_logs} | base64 -d | tar -x -C {SCRATCH}")
        for datum in self._data:
            try:
                yield datum.name, datum.read()
            except (NotTakenOverError, AssertionError, OSError, requests.RequestException) as error:
                yield datum.name, f"{type(error).__name__}: {error}"[-300:]

    # --- each of them ---

    def _file(self, path: str) -> Datum:
        return Datum(
            name=f"file {path}",
            write=lambda: self._shell("marimo", f"echo kept > {path}"),
            read=lambda: self._differs("marimo", f"cat {path}", "kept"),
        )

    @property
    def _user(self) -> User:
        port = self._stack.settings["ray"]["cpu"]["ports"]["dashboard"]
        return User(dashboard=f"http://127.0.0.1:{port}", token=self._stack.secrets()["ray-token"])

    def _run_job(self) -> None:
        done = self._user.wait(self._user.command(f"echo {ANSWER}", submission_id=JOB))
        if ANSWER not in done.log:
            raise NotTakenOverError(done.said)

    def _job_is_missing(self) -> str:
        status = self._user.status(JOB)
        return "" if status == "SUCCEEDED" else f"its status is {status}"

    def _save_logs(self) -> None:
        if self._stack.exec("ray-cpu", "sh", "-c", f"test -d {MEMORY} && test ! -d {SCRATCH}")[0] == 0:
            self._saved_logs = self._shell("ray-cpu", SAVE_LOGS).strip()

    def _log_is_missing(self) -> str:
        deadline = time.monotonic() + ANSWER_SECONDS
        while ANSWER not in (log := self._user.log(JOB)) and time.monotonic() < deadline:
            time.sleep(1)
        return "" if ANSWER in log else f"is {log!r}"

    def _note_secrets(self) -> None:
        self._secrets = self._stack.secrets()

    def _secrets_differ(self) -> str:
        now = self._stack.secrets()
        return ", ".join(name for name, value in self._secrets.items() if now.get(name) != value)

    # --- in containers ---

    def _shell(self, service: str, command: str) -> str:
        code, said = self._stack.exec(service, "sh", "-c", command)
        if code:
            raise NotTakenOverError(f"{service}: {command[:200]}: {said[-1000:]}")
        return said

    def _differs(self, service: str, command: str, expected: str) -> str:
        said = self._shell(service, command).strip()
        return "" if said == expected else f"is {said!r} instead of {expected!r}"

    def _python(self, program: str) -> str:
        encoded = base64.b64encode(program.encode()).decode()
        return self._shell("marimo", f"echo {encoded} | base64 -d | python -")

    def _lacks(self, program: str) -> str:
        said = self._python(program)
        return "" if KEPT in said else said[-300:]

    def _is_mounted(self, service: str, folder: str) -> bool:
        mounts = self._stack.container(service).attrs["Mounts"]
        return any(mount["Destination"] == folder for mount in mounts)
