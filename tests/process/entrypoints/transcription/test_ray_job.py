"""The service's jobs on one real Ray node: tasks, shares of a GPU, and what is left when a job is killed.

Packages in place of faster-whisper (packages/) hear what a file's own text says. Ray counts a GPU that does not exist.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.transcription import RaySettings
from entrypoints.transcription import following, ray_jobs
from entrypoints.transcription.ledger import ENDED
from testing.harness import PROJECT
from testing.ray_head import running_head
from tests.process.entrypoints.transcription.pretended import TOKEN, Service, until

PACKAGES = Path(__file__).parent / "packages"
SECONDS = 120  # for Ray to start processes


@pytest.fixture(scope="module")
def head():
    with running_head(gpus=1, cpus=2, node="node-a", environment={"PYTHONPATH": f"{PACKAGES}:{PROJECT}"}) as found:
        yield found


@pytest.fixture
def api(service: Service, head: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of the service, whose jobs run on that node. Programs are where they are on this host."""
    program = f"cd {PROJECT} && {sys.executable} -m entrypoints.transcription.ray_job"
    monkeypatch.setattr(ray_jobs, "ENTRYPOINT", program)
    monkeypatch.setattr(ray_jobs, "RUNTIME", {})
    monkeypatch.setattr(following, "FOLLOW_EVERY", 0.1)
    folder = service.folder
    service.stop()
    service.start(
        RaySettings(
            dashboards=(f"127.0.0.1:{head.dashboard}",), cpus=1, gpus=0.5, token=head.token, data=folder / "data",
            dataset=folder / "dataset", models=folder / "models",
        )
    )  # fmt: skip
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield client


def begun(api: httpx.Client) -> str:
    return str(api.post("/v1/jobs", json={"paths": ["dataset"]}).json()["id"])


def ended(api: httpx.Client, name: str) -> dict[str, Any]:
    return until(api, name, lambda job: job["state"] in ENDED, seconds=SECONDS)


def heard(service: Service) -> list[str]:
    """A line for each file that was transcribed: its first word, the device and the GPUs."""
    return sorted((service.folder / "data/bundled/models/heard.log").read_text().splitlines())


def test_each_file_is_a_task_with_its_share_of_a_gpu(api, service):
    service.medium("a.mp4", "one two")
    service.medium("b.mp4", "three")
    job = ended(api, begun(api))
    assert job["counts"]["done"] == 2
    assert api.get(f"/v1/jobs/{job['id']}/files/0/result.txt").text == "one\ntwo\n"
    assert heard(service) == ["one cuda 0", "three cuda 0"]


def test_task_that_ends_its_process_fails_its_file_alone(api, service):
    service.medium("a.mp4", "crash")
    service.medium("b.mp4", "two")
    job = ended(api, begun(api))
    assert [file["state"] for file in job["files"]] == ["failed", "done"]
    assert "WorkerCrashedError" in job["error"]
    assert heard(service).count("crash cuda 0") == 3  # with two retries


def test_killed_job_run_again_does_only_what_is_missing(api, service, head):
    service.medium("a.mp4", "one")
    service.medium("b.mp4", "two wait-for:go")
    name = begun(api)
    until(api, name, lambda job: job["counts"]["done"] == 1 and job["counts"]["running"] == 1, seconds=SECONDS)
    url = f"http://127.0.0.1:{head.dashboard}/api/jobs/transcription-{name}"
    headers = {"Authorization": f"Bearer {head.token.read_text()}"}
    assert httpx.post(f"{url}-1/stop", headers=headers).json() == {"stopped": True}
    deadline = time.monotonic() + 60
    while httpx.get(f"{url}-2", headers=headers).status_code != httpx.codes.OK:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (service.folder / "data/bundled/models/go").touch()
    job = ended(api, name)
    assert job["counts"]["done"] == 2
    assert heard(service) == ["one cuda 0", "two cuda 0", "two cuda 0"]


def test_cancelled_job_leaves_no_task_and_nothing_half_written(api, service, head):
    service.medium("a.mp4", "one wait-for:never")
    name = begun(api)
    until(
        api,
        name,
        lambda job: job["counts"]["running"] == 1 and (service.folder / "data/results").is_dir(),
        seconds=SECONDS,
    )
    api.post(f"/v1/jobs/{name}/cancel")
    assert ended(api, name)["state"] == "cancelled"
    assert not list((service.folder / "data/results").rglob("*transcript.json*"))
    assert not list((service.folder / "data/ray").iterdir())
