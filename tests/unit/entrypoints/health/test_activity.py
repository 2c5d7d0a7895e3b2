"""GPUs, jobs and runs as the page shows them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.health import Kind, WatchedService
from entrypoints.health.asker import Asker
from entrypoints.health.failure import FailureError
from entrypoints.health.page import jobs
from entrypoints.health.page.gpus import gpus_in, samples_in
from entrypoints.health.page.jobs import ENDED_SHOWN, JOBS_PATH, LARGEST_LIST, jobs_in, program_of
from entrypoints.health.page.runs import ask_runs
from entrypoints.health.secrets import Secrets
from entrypoints.hooks.package_hooks import ENDED_JOBS_KEPT

EXPORTED = """
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="H100",Hostname="gpu1"} 64
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="H100",Hostname="gpu1"} 0
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-b",modelName="H100",Hostname="gpu1"} 1024
DCGM_FI_DEV_FB_FREE{gpu="1",UUID="GPU-b",modelName="H100",Hostname="gpu1"} 3072
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-b",modelName="H100",Hostname="gpu1",GPU_I_PROFILE="1g",GPU_I_ID="3"} 7
cslr_gpu_up{UUID="GPU-a",gpu="0"} 0
cslr_gpu_up{UUID="GPU-b",gpu="1"} 1
cslr_gpu_process_memory_bytes{UUID="GPU-b",service="ray-gpu",name="python",ray_job="03",ray_task="fit"} 1e9
cslr_gpu_process_memory_bytes{UUID="GPU-b",service="",container="",name="python",ray_job="",ray_task=""} 2e9
node_cpu_seconds_total{cpu="0",mode="idle"} 12
"""


class TestGpus:
    def test_of_the_exporter_with_use_and_users(self):
        first, second = gpus_in(samples_in(EXPORTED))
        assert (first.host, first.number, first.up, first.use, first.memory) == ("gpu1", "0", False, 0.0, None)
        assert (second.use, second.used, second.memory) == (64.0, 2**30, 2**32)
        assert [(user.who, user.memory) for user in second.users] == [("python", 2e9), ("ray-gpu, job 03, fit", 1e9)]

    def test_only_what_is_shown_is_parsed(self):
        assert {sample.name for sample in samples_in(EXPORTED)} == {
            "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "cslr_gpu_up",
            "cslr_gpu_process_memory_bytes",
        }  # fmt: skip

    def test_none_without_figures(self):
        assert gpus_in(samples_in("node_load1 1\n")) == ()


class Http:
    """A session that answers every request with the same text."""

    status = 200

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.content = self

    @contextlib.asynccontextmanager
    async def request(self, *_: object, **__: object) -> AsyncIterator["Http"]:
        yield self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self.text


def job(name: str, status: str, started: int | None = None) -> dict[str, object]:
    return {"submission_id": name, "job_id": None, "status": status, "entrypoint": "python a.py", "start_time": started}


class TestJobs:
    def test_that_run_come_first_then_those_that_wait_then_the_last(self):
        entries = [
            job("old", "FAILED", 1000),
            job("new", "SUCCEEDED", 9000),
            job("wait", "PENDING"),
            job("run", "RUNNING", 5000),
        ]
        assert [one.name for one in jobs_in(json.dumps(entries), "ray:8265")] == ["run", "wait", "new", "old"]

    def test_that_ended_are_bounded_and_those_that_wait_are_not(self):
        entries = [
            job(f"{status}{number}", status, number) for status in ("STOPPED", "PENDING") for number in range(50)
        ]
        found = jobs_in(json.dumps(entries), "ray:8265")
        assert sum(one.status == "PENDING" for one in found) == 50
        assert sum(one.status == "STOPPED" for one in found) == ENDED_SHOWN

    def test_command_lines_of_those_that_are_not_shown_are_not_read(self, monkeypatch):
        read: list[str] = []

        def program_of(text: str) -> str:
            read.append(text)
            return ""

        monkeypatch.setattr(jobs, "program_of", program_of)
        jobs_in(json.dumps([job(f"job{number}", "SUCCEEDED", number) for number in range(500)]), "ray:8265")
        assert len(read) == ENDED_SHOWN

    def test_all_that_ray_keeps_fit_in_the_answer(self):
        entry = {**job("raysubmit_0123456789abcdef", "SUCCEEDED", 1_760_000_000_000), "more": "x" * 2000}
        text = json.dumps([entry] * (ENDED_JOBS_KEPT * 11 // 10))
        asker = Asker(Http(text), Secrets(Path("none")), 2.0, 0.0)  # type: ignore[arg-type]
        ray = WatchedService(name="ray", kind=Kind.RAY, host="ray", port=8265)
        assert asyncio.run(asker.get(ray, JOBS_PATH, largest=LARGEST_LIST)) == text
        with pytest.raises(FailureError, match="more than"):
            asyncio.run(asker.get(ray, JOBS_PATH))

    def test_of_a_driver_has_its_job_id(self):
        (one,) = jobs_in('[{"job_id": "04000000", "status": "RUNNING", "entrypoint": "python a.py"}]', "ray:8265")
        assert (one.name, one.program, one.started) == ("04000000", "a.py", None)

    @pytest.mark.parametrize("answer", ["", "{}x", '{"a": 1}', "[1]", '[{"status": "RUNNING"}]'])
    def test_anything_else_is_refused(self, answer):
        with pytest.raises(FailureError, match="does not list jobs as Ray does"):
            jobs_in(answer, "ray:8265")


class Mlflow:
    """Answers as MLflow does, with a run in its first experiment, which many others followed."""

    experiments = tuple(range(200, 0, -1))

    async def get(self, service: WatchedService, path: str, question: dict[str, Any]) -> str:
        if path.endswith("experiments/search"):
            found = [{"experiment_id": str(one), "name": f"e{one}"} for one in self.experiments]
            return json.dumps({"experiments": found[: question["max_results"]]})
        run = {"info": {"run_id": "r", "run_name": "lr", "experiment_id": "1", "status": "FINISHED"}, "data": {}}
        return json.dumps({"runs": [run]} if "1" in question["experiment_ids"] else {})

    async def in_time(self, question):
        return await question


class TestRuns:
    def test_of_an_experiment_that_was_made_long_ago(self):
        mlflow = WatchedService(name="mlflow", kind=Kind.MLFLOW, host="mlflow", port=5000)
        (one,) = asyncio.run(ask_runs(mlflow, Mlflow()))  # type: ignore[arg-type]
        assert (one.name, one.experiment) == ("lr", "e1")


@pytest.mark.parametrize(
    ("entrypoint", "program"),
    [
        ("python train.py --token hunter2", "train.py"),
        ("TOKEN=hunter2 python -u jobs/train.py hunter2", "train.py"),
        ("python -m lab.train hunter2", "lab.train"),
        ("python -c \"login('hunter2')\"", "python"),
        ("/opt/venv/bin/accelerate launch --x hunter2", "accelerate"),
        ("bash run.sh hunter2", "run.sh"),
        ("python 'unbalanced hunter2", "python"),
        ("env TOKEN=hunter2", "env"),
        ("", ""),
        ("TOKEN=hunter2", ""),
        ("bash -lc 'TOKEN=hunter2 python train.py'", "bash"),
        ("sh -ec 'cd /work; TOKEN=hunter2 python train.py'", "sh"),
        ("accelerate launch -m hunter2", "accelerate"),
        ("python -u -m lab.train", "lab.train"),
        ("python tool -m hunter2", "python"),
        ("run --token=hunter2.py", "run"),
        ("'python train --token hunter2'", "python"),
        ("TOKEN='my hunter2 python train.py", ""),
    ],
)
def test_program_of_a_job_is_shown_without_what_it_is_given(entrypoint, program):
    assert program_of(entrypoint) == program
