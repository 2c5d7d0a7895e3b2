"""Prometheus and Alertmanager on the real Docker Engine: what they collect, and an alert's way to people and back.

About six minutes, most of which alerts wait for.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

GATEWAY = "10.229.0.1"
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-metrics", "subnet": "10.229.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 1, "memory": "3g", "ports": {"dashboard": 17265, "client": 17001}}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "redis": {"port": 17381},
    "health": {"port": 17888},
    "exporter": {"enabled": True, "port": 17410, "demo_gpus": 2},
    "metrics": {"enabled": True, "port": 17090, "interval": 5, "alertmanager": {"port": 17093}},
}
PROMETHEUS, HEALTH = "http://127.0.0.1:17090", "http://127.0.0.1:17888"
# Job → how many targets.
JOBS = dict.fromkeys(
    ("prometheus", "alertmanager", "health", "exporter", "redis-exporter", "postgres-exporter", "ray"), 1
)
SECONDS = 60.0
# A minute until the alert fires, two scrapes, and the seconds in which Alertmanager gathers others of its name.
ALERT_SECONDS = 150.0
# It tells that an alert is over a minute after it told of the alert, at the earliest.
RESOLVED_SECONDS = 180.0
TOLD_NEXT_SECONDS = 400.0
EVERY = 3.0  # asked with `ws`, each of which takes a second of processor time from the tests beside


class Receiver(ThreadingHTTPServer):
    """The program of a site to which alerts are posted."""

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Handler)
        self.alerts: list[dict[str, Any]] = []

    def got(self, name: str, status: str = "firing", **labels: str) -> bool:
        wanted = {"alertname": name, **labels}
        return any(one["status"] == status and wanted.items() <= one["labels"].items() for one in [*self.alerts])


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.alerts += body["alerts"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def stack(docker_engine, receiver, tmp_path_factory) -> Iterator[LiveStack]:
    further = {"cslr:alertWebhook": f"http://{GATEWAY}:{receiver.server_port}/alerts"}
    with deployed("live-metrics", SETTINGS, tmp_path_factory.mktemp("metrics"), further) as running:
        yield running


def targets() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked("/api/v1/targets?state=active")["activeTargets"]
    return found


def silent_targets() -> dict[str, tuple[str, str]]:
    """The targets that are not up: job → health, which is `unknown` before the first scrape, and the last error."""
    return {one["labels"]["job"]: (one["health"], one["lastError"]) for one in targets() if one["health"] != "up"}


def asked(path: str, **query: str) -> dict[str, Any]:
    answer = requests.get(f"{PROMETHEUS}{path}", params=query, timeout=SECONDS)
    data: dict[str, Any] = answer.json()["data"]
    return data


def value(expression: str) -> float | None:
    """Of one series; None where there is none."""
    found = asked("/api/v1/query", query=expression)["result"]
    return float(found[0]["value"][1]) if found else None


def there(expression: str) -> Callable[[], bool]:
    """Whether there is such a series, and it is not zero."""
    return lambda: bool(value(expression))


def listed(stack: LiveStack) -> list[dict[str, Any]]:
    """The alerts that fire, as `ws alert list` tells programs."""
    done = stack.ws("alert", "list", "--json")
    assert done.returncode == 0, done.stdout
    found: list[dict[str, Any]] = json.loads(done.stdout)["alerts"]
    return found


def alerts(stack: LiveStack) -> dict[str, dict[str, Any]]:
    """The alerts that fire, by name and job."""
    return {f"{one['name']} {one['labels'].get('job', '')}": one for one in listed(stack)}


def fires(stack: LiveStack, name: str, **labels: str) -> bool:
    """Whether an alert with these labels fires, told or not."""
    return any(one["name"] == name and labels.items() <= one["labels"].items() for one in listed(stack))


class TestFigures:
    def test_come_from_every_service_and_node(self, stack):
        jobs = [target["labels"]["job"] for target in targets()]
        assert {job: jobs.count(job) for job in jobs} == JOBS
        with contextlib.suppress(AssertionError):  # said below, with each target that is not up
            wait_until(lambda: not silent_targets(), "the scrape of every target", SECONDS)
        assert silent_targets() == {}

    def test_are_of_ray_gpus_containers_host_redis_and_postgres(self, stack):
        for expression in (
            'count({__name__=~"ray_.+"})',
            "count(DCGM_FI_DEV_GPU_TEMP)",
            'container_memory_working_set_bytes{service="redis"}',
            "node_memory_MemTotal_bytes",
            "redis_up",
            "pg_up",
        ):
            wait_until(there(expression), f"figures of {expression}", SECONDS)

    def test_of_redis_are_those_that_its_reader_may_see(self, stack):
        assert value("redis_memory_used_bytes")
        assert "NOPERM" not in stack.container("redis-exporter").logs().decode()

    def test_tell_the_verification_and_the_age_of_base_images(self, stack):
        wait_until(lambda: bool(value('cslr_verification_checks{result="pass"}')), "the verification's", SECONDS)
        assert value('cslr_verification_checks{result="fail"}') == 0
        assert value("time() - max(cslr_base_image_timestamp_seconds)") is not None
        assert value("cslr_ray_head_up") == 1
        assert value("cslr_head_epoch")

    def test_are_kept_when_the_container_is_replaced(self, stack):
        before = value("count_over_time(cslr_ray_head_up[1h])")
        stack.container("prometheus").restart()
        wait_until(lambda: bool(reached(f"{PROMETHEUS}/-/ready")), "its return", SECONDS)
        wait_until(lambda: (value("count_over_time(cslr_ray_head_up[1h])") or 0) > (before or 0), "more", SECONDS)

    def test_of_the_programs_stay_within_their_memory(self, stack):
        for service in ("prometheus", "alertmanager", "redis-exporter", "postgres-exporter"):
            share = (
                f'container_memory_working_set_bytes{{service="{service}"}} '
                f'/ container_spec_memory_limit_bytes{{service="{service}"}}'
            )
            wait_until(there(share), f"the memory of {service}", SECONDS)
            assert (value(share) or 1) < 0.8


class TestRights:
    @pytest.mark.parametrize("service", ["prometheus", "alertmanager", "redis-exporter", "postgres-exporter"])
    def test_are_as_few_as_of_other_services(self, stack, service):
        found = stack.container(service).attrs
        assert found["Config"]["User"] == "1000:1000"
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]

    def test_show_no_address_of_the_webhook(self, stack, receiver):
        told = str(stack.container("alertmanager").attrs)
        assert f"{receiver.server_port}/alerts" not in told
        status = requests.get("http://127.0.0.1:17093/api/v2/status", timeout=SECONDS).text
        assert f"{receiver.server_port}/alerts" not in status


class TestAlerts:
    def test_of_a_container_that_starts_again_and_again_is_delivered(self, stack, receiver):
        series = 'container_start_time_seconds{service="postgres-exporter"}'
        for _ in range(2):
            before = f"{series} > {value(series)}"
            stack.container("postgres-exporter").restart()
            wait_until(there(before), "the restart's figures", SECONDS)
        wait_until(
            lambda: receiver.got("ContainerRestarting", service="postgres-exporter"), "the delivery", ALERT_SECONDS
        )

    def test_of_what_is_down_is_delivered_shown_and_resolved_and_silence_keeps_it_back(self, stack, receiver):
        done = stack.ws("alert", "silence", "TargetDown", "job=redis-exporter", "--for", "1h", "--comment", "a test")
        assert done.returncode == 0, done.stdout
        silence = done.stdout.split("unsilence ")[1].split()[0]
        for service in ("redis-exporter", "exporter"):
            stack.container(service).stop()
        wait_until(lambda: receiver.got("TargetDown", job="exporter"), "the delivery", ALERT_SECONDS)
        wait_until(lambda: receiver.got("ServiceDown", service="exporter"), "the other delivery", ALERT_SECONDS)
        wait_until(lambda: "TargetDown redis-exporter" in alerts(stack), "the silenced alert", ALERT_SECONDS, EVERY)
        found = alerts(stack)
        assert found["TargetDown redis-exporter"]["silenced_by"]
        assert not found["TargetDown exporter"]["silenced_by"]
        assert "`ws ps -s live-metrics`" in found["TargetDown exporter"]["remedy"]
        assert not receiver.got("TargetDown", job="redis-exporter")
        assert "TargetDown" in stack.ws("ps").stdout
        assert "TargetDown" in requests.get(HEALTH, timeout=SECONDS).text

        for service in ("redis-exporter", "exporter"):
            stack.container(service).start()
        wait_until(lambda: receiver.got("TargetDown", "resolved", job="exporter"), "its end", RESOLVED_SECONDS)
        wait_until(lambda: not fires(stack, "TargetDown"), "its end", SECONDS, EVERY)
        assert not receiver.got("TargetDown", job="redis-exporter")
        assert stack.ws("alert", "unsilence", silence).returncode == 0
        assert "a test" not in stack.ws("alert", "list").stdout

    def test_of_keeper_and_firewall_and_of_health_which_told_of_them(self, stack, receiver):
        for service in ("firewall", "keeper"):  # the keeper tells of the firewall
            stack.container(service).stop()
            wait_until(partial(fires, stack, "ServiceDown", service=service), service, ALERT_SECONDS, EVERY)
        for service in ("firewall", "keeper"):
            # They join a group that was told already, and are told with its next turn.
            wait_until(partial(receiver.got, "ServiceDown", service=service), service, TOLD_NEXT_SECONDS)
        stack.container("health").stop()
        wait_until(lambda: receiver.got("HealthDown", service="health"), "the delivery", ALERT_SECONDS)
        assert not receiver.got("ServiceDown", "resolved", service="firewall")
        assert {"ServiceDown ", "HealthDown health"} <= alerts(stack).keys()
        for command in (("alert", "list"), ("ps",)):
            assert "The health service does not answer" in stack.ws(*command).stdout

        for service in ("health", "firewall", "keeper"):
            stack.container(service).start()
        wait_until(lambda: receiver.got("HealthDown", "resolved"), "its end", RESOLVED_SECONDS)
        wait_until(lambda: receiver.got("ServiceDown", "resolved", service="firewall"), "its end", RESOLVED_SECONDS)


class TestSecondUp:
    def test_changes_nothing(self, stack):
        done = stack.ws("preview", "--expect-no-changes", "--engine", "embedded")
        assert done.returncode == 0, done.stdout


def reached(url: str) -> bool:
    try:
        return requests.get(url, timeout=SECONDS).ok
    except requests.ConnectionError:
        return False
