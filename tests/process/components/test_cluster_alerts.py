"""A cluster of several hosts before a real Prometheus: hosts join, the head moves, a host is lost, and leaves.

Redis, the election's records, the health service and Prometheus with its rules are real. Ray's dashboard, and the
gateways' reports that keep a host up, are made here.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from components.scrape_config import Scraping, configuration
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.health import Election, HealthSettings
from coordination import redis_users
from coordination.lease import Grant, Lease, Member
from coordination.redis_client import Address, RedisLink
from testing.harness import PROJECT
from testing.servers import free_port, server_process, wait_for_port

RULES = PROJECT / "entrypoints" / "prometheus" / "alerts.yaml"
PASSWORD, NAMESPACE = "redis-secret-88e8", "lab"
ADDRESSES = {"alpha": "10.242.9.1", "beta": "10.242.9.2", "gamma": "10.242.9.3"}
HEAD_METRICS, EXPORTER = 11205, 9410
SECONDS = 60.0
# Ten seconds until a host counts as lost, a minute until that is an alert; the machine may be busy.
GONE_SECONDS = 180.0


class Cluster(ThreadingHTTPServer):
    """Hosts that report, one of which leads; answers as the dashboard of Ray's head does."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(("127.0.0.1", 0), Dashboard)
        self.up: set[str] = set()
        self._lease = lease
        self._grant: Grant | None = None
        self._lock = threading.Lock()  # of the link to Redis

    @property
    def head(self) -> str:
        return self._grant.host if self._grant else ""

    def report(self, stop: threading.Event) -> None:
        """What the gateways of the hosts that are up do, and the agent of the one that leads."""
        while not stop.wait(1):
            with self._lock:
                for host in sorted(self.up):
                    self._lease.report(Member(host=host, address=ADDRESSES[host], candidate=True, sees=0, blind=0))
                if self._grant:
                    self._lease.renew(self._grant, revive=True)

    def lead(self, host: str) -> None:
        """Moves the head there, as the agents do."""
        with self._lock:
            if self._grant:
                self._lease.release(self._grant)
                self._grant = None
            until(lambda: isinstance(self._acquired(host), Grant))
            assert self._grant
            address = Address(ADDRESSES[host], 6385)
            assert self._lease.announce(self._grant, address, address, address, {})

    def _acquired(self, host: str) -> Grant | None:
        found = self._lease.acquire(host, "test")
        self._grant = found if isinstance(found, Grant) else None
        return self._grant

    def forget(self, host: str) -> None:
        with self._lock:
            self._lease.forget(host)

    def nodes(self) -> list[dict[str, Any]]:
        """As Ray gives them: the head's own."""
        name, address = f"{self.head}-ray-head", ADDRESSES[self.head]
        node = {
            "node_id": name,
            "node_ip": address,
            "is_head_node": True,
            "state": "ALIVE",
            "state_message": None,
            "node_name": address,
            "resources_total": {"memory": 1e9, f"node:{address}": 1.0},
            "labels": {"ray.io/node-id": name, "cslr.node": name},
            "start_time_ms": 1,
            "end_time_ms": 0,
        }
        return [node]


class Dashboard(BaseHTTPRequestHandler):
    server: Cluster

    def do_GET(self):
        nodes = self.server.nodes() if self.server.head else []
        answers = {
            "/api/gcs_healthz": "success",
            "/api/version": json.dumps({"version": "4", "ray_version": "2.60.0"}),
            "/api/v0/nodes": json.dumps(
                {"result": True, "msg": "", "data": {"result": {"total": len(nodes), "result": nodes}}}
            ),
        }
        answer = answers.get(self.path.partition("?")[0]) if nodes else None
        self.send_response(200 if answer else 404)
        self.end_headers()
        self.wfile.write((answer or "").encode())

    def log_message(self, *_):
        pass


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def link(redis_server, tmp_path_factory) -> Iterator[RedisLink]:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    options = {"port": port, "bind": "127.0.0.1", "requirepass": PASSWORD, "save": '""', "dir": folder}
    lines = "".join(f"{key} {value}\n" for key, value in options.items())
    (folder / "redis.conf").write_text(lines + redis_users.configuration(PASSWORD, NAMESPACE))
    with server_process([str(redis_server), str(folder / "redis.conf")], port):
        yield RedisLink((Address("127.0.0.1", port),), PASSWORD)


@pytest.fixture(scope="module")
def cluster(link) -> Iterator[Cluster]:
    """Alpha and beta are up, and alpha leads."""
    stop = threading.Event()
    with Cluster(Lease(link, NAMESPACE)) as running:
        running.up = {"alpha", "beta"}
        for work in (running.serve_forever, lambda: running.report(stop)):
            threading.Thread(target=work, daemon=True).start()
        running.lead("alpha")
        yield running
        stop.set()
        running.shutdown()


@pytest.fixture(scope="module")
def health(cluster, link, tmp_path_factory) -> Iterator[int]:
    """The port of alpha's health service."""
    folder = tmp_path_factory.mktemp("health")
    (folder / "redis-reader").write_text(redis_users.password(PASSWORD, redis_users.READER))
    (folder / "ray-token").write_text("token")
    settings = HealthSettings(
        stack="alpha",
        host="alpha",
        ray_dashboard=f"127.0.0.1:{cluster.server_port}",
        election=Election(namespace=NAMESPACE, host="alpha", redis_addresses=(str(link.address),)),
        ray_metrics={"ray-head": HEAD_METRICS},
        peers={"exporter": EXPORTER},
        secrets=folder,
        port=free_port(),
        deadline=5.0,
    )
    environment = {**os.environ, SETTINGS_VARIABLE: dump(settings), "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, "-m", "entrypoints.health.server"], env=environment)
    try:
        wait_for_port(settings.port, SECONDS)
        yield settings.port
    finally:
        process.terminate()
        process.wait(10)


@dataclasses.dataclass(frozen=True)
class Prometheus:
    """Its API."""

    url: str

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def targets(self) -> set[str]:
        """Addresses that it asks, besides the health service's."""
        found = self.ask("targets?state=active")["activeTargets"]
        return {one["labels"]["instance"] for one in found if one["labels"]["job"] != "health"}

    def firing(self, name: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.ask("alerts")["alerts"]
            if one["labels"]["alertname"] == name and one["state"] == "firing"
        ]


@pytest.fixture(scope="module")
def asked(prometheus, health, tmp_path_factory) -> Iterator[Prometheus]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    scraping = Scraping(stack="alpha", host="alpha", interval=1, services=("health",), rules=(str(RULES),))
    text = configuration(scraping).replace("health:8888", f"127.0.0.1:{health}")
    (folder / "prometheus.yaml").write_text(text.replace("refresh_interval: 15s", "refresh_interval: 1s"))
    options = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with server_process([str(prometheus), *options, f"--web.listen-address=127.0.0.1:{port}"], port):
        found = Prometheus(f"http://127.0.0.1:{port}")

        def ready() -> bool:
            try:
                urllib.request.urlopen(f"{found.url}/-/ready", timeout=5).close()
            except urllib.error.HTTPError:
                return False
            return True

        until(ready)
        yield found


def head_of(host: str) -> str:
    return f"{ADDRESSES[host]}:{HEAD_METRICS}"


def exporter_of(host: str) -> str:
    return f"{ADDRESSES[host]}:{EXPORTER}"


def test_targets_and_alerts_follow_hosts_and_the_head(cluster, asked):
    until(lambda: asked.targets() == {head_of("alpha"), exporter_of("beta")})
    assert asked.firing("HeadMoved") == []

    cluster.up.add("gamma")  # joins
    until(lambda: asked.targets() == {head_of("alpha"), exporter_of("beta"), exporter_of("gamma")})

    cluster.lead("beta")
    until(lambda: head_of("beta") in asked.targets() and head_of("alpha") not in asked.targets())
    until(lambda: bool(asked.firing("HeadMoved")))
    (moved,) = asked.firing("HeadMoved")
    assert moved["labels"]["node"] == "beta-ray-head"
    assert moved["annotations"]["summary"] == "The Ray cluster has a new head, beta-ray-head"
    assert "The head changed once in 10 minutes" in moved["annotations"]["description"]

    cluster.up.remove("gamma")  # is lost
    until(lambda: exporter_of("gamma") not in asked.targets())
    until(lambda: bool(asked.firing("HostGone")), GONE_SECONDS)
    (gone,) = asked.firing("HostGone")
    assert gone["labels"]["member"] == "gamma"
    assert "`ws head cordon gamma -s alpha`" in gone["annotations"]["remedy"]

    cluster.forget("gamma")  # leaves
    until(lambda: not asked.firing("HostGone"))
    assert asked.targets() == {head_of("beta"), exporter_of("beta")}
