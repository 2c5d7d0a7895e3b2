"""How long the exporter's image takes, cold and after each kind of change, and what it costs while it runs.

``python -m bench.exporter``. Each scenario is built twice, by the platform's Dockerfile and by a naive one of a single
stage (bench/naive/exporter.Dockerfile), on the same base, which is there before. Cold means that no step comes from the
build cache; wheels, one megabyte, may come from pip's.
"""

import http.client
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from rich.console import Console

from bench.document import WIDE, machine, version_of, write_section
from bench.recipe_builds import (
    RUN,
    Scenario,
    base_of,
    copy_context,
    nothing,
    remove,
    seconds,
    size,
    timed,
    verdict,
)
from docker_api.api import DockerApi
from images.catalog import CATALOG
from images.versions import versions

IMAGE = CATALOG["system-info-exporter"]
NAIVE = Path(__file__).parent / "naive" / "exporter.Dockerfile"
LOCK = "images/exporter/requirements.txt"
PROGRAM = "entrypoints/exporter/demo.py"
OTHER_PACKAGES = ("prometheus-client", "nvidia-ml-py", "psutil<7.2")
GPUS, STARTS, SCRAPES = 8, 10, 200
POLL_SECONDS = 0.005
MB, MIB = 1e6, 2**20


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to build the image."""

    name: str
    dockerfile: str  # in the copy


def code(folder: Path, _dockerfile: str) -> None:
    """An edit of the program."""
    file = folder / PROGRAM
    file.write_text(file.read_text().replace("PERIOD = 300.0", f"PERIOD = 300.0  # {RUN}"))


def dependency(folder: Path, _dockerfile: str) -> None:
    """Another version of a package."""
    command = ["uv", "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    (python,) = versions().debian["trixie"].pythons
    command += ["--python-version", python, "--only-binary", ":all:", "--no-python-downloads"]
    done = subprocess.run(command, input="\n".join(OTHER_PACKAGES), check=True, capture_output=True, text=True)
    (folder / LOCK).write_text(f"# {RUN}\n{done.stdout}")


def config(folder: Path, dockerfile: str) -> None:
    """A setting in the Dockerfile; those of the program need no build at all."""
    file = folder / dockerfile
    file.write_text(re.sub(r"^ENV PATH=", f"ENV BENCH={RUN} PATH=", file.read_text(), flags=re.MULTILINE))


SCENARIOS = (
    Scenario(name="cold", former="4 min 51 s", goal=60, change=nothing),
    Scenario(name="code", former="1 min 23 s", goal=3, change=code),
    Scenario(name="dependency", former="3 min 12 s", goal=15, change=dependency),
    Scenario(name="config", former="58 s", goal=2, change=config),
)
CONTENDERS = (
    Contender(name="platform", dockerfile="exporter.Dockerfile"),
    Contender(name="naive", dockerfile="naive.Dockerfile"),
)


def main() -> int:
    """Measures, and writes the section."""
    host = machine() | {"commit": version_of("git", "describe", "--always", "--dirty")}
    api = DockerApi()
    base = base_of(IMAGE, api)
    tags = {contender.name: f"cslr-bench/exporter:{contender.name}" for contender in CONTENDERS}
    try:
        times = {contender.name: list(measure(api, contender, base, tags[contender.name])) for contender in CONTENDERS}
        below = size(api, base)
        sizes = {name: size(api, tag) - below for name, tag in tags.items()}
        running = run(tags["platform"])
    finally:
        remove(api, *tags.values())
    text = "\n".join(lines(times, sizes, running, host))
    Console(width=None if sys.stdout.isatty() else WIDE).print(text, markup=False)
    write_section("exporter", text)
    return 0


def measure(api: DockerApi, contender: Contender, base: str, tag: str) -> Iterator[float]:
    """Seconds of each scenario, on what the one before it left."""
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        folder = Path(name)
        copy_context(IMAGE, folder)
        shutil.copy(NAIVE, folder / "naive.Dockerfile")
        shutil.copy(f"{IMAGE.dockerfile}.dockerignore", folder / "naive.Dockerfile.dockerignore")
        for scenario in SCENARIOS:
            scenario.change(folder, contender.dockerfile)
            fresh = scenario.name == "cold"
            took = timed(api, folder, contender.dockerfile, tag, {"BASE": base}, fresh=fresh)
            yield took
            print(f"{contender.name}, {scenario.name}: {took:.1f} s", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a container of the image does."""

    ready: list[float]  # seconds from Docker's start to the first figures
    scrapes: list[float]  # seconds
    series: int
    bytes: int  # of one scrape
    processes: dict[str, float]  # process → resident bytes
    container: float  # bytes that Docker counts


def run(tag: str) -> Running:
    """Starts containers, and scrapes the last one."""
    client = docker.from_env()
    ready = []
    for number in range(STARTS):
        container: Container = client.containers.create(tag, ["--demo", str(GPUS)], publish_all_ports=True)
        try:
            began = time.monotonic()
            container.start()
            port = port_of(container)
            while not answers(port):
                time.sleep(POLL_SECONDS)
            ready.append(time.monotonic() - began)
            if number == STARTS - 1:
                return scraped(container, port, ready)
        finally:
            container.remove(force=True)
    raise AssertionError("unreachable")


def port_of(container: Container) -> int:
    """The port of this host."""
    container.reload()
    ports: Any = container.ports
    return int(ports["8080/tcp"][0]["HostPort"])


def answers(port: int) -> bool:
    """Whether the exporter has figures."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def scraped(container: Container, port: int, ready: list[float]) -> Running:
    """Scrapes as often as Prometheus never would."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    scrapes, text = [], ""
    for _ in range(SCRAPES):
        began = time.monotonic()
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        connection.getresponse().read()
        scrapes.append(time.monotonic() - began)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r'^cslr_exporter_resident_memory_bytes\{process="(\w+)"\} (\S+)$', text, re.MULTILINE)
    told: Any = container.stats(stream=False)
    memory = told["memory_stats"]
    return Running(
        ready=ready,
        scrapes=scrapes,
        series=sum(not line.startswith("#") for line in text.splitlines()),
        bytes=len(text),
        processes={process: float(value) for process, value in found},
        container=float(memory["usage"] - memory.get("stats", {}).get("inactive_file", 0)),
    )


def lines(
    times: dict[str, list[float]], sizes: dict[str, int], running: Running, host: dict[str, str]
) -> Iterator[str]:
    """The section of the document."""
    yield "## The exporter"
    yield ""
    yield "The image `system-info-exporter` by its Dockerfile and by a naive one of a single stage"
    yield "(`bench/naive/exporter.Dockerfile`), each scenario on what the one before it left, on a base that is there."
    yield "Cold: no step from the build cache. Config: a variable in the Dockerfile; settings of the program need no"
    yield "build. Former: another program, elsewhere."
    yield ""
    yield "| after a change of | former | naive | goal | measured | |"
    yield "|---|---|---:|---:|---:|---|"
    for scenario, ours, naive in zip(SCENARIOS, times["platform"], times["naive"], strict=True):
        what = "nothing, cold" if scenario.change is nothing else scenario.name
        yield (
            f"| {what} | {scenario.former} | {seconds(naive)} | {scenario.goal:.0f} s | {seconds(ours)} |"
            f" {verdict(ours <= scenario.goal)} |"
        )
    yield ""
    yield f"Running by itself, with {GPUS} GPUs of the demo and node_exporter:"
    yield ""
    yield "| | goal | measured | |"
    yield "|---|---:|---:|---|"
    over, naive_over = sizes["platform"] / MB, sizes["naive"] / MB
    yield f"| image over its base (naive: {naive_over:.0f} MB) | 60 MB | {over:.1f} MB | {verdict(over <= 60)} |"
    slowest = max(running.ready)
    yield (
        f"| ready after Docker's start, slowest of {STARTS} (median {statistics.median(running.ready):.2f} s) | 1 s |"
        f" {slowest:.2f} s | {verdict(slowest < 1)} |"
    )
    p95 = statistics.quantiles(running.scrapes, n=20)[-1] * 1000
    yield (
        f"| scrape, 95th percentile of {SCRAPES} (median {statistics.median(running.scrapes) * 1000:.0f} ms,"
        f" {running.series} series, {running.bytes / 1000:.0f} kB) | 50 ms | {p95:.0f} ms | {verdict(p95 <= 50)} |"
    )
    resident = sum(running.processes.values()) / MB
    parts = ", ".join(f"{name} {value / MB:.1f}" for name, value in running.processes.items())
    yield f"| resident memory, sum of {parts} | 60 MB | {resident:.1f} MB | {verdict(resident <= 60)} |"
    yield f"| memory of the container, as Docker counts it | | {running.container / MIB:.1f} MiB | |"
    yield ""
    yield "Real GPUs add the process that asks NVML."
    yield ""
    yield "; ".join(f"{name}: {value}" for name, value in host.items()) + "."
    yield "Command: `python -m bench.exporter`."


if __name__ == "__main__":
    sys.exit(main())
