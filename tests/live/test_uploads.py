"""Users' uploads, on a separate Ray node: they do not go into Redis, and end no other user's job.

About three minutes with built images. ``UPLOADS=200`` submits as many large packages as the report that this is about.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from typing import Any, cast

import pytest

from bench.uploads import Cluster, Figures, measure, package
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

NUMBER = int(os.environ.get("UPLOADS", "6"))
DASHBOARD = 31265
SETTINGS: dict[str, Any] = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-uploads", "subnet": "10.216.0.0/24"},
        "ray": {
            "cpu": {
                "enabled": True,
                "torch": False,
                "memory": "4g",
                "ports": {"dashboard": DASHBOARD, "client": 31001},
            }
        },
        "redis": {"port": 31381},
        "health": {"port": 31888},
    },
)
REDIS_BOUND = 30 * 2**20
DATA = os.urandom(20_000_000)

# A program of the head's container whose runtime environment has large modules or a large folder.
DRIVER = """
import os, pathlib, ray, sys, tempfile
kind, address = sys.argv[1:]
folder = pathlib.Path(tempfile.mkdtemp(dir="/scratch/ray-cpu/tmp")) / "thing"
folder.mkdir()
(folder / "__init__.py").write_text("ANSWER = 42")
(folder / "data.bin").write_bytes(os.urandom(40_000_000))
environments = {"py_modules": {"py_modules": [str(folder)]}, "working_dir": {"working_dir": str(folder)}}
ray.init(address, runtime_env=environments[kind])

@ray.remote
def look():
    if kind == "py_modules":
        import thing
        return thing.ANSWER
    return pathlib.Path("data.bin").stat().st_size

print("found", ray.get(look.remote(), timeout=120))
"""
CLOSURE = """
import os, ray
ray.init("auto")
large = os.urandom(90_000_000)

@ray.remote
def measure():
    return len(large)

print("measured", ray.get(measure.remote(), timeout=120))
"""


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-uploads", SETTINGS, tmp_path_factory.mktemp("uploads")) as stack:
        yield stack


@pytest.fixture
def cluster(stack: LiveStack) -> Iterator[Cluster]:
    """The cluster, of which neither the head nor Redis may end, and whose Redis stays small."""
    found = Cluster(stack.name)
    starts = found.starts()
    yield found
    assert found.starts() == starts
    assert found.redis_memory() < REDIS_BOUND


def new_package() -> tuple[str, str, bytes]:
    """A package that no node has: its marker, its name, its content."""
    marker = os.urandom(20).hex()
    return marker, f"_ray_pkg_{marker}.zip", package(marker, DATA)


def upload(cluster: Cluster, name: str, content: bytes) -> None:
    cluster.ask("PUT", f"/api/packages/gcs/{name}", content, "application/octet-stream")


def ended(cluster: Cluster, job: str, seconds: float = 180) -> tuple[str, str]:
    """Waits for a job; its status, and what its user sees."""
    wait_until(lambda: cluster.job(job)["status"] not in ("PENDING", "RUNNING"), f"the end of {job}", seconds)
    found = cluster.job(job)
    logs = json.loads(cluster.ask("GET", f"/api/jobs/{job}/logs"))["logs"]
    return str(found["status"]), f"{found['message']}\n{logs}"


def stored(cluster: Cluster, content: bytes) -> str:
    """Where the store has a package."""
    return f"/scratch/packages/{hashlib.sha256(content).hexdigest()}"


def run_driver(cluster: Cluster, program: str, *arguments: str) -> str:
    """Runs a program in the head's container; what it prints."""
    code, output = cast("tuple[int, bytes]", cluster.head.exec_run(["python", "-c", program, *arguments]))
    said = output.decode(errors="replace")
    assert code == 0, said[-2000:]
    return said


class TestManyPackages:
    def test_leave_head_and_redis_and_other_jobs_alone(self, cluster):
        figures = Figures(NUMBER, 95)
        measure(cluster, figures, at_once=2)
        assert not figures.failed
        assert figures.other_job == "RUNNING"
        assert figures.redis_peak < REDIS_BOUND


class TestWaysToUpload:
    @pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:10001"])
    @pytest.mark.parametrize(("kind", "found"), [("py_modules", "found 42"), ("working_dir", "found 40000000")])
    def test_a_driver_uploads(self, cluster, address, kind, found):
        assert found in run_driver(cluster, DRIVER, kind, address)

    def test_a_function_with_a_large_closure_runs(self, cluster):
        assert "measured 90000000" in run_driver(cluster, CLOSURE)

    def test_two_submit_the_same_at_once(self, cluster):
        marker, name, content = new_package()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: upload(cluster, name, content), range(2)))
            jobs = list(pool.map(lambda _: cluster.submit("python main.py", f"gcs://{name}"), range(2)))
        for job in jobs:
            status, said = ended(cluster, job)
            assert status == "SUCCEEDED", said
            assert marker in said


class TestWhatGoesWrong:
    def test_the_head_starts_again_between_upload_and_job(self, stack):
        cluster = Cluster(stack.name)
        marker, name, content = new_package()
        upload(cluster, name, content)
        stack.container("ray-cpu").restart(timeout=60)
        wait_until(lambda: not stack.unhealthy(), "a healthy stack", 180)
        cluster.ask("GET", f"/api/packages/gcs/{name}")  # it is still there
        status, said = ended(cluster, cluster.submit("python main.py", f"gcs://{name}"))
        assert status == "SUCCEEDED", said
        assert marker in said

    def test_an_interrupted_upload_leaves_nothing(self, cluster):
        marker, name, content = new_package()
        request = (
            f"PUT /api/packages/gcs/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {cluster.token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", DASHBOARD)) as link:
            link.sendall(request.encode() + content[: len(content) // 2])
        time.sleep(2)
        with pytest.raises(OSError, match="404"):
            cluster.ask("GET", f"/api/packages/gcs/{name}")
        assert not cluster.inside(cluster.head, "ls /scratch/packages/incoming").split()
        upload(cluster, name, content)
        status, said = ended(cluster, cluster.submit("python main.py", f"gcs://{name}"))
        assert status == "SUCCEEDED", said
        assert marker in said

    def test_a_file_removed_by_hand_is_said_and_uploaded_again(self, cluster):
        _, name, content = new_package()
        upload(cluster, name, content)
        cluster.inside(cluster.head, f"rm -r {stored(cluster, content)}")
        status, said = ended(cluster, cluster.submit("python main.py", f"gcs://{name}"))
        assert status == "FAILED"
        assert "Submit the job again" in said
        with pytest.raises(OSError, match="404"):  # so `ray job submit` uploads it
            cluster.ask("GET", f"/api/packages/gcs/{name}")
        upload(cluster, name, content)
        # Ray remembers a failed environment for a while after the last of its job has ended.
        deadline = time.monotonic() + 60
        while (outcome := ended(cluster, cluster.submit("python main.py", f"gcs://{name}")))[0] != "SUCCEEDED":
            assert time.monotonic() < deadline, outcome
            time.sleep(5)

    def test_a_package_beyond_rays_own_bound_is_refused(self, cluster):
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("data.bin", bytes(110 * 2**20))
        with pytest.raises(OSError, match=r"413|Maximum request body size|Broken pipe|reset"):
            upload(cluster, "_ray_pkg_too_large.zip", memory.getvalue())

    def test_a_full_scratch_is_the_answer(self, cluster):
        _, name, content = new_package()
        report = {"service": "ray-cpu", "full": True, "message": "ray-cpu: scratch full: 40 of 40 GB"}
        file = "/scratch/use/ray-cpu.json"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # the node's guard writes it again soon
            text = json.dumps(report | {"time": time.time()})
            cluster.inside(cluster.head, f"mkdir -p /scratch/use && echo '{text}' > {file}")
            try:
                upload(cluster, name, content)
            except OSError as error:
                assert str(error) == "507: ray-cpu: scratch full: 40 of 40 GB"  # noqa: PT017
                cluster.inside(cluster.head, f"rm {file}")
                return
        pytest.fail("the upload was never refused")

    def test_the_store_of_a_node_wants_the_token(self, cluster):
        _, name, content = new_package()
        upload(cluster, name, content)
        address = f"http://127.0.0.1:52365/api/cslr/packages/{hashlib.sha256(content).hexdigest()}"
        ask = (
            "import sys, urllib.request as u, urllib.error as e\n"
            "r = u.Request(sys.argv[1], headers=dict([sys.argv[2:]]) if sys.argv[2:] else {})\n"
            "try: print(len(u.urlopen(r).read()))\nexcept e.HTTPError as error: print(error.code)"
        )
        assert run_driver(cluster, ask, address).strip() == "401"
        told = run_driver(cluster, ask, address, "Authorization", f"Bearer {cluster.token}")
        assert told.strip() == str(len(content))
