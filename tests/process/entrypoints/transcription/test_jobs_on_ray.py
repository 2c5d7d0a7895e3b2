"""Jobs on the Ray cluster: what the service does when Ray, a file, the disk or the service itself fails.

Ray's API is pretended (tests of a real one: test_ray_job.py), as is the recognizer.
"""

import errno
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrypoints.transcription import following, hearing, ray_task
from entrypoints.transcription.files import sha256_of
from entrypoints.transcription.ledger import ENDED
from entrypoints.transcription.ray_jobs import Cluster, ClusterError
from entrypoints.transcription.recognizer import Options
from tests.process.entrypoints.transcription.pretended import TOKEN, Service, until
from tests.process.entrypoints.transcription.pretended_ray import Ray

TEXT = "guten Abend\nes regnet morgen im Norden\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(following, "FOLLOW_EVERY", 0.02)
    monkeypatch.setattr(following, "WAKE_EVERY", 0.05)
    monkeypatch.setattr(ray_task, "REPORT_EVERY", 0.0)


@pytest.fixture
def ray(service: Service, monkeypatch):
    found = Ray(service.recognizer)
    monkeypatch.setattr(ray_task, "_recognizer", lambda *_: service.recognizer)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    service.stop()
    service.start(found.settings(service.folder))
    yield found
    service.recognizer.gate.set()
    for each in found.threads:
        each.join(20)
    found.shutdown()
    found.server_close()


@pytest.fixture
def api(service: Service):
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20) as client:
        yield client


def ended(api: httpx.Client, name: str) -> dict[str, Any]:
    return until(api, name, lambda job: job["state"] in ENDED)


def begun(api: httpx.Client, **wanted: Any) -> str:
    answer = api.post("/v1/jobs", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def running(api: httpx.Client, name: str) -> dict[str, Any]:
    return until(api, name, lambda job: job["counts"]["running"] or job["counts"]["done"])


class TestPlace:
    def test_is_the_cluster_unless_a_caller_wants_the_container(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        assert api.get("/v1/session").json()["where"] == ["ray", "container"]
        job = ended(api, begun(api, paths=["dataset"]))
        assert (job["state"], job["where"], len(ray.submitted)) == ("done", "ray", 1)
        other = ended(api, begun(api, paths=["dataset"], where="container", prompt="other"))
        assert (other["state"], other["where"], len(ray.submitted)) == ("done", "container", 1)

    def test_is_refused_where_the_stack_has_it_not(self, api, service):
        service.medium("a.mp4", TEXT)
        answer = api.post("/v1/jobs", json={"paths": ["dataset"], "where": "ray"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "where")
        assert "transcription.jobs.run_on" in answer.json()["error"]["message"]

    def test_of_an_open_job_is_the_container_once_the_stack_says_so(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        ray.answers = False
        name = begun(api, paths=["dataset"])
        service.stop()
        service.start()
        assert (ended(api, name)["state"], api.get(f"/v1/jobs/{name}").json()["where"]) == ("done", "container")


class TestJob:
    def test_has_results_of_every_file_and_says_where_they_were_made(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.medium("day/b.mp4", f"b\n{TEXT}")
        service.medium("c.broken.mp4", "never heard")
        service.recognizer.broken.add("c.broken.mp4")
        job = ended(api, begun(api, paths=["dataset"]))
        assert (job["counts"]["done"], job["counts"]["failed"]) == (2, 1)
        assert job["error"] == "c.broken.mp4 has no sound that can be read."
        assert job["real_time_factor"] is not None
        found = api.get(f"/v1/jobs/{job['id']}/files/0/result.json").json()
        assert (found["text"], found["processing"]["where"]) == ("guten Abend es regnet morgen im Norden", "ray")
        assert api.get(f"/v1/jobs/{job['id']}/result.zip").status_code == 200
        deadline = time.monotonic() + 20  # the job is done a moment before its folder goes
        while left := list((service.folder / "data/ray").iterdir()):
            assert time.monotonic() < deadline, left
            time.sleep(0.02)

    def test_takes_uploads_too(self, api, ray):
        path = api.post("/v1/uploads", files={"file": ("a.mp4", TEXT.encode())}).json()["path"]
        assert ended(api, begun(api, paths=[path]))["state"] == "done"

    def test_tells_how_far_a_file_is(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.recognizer.gate.clear()
        name = begun(api, paths=["dataset"])
        assert running(api, name)["files"][0]["state"] == "running"
        service.recognizer.gate.set()
        assert ended(api, name)["progress"] == 1.0

    def test_of_the_bundled_model_has_a_copy_of_it_for_the_nodes(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        ended(api, begun(api, paths=["dataset"]))
        assert (service.folder / "data/bundled/models/tiny/model.bin").read_bytes() == b"weights"

    def test_is_forgotten_and_stopped(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.recognizer.gate.clear()
        name = begun(api, paths=["dataset"])
        running(api, name)
        assert api.delete(f"/v1/jobs/{name}").status_code == 204
        assert ray.jobs[ray.submitted[0]]["status"] == "STOPPED"
        assert api.get("/v1/jobs").json() == {"jobs": []}


class TestSameMedium:
    def test_of_two_jobs_at_the_same_time_is_heard_once(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.recognizer.gate.clear()
        first = begun(api, paths=["dataset"])
        until(api, first, lambda _: service.recognizer.heard)
        second = begun(api, paths=["dataset"])
        running(api, second)
        service.recognizer.gate.set()
        jobs = [ended(api, name) for name in (first, second)]
        assert [job["files"][0]["reused"] for job in jobs] == [False, True]
        assert service.recognizer.heard == ["a.mp4"]

    def test_that_the_container_heard_is_not_heard_on_ray(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        ended(api, begun(api, paths=["dataset"], where="container"))
        assert ended(api, begun(api, paths=["dataset"]))["files"][0]["reused"] is True

    def test_half_written_by_a_killed_task_is_heard_again(self, api, service, ray):
        path = service.dataset / "a.mp4"
        service.medium("a.mp4", TEXT)
        key = hearing.key_of(sha256_of(path), service.recognizer.model, Options())
        left = service.folder / "data/results" / key / ".transcript.json.0123"
        left.parent.mkdir(parents=True)
        left.write_text('{"transcript": ')
        assert ended(api, begun(api, paths=["dataset"]))["files"][0]["reused"] is False
        assert not left.exists()


class TestCancelledJob:
    def test_is_stopped_on_ray_and_done_after_all_by_a_retry(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", f"b\n{TEXT}")
        service.recognizer.gate.clear()
        name = begun(api, paths=["dataset"])
        running(api, name)
        api.post(f"/v1/jobs/{name}/cancel")
        job = ended(api, name)
        assert (job["state"], job["counts"]["cancelled"]) == ("cancelled", 2)
        assert ray.jobs[ray.submitted[0]]["status"] == "STOPPED"
        service.recognizer.gate.set()
        api.post(f"/v1/jobs/{name}/retry")
        assert ended(api, name)["counts"]["done"] == 2
        assert len(ray.submitted) == 2

    def test_before_ray_answers_is_never_submitted(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        ray.answers = False
        name = begun(api, paths=["dataset"])
        until(api, name, lambda job: job["error"])
        api.post(f"/v1/jobs/{name}/cancel")
        ray.answers = True
        assert ended(api, name)["state"] == "cancelled"
        time.sleep(0.1)
        assert ray.submitted == []

    def test_that_was_done_stays_done(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        name = begun(api, paths=["dataset"])
        ended(api, name)
        assert api.post(f"/v1/jobs/{name}/cancel").json()["state"] == "done"


class TestCluster:
    def test_that_does_not_answer_is_waited_for_and_named(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        ray.answers = False
        name = begun(api, paths=["dataset"])
        job = until(api, name, lambda job: job["error"])
        assert (job["state"], job["error"]) == ("waiting", "The Ray cluster answered 503: no head")
        ray.answers = True
        job = ended(api, name)
        assert (job["state"], job["error"]) == ("done", None)

    @pytest.mark.parametrize("ending", ["lost", "fail", "dead"])
    def test_that_ends_a_job_gets_the_rest_again(self, api, service, ray, ending):
        service.medium("a.mp4", TEXT)
        ray.plan = [ending, ending]
        job = ended(api, begun(api, paths=["dataset"]))
        assert job["state"] == "done"
        assert [name.rpartition("-")[2] for name in ray.submitted] == ["1", "2", "3"]

    @pytest.mark.parametrize(
        ("ending", "reason"), [("lost", "Ray does not know the job"), ("fail", "failed with exit code 1")]
    )
    def test_that_ends_every_job_fails_the_files(self, api, service, ray, ending, reason):
        service.medium("a.mp4", TEXT)
        ray.plan = [ending] * 3
        name = begun(api, paths=["dataset"])
        job = ended(api, name)
        assert job["state"] == "failed"
        assert job["error"].startswith("3 Ray jobs in a row ended without it: ")
        assert reason in job["error"]
        api.post(f"/v1/jobs/{name}/retry")
        assert ended(api, name)["state"] == "done"


class TestRestart:
    def test_in_the_middle_follows_the_same_ray_job(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", f"b\n{TEXT}")
        service.recognizer.gate.clear()
        name = begun(api, paths=["dataset"])
        running(api, name)
        service.stop()
        service.recognizer.gate.set()
        for thread in ray.threads:
            thread.join(20)
        service.start(ray.settings(service.folder))
        job = ended(api, name)
        assert (job["counts"]["done"], len(ray.submitted)) == (2, 1)

    def test_between_submitting_and_noting_it_does_not_submit_twice(self, api, service, ray, monkeypatch):
        service.medium("a.mp4", TEXT)
        service.recognizer.gate.clear()
        ask = Cluster.submit

        def unheard(*arguments: Any) -> None:
            ask(*arguments)
            service.application.state.service.jobs._ledger.stopping = True
            raise ClusterError("the answer is lost")

        monkeypatch.setattr(Cluster, "submit", unheard)
        name = begun(api, paths=["dataset"])
        until(api, name, lambda _: ray.submitted)
        service.stop()
        service.recognizer.gate.set()
        service.start(ray.settings(service.folder))
        assert (ended(api, name)["state"], len(ray.submitted)) == ("done", 1)

    def test_leaves_no_folders_of_jobs_that_are_gone(self, service, ray):
        gone = service.folder / "data/ray/transcription-job-gone-1"
        gone.mkdir(parents=True)
        service.stop()
        service.start(ray.settings(service.folder))
        assert not gone.exists()


class TestFullDisk:
    def test_fails_the_files_with_the_reason(self, api, service, ray, monkeypatch):
        service.medium("a.mp4", TEXT)

        def full(path: Path, _: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(hearing, "write_json", full)
        name = begun(api, paths=["dataset"])
        job = ended(api, name)
        assert job["state"] == "failed"
        assert "No space left on device" in job["error"]
        monkeypatch.undo()
        monkeypatch.setattr(ray_task, "_recognizer", lambda *_: service.recognizer)
        api.post(f"/v1/jobs/{name}/retry")
        assert ended(api, name)["state"] == "done"

    def test_of_the_service_is_named_and_waited_for(self, api, service, ray, monkeypatch):
        service.medium("a.mp4", TEXT)
        monkeypatch.setattr(
            "entrypoints.transcription.ray_jobs.copy_folder",
            lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")),
        )
        name = begun(api, paths=["dataset"])
        assert "No space left on device" in until(api, name, lambda job: job["error"])["error"]
        monkeypatch.undo()
        monkeypatch.setattr(ray_task, "_recognizer", lambda *_: service.recognizer)
        assert ended(api, name)["state"] == "done"


class TestMissing:
    def test_medium_fails_alone(self, api, service, ray):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", TEXT)
        ray.answers = False
        name = begun(api, paths=["dataset"])
        (service.dataset / "a.mp4").unlink()
        ray.answers = True
        job = ended(api, name)
        assert [file["state"] for file in job["files"]] == ["failed", "done"]
        assert job["error"] == "There is no file or folder 'dataset/a.mp4'."
