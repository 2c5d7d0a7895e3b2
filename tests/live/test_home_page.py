"""The home page of a stack with metrics on the real Docker Engine: charts with figures, GPUs, jobs and runs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-home", "subnet": "10.240.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 1, "memory": "3g", "ports": {"dashboard": 24065, "client": 24001}}},
    "marimo": {"enabled": False},
    "mlflow": {"port": 24050},
    "redis": {"port": 24081},
    "health": {"port": 24088},
    "exporter": {"enabled": True, "port": 24041, "demo_gpus": 2},
    "metrics": {"enabled": True, "port": 24090, "interval": 5, "alertmanager": {"port": 24093}},
}
HEALTH = "http://127.0.0.1:24088"
SECONDS = 90.0
# Charts with figures in a stack without work; tasks have some once a job has run.
CHARTS = {"gpu", "gpu-memory", "nodes", "hosts", "cpu", "memory", "disk", "answers"}


@pytest.fixture(scope="module")
def stack(docker_engine, tmp_path_factory) -> Iterator[LiveStack]:
    with deployed("live-home", SETTINGS, tmp_path_factory.mktemp("home")) as running:
        yield running


def drawn(name: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of each chart that has two figures in a row, and so a line."""
    found = requests.get(f"{HEALTH}/api/charts", params={"range": name}, timeout=SECONDS).json()
    return {
        key: lines
        for key, chart in found["charts"].items()
        if (lines := [one for one in chart["series"] if sum(value is not None for value in one["values"]) >= 1])
    }


class TestPage:
    def test_charts_have_figures_of_every_source(self, stack):
        wait_until(lambda: set(drawn("hour")) >= CHARTS, "figures of every chart", SECONDS)
        found = drawn("hour")
        assert {one["name"].split()[-1] for one in found["gpu"]} == {"0", "1"}
        assert {"ray-cpu", "prometheus"} <= {one["name"] for one in found["memory"]}  # the highest are shown
        assert {one["name"] for one in found["nodes"]} == {"ray-cpu"}

    def test_longer_ranges_are_answered(self, stack):
        for name in ("day", "week"):
            answer = requests.get(f"{HEALTH}/api/charts", params={"range": name}, timeout=SECONDS)
            assert answer.status_code == 200
            assert len(answer.content) < 150_000

    def test_shows_the_jobs_and_runs_of_the_verification_and_its_gpus(self, stack):
        wait_until(lambda: "cslr-verification" in requests.get(HEALTH, timeout=SECONDS).text, "the runs", SECONDS)
        text = requests.get(HEALTH, timeout=SECONDS).text
        for shown in ("raysubmit_", "succeeded", "finished", "checks", "free of", "live-home"):
            assert shown in text
        assert text.count('data-label="Heat"') == 2

    def test_stream_tells_a_service_that_goes(self, stack):
        with requests.get(f"{HEALTH}/events", stream=True, timeout=SECONDS) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith(b"data: "))
            assert "services" in json.loads(next(lines).removeprefix(b"data: "))
            stack.container("exporter").stop()
            told = (json.loads(line.removeprefix(b"data: ")).get("summary", "") for line in lines)
            assert next(text for text in told if "Not up: exporter" in text)
        stack.container("exporter").start()

    def test_shows_the_runs_on_the_stack_and_the_drift_that_was_found(self, stack):
        text = requests.get(HEALTH, timeout=SECONDS).text
        assert "Drift has not been checked yet" in text
        assert re.search(r'data-label="Result"><span class="state done">', text)
        assert stack.ws("drift").returncode == 0
        assert "The host is as it was deployed" in requests.get(HEALTH, timeout=SECONDS).text
        stack.container("exporter").update(mem_limit="200m", memswap_limit="200m")
        assert stack.ws("drift").returncode == 3
        shown = requests.get(HEALTH, timeout=SECONDS).text
        assert re.search(r"live-home-exporter</th><td[^>]*>container</td><td[^>]*>memory</td>", shown)

    def test_no_secret_is_on_it(self, stack):
        text = requests.get(HEALTH, timeout=SECONDS).text
        folder = stack.state_home / "cslr" / "cslr" / "live-home" / "generated"
        secrets = [path.read_text().strip() for path in folder.iterdir() if path.is_file()]
        assert secrets
        assert not [secret for secret in secrets if secret in text]

    def test_service_ends_at_once_while_a_page_is_open(self, stack):
        with requests.get(f"{HEALTH}/events", stream=True, timeout=SECONDS) as answer:
            next(answer.iter_lines())
            stack.container("health").restart(timeout=60)
        assert stack.container("health").attrs["State"]["ExitCode"] == 0
        wait_until(lambda: reached(f"{HEALTH}/ping"), "its return", SECONDS)


def reached(url: str) -> bool:
    try:
        return requests.get(url, timeout=SECONDS).ok
    except requests.ConnectionError:
        return False
