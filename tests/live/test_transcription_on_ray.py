"""Transcription jobs on a deployed Ray cluster: real speech, a node that dies, a service that restarts, and a cancel.

The Ray node has no PyTorch, and faster-whisper as a package of the stack's own.
"""

import wave
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.harness import merged
from testing.live.deployment import LiveStack, wait_until

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-heard", "subnet": "10.239.0.0/24"},
    "images": {"packages": ["faster-whisper"]},
    "ray": {"cpu": {"torch": False, "cpus": 2, "memory": "4g", "ports": {"dashboard": 16265, "client": 16001}}},
    "marimo": {"enabled": False},
    "redis": {"port": 16381},
    "mlflow": {"port": 16500, "logins": True},
    "health": {"port": 16888},
    "transcription": {"enabled": True, "port": 16090, "jobs": {"run_on": "ray", "cpus": 1}},
}
SERVICE = f"http://127.0.0.1:{SETTINGS['transcription']['port']}"
MLFLOW = f"http://127.0.0.1:{SETTINGS['mlflow']['port']}"
RAY = f"http://127.0.0.1:{SETTINGS['ray']['cpu']['ports']['dashboard']}"
WORDS = ("tomorrow", "sunny", "warm", "south")
TIMES = 30  # how often a long file says the sentence
SECONDS = 400.0  # for a job: Ray starts its processes, on a busy host
ENDED = ("done", "failed", "cancelled")
# Makes an MP3 with bytes that are no sound and a title in no known encoding; prints how many samples it had and has.
DAMAGED = """
import sys
sys.path.insert(0, "/run/cslr")
from pathlib import Path
import av, numpy as np
from entrypoints.transcription.sound import RATE, sound_of
sound, file = sound_of(Path(sys.argv[1])), Path("/tmp/talk.mp3")
with av.open(str(file), "w", format="mp3") as container:
    stream = container.add_stream("mp3", rate=RATE)
    frame = av.AudioFrame.from_ndarray((sound * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = RATE
    fifo = av.AudioFifo()
    fifo.write(frame)
    for part in [*fifo.read_many(1152, partial=True), None]:
        container.mux(stream.encode(part))
content = bytearray(file.read_bytes())
third = len(content) // 3
content[third : third + 600] = bytes(600)
title = b"TIT2" + (5).to_bytes(4, "big") + bytes(2) + bytes([3, 0xE4, 0xF6, 0xFC, 0xDF])
Path("/tmp/damaged.mp3").write_bytes(bytes([*b"ID3", 3, 0, 0, 0, 0, 0, len(title)]) + title + content)
print(len(sound), len(sound_of(Path("/tmp/damaged.mp3"))))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "dataset"
    folder.mkdir()
    folder.parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def stack(docker_engine: None, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    settings = merged(SETTINGS, {"transcription": {"dataset": str(dataset)}})
    stack = LiveStack.make("live-heard", settings, tmp_path_factory.mktemp("heard"))
    stack.remove()  # what a killed run of these tests left
    try:
        for command in (("packages", "lock"), ("up", "--engine", "embedded")):
            done = stack.ws(*command)
            assert done.returncode == 0, done.stdout
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def api(stack: LiveStack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.secrets()['transcription-token'].strip()}"}
    with httpx.Client(base_url=SERVICE, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def english(api: httpx.Client) -> bytes:
    """The sentence that espeak-ng says in the service's image."""
    answer = api.get("/v1/files/content", params={"path": "examples/english.wav"})
    assert answer.status_code == 200, answer.text
    return answer.content


def said(sound: bytes, times: int) -> bytes:
    """A WAV file that says the same several times."""
    target = BytesIO()
    with wave.open(BytesIO(sound)) as source, wave.open(target, "wb") as file:
        file.setparams(source.getparams())
        file.writeframes(source.readframes(source.getnframes()) * times)
    return target.getvalue()


def begun(api: httpx.Client, *paths: str, **wanted: Any) -> str:
    answer = api.post("/v1/jobs", json={"paths": paths, "language": "en", **wanted})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def when(api: httpx.Client, name: str, reached: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
    """The job as soon as a condition holds. A service that restarts meanwhile is waited for."""
    found: dict[str, Any] = {}

    def holds() -> bool:
        try:
            found.update(api.get(f"/v1/jobs/{name}").json())
        except httpx.TransportError:
            return False
        return bool(reached(found))

    wait_until(holds, f"{what}: {found}", SECONDS)
    return found


def ended(api: httpx.Client, name: str) -> dict[str, Any]:
    return when(api, name, lambda job: job["state"] in ENDED, "the end of a job")


def ray_jobs(stack: LiveStack, name: str) -> dict[str, str]:
    """The Ray jobs of a job: how each ended."""
    headers = {"Authorization": f"Bearer {stack.secrets()['ray-token'].strip()}"}
    found = httpx.get(f"{RAY}/api/jobs/", headers=headers, timeout=60).json()
    return {job["submission_id"]: job["status"] for job in found if name in (job["submission_id"] or "")}


def text(api: httpx.Client, name: str, index: int) -> str:
    return api.get(f"/v1/jobs/{name}/files/{index}/result.txt").text.lower()


def test_job_hears_on_the_cluster_and_is_a_run_in_mlflow(stack, api):
    mlflow = httpx.Client(base_url=f"{MLFLOW}/api/2.0/mlflow", auth=stack.mlflow_login, timeout=60)
    job = ended(api, begun(api, "examples/english.wav"))
    assert (job["state"], job["where"], job["error"]) == ("done", "ray", None)
    assert not [word for word in WORDS if word not in text(api, job["id"], 0)]
    assert api.get(f"/v1/jobs/{job['id']}/files/0/result.json").json()["processing"]["where"] == "ray"
    # The service knows all results before Ray has ended the job.
    wait_until(lambda: ray_jobs(stack, job["id"]) == {f"transcription-{job['id']}-1": "SUCCEEDED"}, "its end on Ray")
    run = when(api, job["id"], lambda job: job["mlflow_run"], "the run in MLflow")["mlflow_run"]
    found = mlflow.get("/runs/get", params={"run_id": run}).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in found["data"]["metrics"]}
    assert metrics["files_done"] == 1
    assert metrics["real_time_factor"] > 0
    assert {"key": "where", "value": "ray"} in found["data"]["params"]
    artifacts = mlflow.get("/artifacts/list", params={"run_id": run, "path": "examples"})
    assert "examples/english.vtt" in {file["path"] for file in artifacts.json()["files"]}


def test_same_media_are_not_heard_again_wherever_they_are(api, dataset, english):
    (dataset / "copy.wav").write_bytes(english)
    job = ended(api, begun(api, "dataset/copy.wav"))
    assert [file["reused"] for file in job["files"]] == [True]
    (dataset / "copy.wav").unlink()


@pytest.mark.parametrize("service", ["transcription", "ray-cpu"])
def test_damaged_broadcast_is_heard_to_its_end_with_each_images_packages(stack, dataset, english, service):
    (dataset / "clear.wav").write_bytes(english)
    target = {"transcription": "/media/dataset", "ray-cpu": "/run/cslr/transcription/dataset"}[service]
    code, output = stack.exec(service, "/opt/venv/bin/python", "-c", DAMAGED, f"{target}/clear.wav")
    (dataset / "clear.wav").unlink()
    assert code == 0, output
    whole, damaged = map(int, output.split()[-2:])
    assert whole * 0.9 < damaged < whole


def test_job_goes_on_while_its_service_restarts(stack, api, dataset, english):
    (dataset / "long.wav").write_bytes(said(english, TIMES))
    name = begun(api, "dataset/long.wav", prompt="restart")
    when(api, name, lambda job: job["counts"]["running"], "the beginning of a file")
    stack.container("transcription").restart(timeout=20)
    job = ended(api, name)
    assert (job["state"], list(ray_jobs(stack, name))) == ("done", [f"transcription-{name}-1"])
    found = api.get(f"/v1/jobs/{name}/files/0/result.json").json()
    # How often Whisper hears a sentence that is said again and again, differs from run to run.
    assert "sunny" in found["text"].lower()
    assert found["segments"][-1]["end"] > found["source"]["duration"] / 2


def test_job_whose_node_dies_does_only_what_is_missing(stack, api, dataset, english):
    (dataset / "a.wav").write_bytes(said(english, 2))
    (dataset / "b.wav").write_bytes(said(english, TIMES))
    (dataset / "c.wav").write_bytes(said(english, TIMES + 1))
    (dataset / "long.wav").unlink()
    name = begun(api, "dataset")
    before = when(api, name, lambda job: job["counts"]["done"] and job["counts"]["running"], "the end of one file")
    first = next(file for file in before["files"] if file["state"] == "done")
    stack.container("ray-cpu").kill()
    stack.container("ray-cpu").start()
    job = ended(api, name)
    assert (job["state"], job["counts"]["done"]) == ("done", 3)
    assert next(file for file in job["files"] if file["path"] == first["path"]) == first


def test_cancelled_job_ends_on_the_cluster_too(stack, api, dataset, english):
    name = begun(api, "dataset/b.wav", prompt="cancel")
    when(api, name, lambda job: job["counts"]["running"], "the beginning of a file")
    api.post(f"/v1/jobs/{name}/cancel")
    assert ended(api, name)["state"] == "cancelled"
    wait_until(lambda: ray_jobs(stack, name) == {f"transcription-{name}-1": "STOPPED"}, "the end of the Ray job")
    assert api.get(f"/v1/jobs/{name}/files/0/result.vtt").status_code == 409
