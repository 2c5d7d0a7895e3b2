"""Alerts of a disk, of Redis, of what the host's facts say: each is caused, and arrives. On a stack without Ray.

About five minutes, most of which alerts wait for. It logs how long each took (`--log-cli-level=INFO`).
"""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import redis

from testing.harness import PROJECT
from testing.live.deployment import LiveStack, deployed, wait_until

pytestmark = pytest.mark.live

NAME, SCRATCH = "live-alerts", "cslr-live-alerts-small-disk"
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-alerts", "subnet": "10.242.1.0/24"},
    "ray": {"cpu": {"enabled": False}, "scratch": SCRATCH, "scratch_limit": "1g"},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": 24220, "memory": "128m"},
    "health": {"port": 24221},
    "metrics": {"enabled": True, "port": 24222, "interval": 5, "alertmanager": {"port": 24223}},
}
# The rules of every stack, but what they wait five minutes for, they wait one; `promtool` tests the rules as they are.
RULES = "entrypoints/prometheus/alerts.yaml"
SLOW, QUICK = "\n        for: 5m\n", "\n        for: 1m\n"
LOG = logging.getLogger(__name__)
DAY = 86400
SECONDS = 150.0
EVERY = 5.0  # asked with `ws`, each of which takes a second of processor time from the tests beside


@pytest.fixture(scope="module")
def stack(docker_engine, tmp_path_factory) -> Iterator[LiveStack]:
    """Its scratch folder is on a disk of 2 GB, in memory."""
    engine = docker.from_env()
    disk = engine.volumes.create(SCRATCH, driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=2g,mode=1777"})
    try:
        rules = {RULES: (PROJECT / RULES).read_text().replace(SLOW, QUICK)}
        with deployed(NAME, SETTINGS, tmp_path_factory.mktemp("alerts"), files=rules) as running:
            yield running
    finally:
        disk.remove(force=True)


def firing(stack: LiveStack) -> dict[str, dict[str, Any]]:
    """The alerts that `ws alert list` shows, by name."""
    done = stack.ws("alert", "list", "--json")
    assert done.returncode == 0, done.stdout
    return {one["name"]: one for one in json.loads(done.stdout)["alerts"]}


def seen(stack: LiveStack, *names: str, since: float) -> dict[str, dict[str, Any]]:
    """Those alerts once all of them fire; logs when each did."""
    found: dict[str, dict[str, Any]] = {}

    def all_fire() -> bool:
        for name, alert in firing(stack).items():
            if name in names and name not in found:
                found[name] = alert
                LOG.info("%s after %.0f s: %s", name, time.monotonic() - since, alert["summary"])
        return set(names) <= found.keys()

    wait_until(all_fire, f"the alerts {', '.join(names)}", SECONDS, EVERY)
    return found


def written(folder: Path, name: str, content: object) -> None:
    """A fact of the host, as commands and a site's scripts write it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))


def fill(client: redis.Redis, share: float) -> None:
    """Fills Redis until it stays at this share of its limit: buffers of writes in flight count only for a while."""
    size = share * client.info("memory")["maxmemory"]

    def stays_full() -> bool:
        missing = False
        while client.info("memory")["used_memory"] < size:
            client.rpush("filling", b"x" * 2**20)
            missing = True
        return not missing

    wait_until(stays_full, f"a Redis that stays {share:.0%} full", SECONDS, EVERY)


def test_disk_that_is_nearly_full(stack):
    found = seen(stack, "DiskLow", since=time.monotonic())["DiskLow"]
    assert found["severity"] == "critical"
    assert found["where"].startswith("scratch")
    assert "GB of disk left" in found["summary"]


def test_redis_that_fills_is_told_before_it_refuses_and_when(stack):
    password = (stack.state / "generated" / "redis-password").read_text()
    with redis.Redis(port=24220, password=password) as client:
        began = time.monotonic()
        for share, alert in ((0.74, "LimitNear"), (0.84, "RedisFull")):
            fill(client, share)
            found = seen(stack, alert, since=began)[alert]
            assert found["where"].startswith("redis")
        client.delete("filling")
    wait_until(lambda: "RedisFull" not in firing(stack), "its end", SECONDS, EVERY)


def test_what_facts_of_the_host_say(stack):
    own, of_user, now = stack.state / "facts", stack.state.parent.parent / "facts", time.time()
    checks = json.loads((own / "verification.json").read_text())
    written(own, "verification", {**checks, "failed": 1})
    written(of_user, "builds", {"images": {"health": {"time": now, "succeeded": False}}})
    written(own, "bases", {"times": {"trixie": now - 31 * DAY}})
    written(own, "backup", {"times": {"nightly": now - 2.5 * DAY}})
    written(own, "certificates", {"times": {"web": now - DAY}})
    written(of_user, "certificates", "no JSON")
    began = time.monotonic()
    found = seen(stack, "VerificationFailed", "BuildFailed", since=began)
    assert found["VerificationFailed"]["summary"] == "1 check of the last verification failed"
    slow = ("BaseImageOld", "BackupOld", "CertificateExpiring", "FactUnreadable")
    found = seen(stack, *slow, since=began)
    assert found["BackupOld"]["summary"].startswith("The last backup (nightly) is 2d 12h old")
    assert found["FactUnreadable"]["where"].startswith("certificates")
    assert "expired 1d" in found["CertificateExpiring"]["summary"]
    log = stack.container("health").logs().decode()
    assert '"event": "fact", "name": "certificates", "error": "Times is not JSON' in log
