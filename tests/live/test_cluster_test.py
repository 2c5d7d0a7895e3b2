"""`ws test --up | --run | --logs | --down` on stacks that other machines reach, and on one that they do not."""

import socket
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from preflight.host_facts import outside_addresses
from testing.live.deployment import LiveStack, deployed
from ws.cluster_test.network import CLIENT, LABEL, WORKER

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not outside_addresses(), reason="this host has no address that another machine reaches it by"),
]

HIDDEN: dict[str, Any] = {
    "network": {"name": "cslr-live-hidden", "subnet": "10.234.0.0/24"},
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": 21381},
    "health": {"port": 21888},
    "cluster_test": {"subnet": "172.30.4.0/24"},
}
OPEN: dict[str, Any] = {
    "network": {"name": "cslr-live-open", "subnet": "10.235.0.0/24", "bind_address": "0.0.0.0"},
    "ray": {"cpu": {"ports": {"dashboard": 21265, "client": 21001}}},
    "redis": {"port": 21382},
    "postgres": {"port": None},
    "mlflow": {"port": 21500},
    "marimo": {"port": 21080},
    "health": {"port": 21889},
    "cluster_test": {"subnet": "172.30.5.0/24"},
}


@pytest.fixture(scope="module")
def hidden(docker_engine, tmp_path_factory):
    """A stack as it is by default: for this host alone."""
    with deployed("live-hidden", HIDDEN, tmp_path_factory.mktemp("hidden")) as stack:
        yield stack
        stack.ws("test", "--down")


@pytest.fixture(scope="module")
def opened(docker_engine, tmp_path_factory):
    """One that other machines reach."""
    with deployed("live-open", OPEN, tmp_path_factory.mktemp("open")) as stack:
        yield stack
        stack.ws("test", "--down")


def of_test(stack: LiveStack) -> dict[str, str]:
    """The test's containers: service → ID."""
    found = stack.engine.containers.list(all=True, filters={"label": f"{LABEL}={stack.identity.prefix}"})
    return {str(one.name).removeprefix(f"{stack.identity.prefix}-"): str(one.id) for one in found}


class TestHiddenStack:
    def test_nothing_of_it_answers_and_how_to_open_it_is_said(self, hidden):
        done = hidden.ws("test", "--run")
        assert done.returncode == 0, done.stdout
        assert "pass other_ports" in done.stdout
        assert "skip health (0.0 s): published for this host alone (127.0.0.1)" in done.stdout
        assert "ws set network.bind_address 0.0.0.0 -s live-hidden" in done.stdout
        assert of_test(hidden) == {}

    def test_a_port_that_answers_nevertheless_fails_the_test(self, hidden):
        with socket.create_server((outside_addresses()[0], HIDDEN["health"]["port"])):
            done = hidden.ws("test", "--run")
        assert done.returncode == 1
        assert f"{outside_addresses()[0]}:21888 answers: it is published for this host alone" in done.stdout

    def test_up_twice_changes_nothing_and_down_twice_is_no_error(self, hidden):
        assert hidden.ws("test", "--up").returncode == 0
        before = of_test(hidden)
        assert set(before) == {CLIENT, WORKER}
        assert hidden.ws("test", "--up").returncode == 0
        assert of_test(hidden) == before
        shown = hidden.ws("test", "--logs", "--down").stdout
        assert "test-ray-worker does not join the cluster: this stack has no Ray node" in shown
        assert of_test(hidden) == {}
        again = hidden.ws("test", "--down")
        assert again.returncode == 0
        assert "There is no test network" in again.stdout

    def test_what_an_interrupted_run_left_is_replaced(self, hidden):
        assert hidden.ws("test", "--up").returncode == 0
        hidden.engine.containers.get(of_test(hidden)[CLIENT]).kill()
        done = hidden.ws("test", "--run", "--logs")
        assert done.returncode == 0
        assert "test-ray-worker does not join" in done.stdout
        assert of_test(hidden) == {}

    def test_the_stack_itself_does_not_count_them(self, hidden):
        assert hidden.ws("test", "--up").returncode == 0
        assert "test-ray" not in hidden.ws("ps").stdout
        assert hidden.ws("preview", "--engine", "embedded", "--expect-no-changes").returncode == 0
        assert hidden.ws("test", "--down").returncode == 0


class TestOpenStack:
    def test_every_service_works_from_another_network(self, opened, tmp_path):
        report = tmp_path / "report.xml"
        done = opened.ws("test", "--up", "--run", "--junit", str(report), "--down")
        assert done.returncode == 0, done.stdout
        suite = ET.parse(report).getroot()
        results = {case.get("name"): case[0].tag for case in suite}
        assert {name for name, tag in results.items() if tag == "system-out"} == {
            "published_ports", "other_ports", "health", "dashboard", "job_submission", "ray_client",
            "ray_client_without_token", "mlflow", "marimo", "redis",
        }  # fmt: skip
        assert results["worker"] == "skipped"
        assert "no other machine reaches" in done.stdout
