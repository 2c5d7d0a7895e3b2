"""Measures what many submissions with large, distinct working_dirs leave in Redis and in the scratch folder.

    python -m bench.uploads STACK [--number 200] [--megabytes 95] [--at-once 2]

Runs against a stack that is up on this host. A job that began before the first one must still run after the last one,
and neither the head nor Redis may have been started again. Prints one line for every 10 jobs and, at the end, JSON.
"""

import argparse
import concurrent.futures
import io
import json
import os
import sys
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import docker
from docker.models.containers import Container

PROGRAM = 'import os; print(open("marker").read(), os.path.getsize("data.bin"))'
CANARY = "import ray, time; ray.init(); [time.sleep(1) for _ in range(36000)]"
MEMORY = 'REDISCLI_AUTH="$(cat /run/secrets/redis-password)" redis-cli info memory'
ANSWER_SECONDS, JOB_SECONDS = 300.0, 600.0


class Cluster:
    """The Jobs API of a stack, and its containers."""

    def __init__(self, stack: str) -> None:
        engine = docker.from_env(timeout=120)
        self.head: Container = engine.containers.get(f"cslr-{stack}-ray-cpu")
        self.redis: Container = engine.containers.get(f"cslr-{stack}-redis")
        port = self.head.attrs["NetworkSettings"]["Ports"]["8265/tcp"][0]["HostPort"]
        self._url = f"http://127.0.0.1:{port}"
        self.token = self.inside(self.head, "cat /run/secrets/ray-token").strip()

    def inside(self, container: Container, command: str) -> str:
        """Return the output of a shell command in a container."""
        return cast("bytes", container.exec_run(["sh", "-c", command]).output).decode(errors="replace")

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> str:
        """Return the answer of the Jobs API. Raises OSError with its message."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise OSError(f"{error.code}: {error.read().decode(errors='replace')[-500:]}") from None

    def submit(self, entrypoint: str, uri: str | None = None) -> str:
        """Submit a job; return its id."""
        body = {"entrypoint": entrypoint, "runtime_env": {"working_dir": uri} if uri else {}}
        return str(json.loads(self.ask("POST", "/api/jobs/", json.dumps(body).encode()))["submission_id"])

    def job(self, name: str) -> dict[str, Any]:
        """Return the state of a job."""
        return dict(json.loads(self.ask("GET", f"/api/jobs/{name}")))

    def redis_memory(self) -> int:
        """Return the bytes that Redis uses."""
        for _ in range(20):  # a busy Engine sometimes returns nothing
            for line in self.inside(self.redis, MEMORY).split():
                if line.startswith("used_memory:"):
                    return int(line.partition(":")[2])
            time.sleep(0.5)
        raise OSError("Redis does not say how much memory it uses")

    def stored(self) -> int:
        """Return the bytes in the package store."""
        return int(self.inside(self.head, "du -sb /scratch/packages 2>/dev/null | tail -1").split()[0])

    def starts(self) -> tuple[str, ...]:
        """Return when head and Redis were started; another value means that one was started again."""
        for container in (self.head, self.redis):
            container.reload()
        return tuple(str(container.attrs["State"]["StartedAt"]) for container in (self.head, self.redis))


@dataclass
class Figures:
    """What was measured; sizes in bytes, times in seconds."""

    number: int
    megabytes: int
    redis_before: int = 0
    redis_peak: int = 0
    redis_after: int = 0
    stored_peak: int = 0
    stored_after: int = 0
    upload_seconds: list[float] = field(default_factory=list)
    job_seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    total_seconds: float = 0.0
    same_head_and_redis: bool = False
    other_job: str = ""


def package(marker: str, data: bytes) -> bytes:
    """Return a zipped working_dir with unique content."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("main.py", PROGRAM)
        archive.writestr("marker", marker)
        archive.writestr("data.bin", marker.encode() + data[len(marker) :])
    return memory.getvalue()


def one(cluster: Cluster, marker: str, data: bytes, figures: Figures) -> None:
    """Upload a package, run a job of it, and see that it got its own content."""
    uri = f"_ray_pkg_{marker}.zip"
    started = time.monotonic()
    try:
        try:
            cluster.ask("GET", f"/api/packages/gcs/{uri}")  # as `ray job submit` does: it holds what is uploaded next
        except OSError as error:
            if not str(error).startswith("404"):
                raise
        cluster.ask("PUT", f"/api/packages/gcs/{uri}", package(marker, data), "application/octet-stream")
        figures.upload_seconds.append(round(time.monotonic() - started, 2))
        name = cluster.submit("python main.py", f"gcs://{uri}")
        while (job := cluster.job(name))["status"] in ("PENDING", "RUNNING"):
            if time.monotonic() - started > JOB_SECONDS:
                raise TimeoutError(f"{name} is {job['status']} after {JOB_SECONDS:.0f} s")
            time.sleep(0.5)
        logs = json.loads(cluster.ask("GET", f"/api/jobs/{name}/logs"))["logs"]
        if job["status"] != "SUCCEEDED" or f"{marker} {len(data)}" not in logs:
            figures.failed.append(f"{name}: {job['status']}: {job.get('message')}"[:500])
        figures.job_seconds.append(round(time.monotonic() - started, 2))
    except Exception as error:  # noqa: BLE001 (of whatever kind: it is a job that failed)
        figures.failed.append(f"{marker}: {error!r}")


def measure(cluster: Cluster, figures: Figures, at_once: int) -> None:
    """Submit them all, and fill in the figures."""
    data = os.urandom(figures.megabytes * 1_000_000)
    starts, began = cluster.starts(), time.monotonic()
    canary = cluster.submit(f"python -c '{CANARY}'")
    while cluster.job(canary)["status"] == "PENDING":
        time.sleep(0.5)
    figures.redis_before = cluster.redis_memory()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        markers = [os.urandom(20).hex() for _ in range(figures.number)]
        jobs = [pool.submit(one, cluster, marker, data, figures) for marker in markers]
        for done, job in enumerate(jobs, 1):
            job.result()
            try:
                redis, stored = cluster.redis_memory(), cluster.stored()
            except (OSError, LookupError, ValueError) as error:
                print(f"not measured: {error!r}", flush=True)
                continue
            figures.redis_peak, figures.stored_peak = max(figures.redis_peak, redis), max(figures.stored_peak, stored)
            if done % 10 == 0:
                print(
                    f"{done} jobs, {len(figures.failed)} failed, Redis {redis / 2**20:.1f} MiB, "
                    f"store {stored / 2**30:.2f} GiB, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    figures.redis_after, figures.stored_after = cluster.redis_memory(), cluster.stored()
    figures.total_seconds = round(time.monotonic() - began, 1)
    figures.same_head_and_redis = cluster.starts() == starts
    figures.other_job = str(cluster.job(canary)["status"])
    cluster.ask("POST", f"/api/jobs/{canary}/stop")


def main() -> int:
    """Run it; 0 when nothing failed and nothing was started again."""
    parser = argparse.ArgumentParser(prog="bench.uploads")
    parser.add_argument("stack")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=95)
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    figures = Figures(options.number, options.megabytes)
    measure(Cluster(options.stack), figures, options.at_once)
    print(json.dumps(asdict(figures)))
    return 0 if not figures.failed and figures.same_head_and_redis and figures.other_job == "RUNNING" else 1


if __name__ == "__main__":
    sys.exit(main())
