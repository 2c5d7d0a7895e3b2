"""A real Prometheus with the platform's configuration, rules and health service: whom it finds, and what it fires."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from components.scrape_config import Scraping, configuration
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.facts import VERIFICATION, VerificationFact
from contracts.health import HealthSettings, Kind, WatchedService
from stack import facts
from testing.harness import PROJECT
from testing.servers import free_port, server_process, wait_for_port

RULES = PROJECT / "entrypoints" / "prometheus" / "alerts.yaml"
SECONDS = 40.0


class Node(BaseHTTPRequestHandler):
    """Figures of a Ray node."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"ray_node_cpu_count 2\n")

    def log_message(self, *_):
        pass


@dataclass(frozen=True)
class Health:
    """A running health service."""

    port: int
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def health(tmp_path_factory) -> Iterator[Health]:
    """The health service. Its one Ray node has figures, although it leads no cluster; a verification failed."""
    folder = tmp_path_factory.mktemp("health")
    facts.write(folder, VERIFICATION, VerificationFact(time=time.time(), passed=12, failed=1))
    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as node:
        Thread(target=node.serve_forever, daemon=True).start()
        settings = HealthSettings(
            stack="dev",
            services=(WatchedService(name="ray-cpu", kind=Kind.RAY, host="127.0.0.1", port=free_port()),),
            ray_nodes=("ray-cpu",),
            ray_metrics={"ray-cpu": node.server_port},
            host="gpu1",
            facts=(folder / facts.FOLDER,),
            secrets=folder,
            port=free_port(),
        )
        environment = {**os.environ, SETTINGS_VARIABLE: dump(settings), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "entrypoints.health.server"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(settings.port, SECONDS)
            yield Health(settings.port, process)
        finally:
            process.terminate()
            process.wait(10)
            node.shutdown()


@pytest.fixture(scope="module")
def asked(prometheus, health, tmp_path_factory) -> Iterator[Callable[[str], Any]]:
    """Prometheus' API."""
    folder, port = Path(tmp_path_factory.mktemp("prometheus")), free_port()
    scraping = Scraping(stack="dev", host="gpu1", interval=1, services=("health", "prometheus"), rules=(str(RULES),))
    text = configuration(scraping)
    for name, here in (("health:8888", f"127.0.0.1:{health.port}"), ("prometheus:9090", f"127.0.0.1:{port}")):
        text = text.replace(name, here)
    (folder / "prometheus.yaml").write_text(text)
    options = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with server_process([str(prometheus), *options, f"--web.listen-address=127.0.0.1:{port}"], port):

        def ask(path: str) -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
                return json.load(answer)["data"]

        until(lambda: is_ready(f"http://127.0.0.1:{port}/-/ready"))  # it listens before it has read its data
        yield ask


def is_ready(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def up(asked: Callable[[str], Any]) -> dict[str, str]:
    """Job → whether its figures come, of those that are known by now."""
    return {target["labels"]["job"]: target["health"] for target in asked("targets?state=active")["activeTargets"]}


def test_finds_services_by_name_and_nodes_by_the_health_service(asked):
    until(lambda: up(asked) == dict.fromkeys(("health", "prometheus", "ray"), "up"))
    (series,) = asked("query?query=ray_node_cpu_count")["result"]
    labels = series["metric"]
    assert (labels["job"], labels["node"], labels["host"]) == ("ray", "ray-cpu", "gpu1")


def firing(asked: Callable[[str], Any]) -> dict[str, Any]:
    """Alerts by name, those that wait for their time included."""
    return {one["labels"]["alertname"]: one for one in asked("alerts")["alerts"]}


def test_fires_what_the_health_service_tells(asked):
    until(lambda: {"VerificationFailed", "NoHead", "RayNodeGone"} <= firing(asked).keys())
    found = firing(asked)
    assert found["VerificationFailed"]["state"] == "firing"
    assert found["VerificationFailed"]["annotations"]["summary"] == "1 check of the last verification failed"
    assert "ws test -s dev" in found["VerificationFailed"]["annotations"]["remedy"]
    assert found["NoHead"]["state"] == "pending"


def test_what_the_health_service_told_stays_when_it_ends(asked, health):
    until(lambda: "VerificationFailed" in firing(asked))
    health.process.terminate()
    health.process.wait(10)
    until(lambda: "HealthDown" in firing(asked))
    assert asked("query?query=cslr_verification_checks")["result"] == []
    assert {"VerificationFailed", "NoHead", "RayNodeGone"} <= firing(asked).keys()
