"""Grafana on the real Docker Engine, as far as no registry is needed: all that it is given, and what Ray makes of it.

A stand-in of an image runs in its place: it has the program's name, reads every file that Grafana would, and answers
its health check and Prometheus. About four minutes.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-grafana", "subnet": "10.242.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 1, "memory": "3g", "ports": {"dashboard": 24201, "client": 24202}}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": 24203},
    "health": {"port": 24204},
    "metrics": {"enabled": True, "port": 24205, "interval": 5, "alertmanager": {"port": 24206}},
}
IMAGE, PORT = "cslr-test/grafana:stand-in", 24207
WITH_GRAFANA = {"metrics": {"grafana": {"enabled": True, "port": PORT, "image": {"reference": IMAGE}}}}
PROGRAM = """#!/bin/sh
set -e
cat /run/secrets/grafana-password /run/secrets/grafana-secret-key > /dev/null
cat /run/cslr/grafana.ini "$GF_PATHS_PROVISIONING"/*/stack.yaml > /dev/null
touch "$GF_PATHS_DATA/grafana.db" "$GF_PATHS_LOGS/log"
mkdir -p /tmp/www/api
echo '{"database": "ok", "version": "12.3.0"}' > /tmp/www/api/health
echo 'grafana_build_info{version="12.3.0"} 1' > /tmp/www/metrics
exec busybox httpd -f -p 3000 -h /tmp/www
"""
SECONDS = 90.0
DASHBOARDS = 8


def stand_in(stack: LiveStack) -> None:
    """Builds it on the image of Prometheus, which has busybox."""
    below = stack.container("prometheus").attrs["Image"]
    recipe = f"FROM {below}\nUSER 0\nCOPY grafana /usr/local/bin/grafana\n"
    recipe += "RUN mkdir -m 777 /var/lib/grafana\n"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text in (("Dockerfile", recipe), ("grafana", PROGRAM)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    stack.engine.images.build(fileobj=io.BytesIO(context.getvalue()), custom_context=True, tag=IMAGE, rm=True)


@pytest.fixture(scope="module")
def stack(docker_engine, tmp_path_factory) -> Iterator[LiveStack]:
    """A stack that ran without Grafana before."""
    with deployed("live-grafana", SETTINGS, tmp_path_factory.mktemp("grafana")) as running:
        stand_in(running)
        running.configure(WITH_GRAFANA)
        done = running.ws("up", "--engine", "embedded", "--yes")
        assert done.returncode == 0, done.stdout
        yield running
    running.engine.images.remove(IMAGE, force=True)


def test_gets_all_that_it_reads_and_writes(stack):
    found = stack.container("grafana").attrs
    assert (found["Config"]["User"], found["HostConfig"]["ReadonlyRootfs"]) == ("472:0", True)
    assert requests.get(f"http://127.0.0.1:{PORT}/api/health", timeout=SECONDS).json()["database"] == "ok"


def test_is_watched(stack):
    def up() -> bool:
        services = requests.get("http://127.0.0.1:24204/status", timeout=SECONDS).json()["services"]
        return {"grafana": "up"}.items() <= {one["name"]: one["state"] for one in services}.items()

    wait_until(up, "the health service's word on it", SECONDS)


def test_reads_the_dashboards_that_rays_head_writes(stack):
    def names() -> list[str]:
        done = stack.container("grafana").exec_run(["ls", "/run/dashboards"])
        return [name for name in done.output.decode().split() if name.endswith(".json")]

    wait_until(lambda: len(names()) == DASHBOARDS, "Ray's dashboards", SECONDS)
    found = [
        json.loads(stack.container("grafana").exec_run(["cat", f"/run/dashboards/{name}"]).output) for name in names()
    ]
    assert len({dashboard["uid"] for dashboard in found}) == DASHBOARDS
    for dashboard in found:
        assert dashboard["panels"]


def test_second_up_changes_nothing(stack):
    done = stack.ws("preview", "--expect-no-changes", "--engine", "embedded")
    assert done.returncode == 0, done.stdout
