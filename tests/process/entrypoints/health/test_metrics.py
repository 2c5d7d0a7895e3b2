"""The health service's series, and the targets that it tells Prometheus."""

import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts import facts as kinds
from contracts.health import HealthSettings, Kind, WatchedService
from contracts.status import (
    ClusterStatus,
    HeadStatus,
    HostState,
    HostStatus,
    NodeStatus,
    RayStatus,
    ServiceStatus,
    State,
    Status,
    Usage,
)
from coordination.regular_file import LARGEST
from entrypoints.health.facts import unreadable
from entrypoints.health.metrics import exposition
from entrypoints.health.monitor import Monitor
from entrypoints.health.targets import targets
from stack import facts

NO_RAY = RayStatus(head=None, nodes=(), latency_ms=None)
HEAD = HeadStatus(node="alpha-ray-head", address="10.88.0.1:6379", dashboard=None)
CLUSTER = ClusterStatus(
    namespace="lab",
    host="alpha",
    election="on",
    head="alpha",
    epoch=7,
    since="2026-11-28T03:00:00Z",
    hosts=tuple(
        HostStatus(name=name, address=address, state=state, candidate=True, sees_head=None, last_seen=1.0)
        for name, address, state in (
            ("alpha", "10.88.0.1", HostState.UP),
            ("beta", "10.88.0.2", HostState.MAINTENANCE),
            ("gamma", "10.88.0.3", HostState.DOWN),
        )
    ),
)
ON_THE_LAN = {"ray-head": 11205, "ray-cpu": 11005, "ray-gpu": 11105}


def node(
    name: str, address: str | None, *, alive: bool = True, expected: bool = False, role: str = "worker"
) -> NodeStatus:
    return NodeStatus(name=name, alive=alive, expected=expected, address=address, role=role, gpus=2.0)


def service(name: str, state: State = State.UP, usage: tuple[Usage, ...] = ()) -> ServiceStatus:
    latency = 2.0 if state is State.UP else None
    return ServiceStatus(name=name, kind=name, state=state, latency_ms=latency, version=None, url=None, usage=usage)


def status(ray: RayStatus = NO_RAY, **more: Any) -> Status:
    return Status(**{"time": "2026-11-28T03:00:00Z", "stack": "dev", "services": (), "ray": ray, **more})


def series(found: Status, **settings: Any) -> dict[tuple[str, ...], float]:
    """Name and values of labels, by their names → value."""
    text = exposition(found, HealthSettings(stack="dev", **settings)).decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def told(found: Status, **settings: Any) -> dict[str, dict[str, str]]:
    """Address → its labels."""
    entries = json.loads(targets(found, HealthSettings(stack="dev", **settings)))
    return {entry["targets"][0]: entry["labels"] for entry in entries}


class TestSeries:
    def test_of_services_their_state_and_use(self):
        usage = (Usage(name="memory", used=90, limit=100),)
        found = series(status(services=(service("redis", usage=usage), service("mlflow", State.DOWN))))
        assert found["cslr_service_up", "redis", "redis"] == 1
        assert found["cslr_service_up", "mlflow", "mlflow"] == 0
        assert found["cslr_service_used_bytes", "memory", "redis"] == 90
        assert found["cslr_service_limit_bytes", "memory", "redis"] == 100
        assert found["cslr_service_probe_seconds", "redis"] == 0.002
        assert ("cslr_service_probe_seconds", "mlflow") not in found

    def test_of_ray_its_head_and_nodes_but_not_those_of_the_past(self):
        nodes = (node("ray-cpu", "172.28.0.2", expected=True), node("ray-gpu", None, alive=False, expected=True))
        old = node("other", "172.28.0.9", alive=False)
        found = series(status(ray=RayStatus(head=HEAD, nodes=(*nodes, old), latency_ms=1.0)))
        assert found["cslr_ray_head_up",] == 1
        assert found["cslr_ray_head_info", "alpha-ray-head"] == 1
        assert (found["cslr_ray_node_up", "ray-cpu"], found["cslr_ray_node_up", "ray-gpu"]) == (1, 0)
        assert ("cslr_ray_node_up", "other") not in found
        assert found["cslr_ray_node_gpus", "ray-cpu"] == 2

    def test_a_stack_without_ray_has_none_of_it(self):
        assert not [name for name, *_ in series(status()) if "ray" in name]

    def test_of_a_cluster_its_hosts_and_the_heads_epoch(self):
        found = series(status(cluster=CLUSTER))
        assert found["cslr_head_epoch",] == 7
        assert found["cslr_head_since_timestamp_seconds",] == 1795834800
        assert [found["cslr_host_up", name] for name in ("alpha", "beta", "gamma")] == [1, 1, 0]
        assert [found["cslr_host_in_maintenance", name] for name in ("alpha", "beta", "gamma")] == [0, 1, 0]

    def test_of_disks_their_free_space(self, tmp_path):
        found = series(status(), disks={"scratch": tmp_path, "gone": tmp_path / "gone"})
        assert 0 < found["cslr_disk_free_bytes", "scratch"] <= found["cslr_disk_size_bytes", "scratch"]
        assert ("cslr_disk_free_bytes", "gone") not in found

    def test_of_the_hosts_facts_those_that_there_are(self, tmp_path):
        facts.write(tmp_path, kinds.VERIFICATION, kinds.VerificationFact(time=100.0, passed=12, failed=1))
        facts.write(
            tmp_path, kinds.BUILDS, kinds.Builds(images={"health": kinds.BuildFact(time=50.0, succeeded=False)})
        )
        facts.write(tmp_path, kinds.BASES, kinds.Times(times={"trixie": 10.0}))
        (tmp_path / facts.FOLDER / "backup.json").write_text('{"times": {"nightly": 20}}')  # as a site's script would
        (tmp_path / facts.FOLDER / "certificates.json").write_text("no JSON")
        found = series(status(), facts=(Path("/nowhere"), tmp_path / facts.FOLDER))
        assert found["cslr_verification_checks", "fail"] == 1
        assert found["cslr_verification_timestamp_seconds",] == 100
        assert found["cslr_build_succeeded", "health"] == 0
        assert found["cslr_base_image_timestamp_seconds", "trixie"] == 10
        assert found["cslr_backup_timestamp_seconds", "nightly"] == 20
        assert found["cslr_fact_unreadable", "certificates"] == 1
        assert not [name for name, *_ in found if "certificate" in name]


class TestUnreadableFacts:
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("no JSON", "Times is not JSON"),
            ('{"times": {"nightly": "yesterday"}}', "nightly"),
            ('{"nightly": 20}', "unknown field 'nightly'"),
            ("", "Times is not JSON"),
        ],
    )
    def test_are_told_with_what_is_wrong(self, tmp_path, text, complaint):
        (tmp_path / "backup.json").write_text(text)
        found = unreadable((Path("/nowhere"), tmp_path))
        assert set(found) == {"backup"}
        assert complaint in found["backup"]

    def test_that_nobody_wrote_are_none(self, tmp_path):
        (tmp_path / "backup.json").write_text('{"times": {"nightly": 20}}')
        assert unreadable((Path("/nowhere"), tmp_path)) == {}
        assert not [name for name, *_ in series(status(), facts=(tmp_path,)) if "unreadable" in name]

    def test_that_are_no_text_are_told_with_their_path(self, tmp_path):
        (tmp_path / "bases.json").write_bytes(b"\xff")
        (tmp_path / "backup.json").mkdir()
        found = unreadable((tmp_path,))
        assert str(tmp_path / "bases.json") in found["bases"]
        assert str(tmp_path / "backup.json") in found["backup"]

    def test_that_are_pipes_devices_or_huge_keep_nobody_waiting(self, tmp_path):
        os.mkfifo(tmp_path / "bases.json")
        (tmp_path / "backup.json").symlink_to("/dev/zero")
        with (tmp_path / "certificates.json").open("wb") as file:
            file.truncate(LARGEST + 1)
        found = unreadable((tmp_path,))
        assert "not a regular file" in found["bases"]
        assert "not a regular file" in found["backup"]
        assert f"larger than {LARGEST} bytes" in found["certificates"]

    @pytest.mark.asyncio
    async def test_are_logged_once(self, tmp_path, capsys):
        file = tmp_path / "backup.json"
        file.write_text("no JSON")
        async with aiohttp.ClientSession() as http:
            monitor = Monitor(HealthSettings(stack="dev", facts=(tmp_path,), secrets=tmp_path), http)
            for _ in range(2):
                await monitor._ask_all()
            assert capsys.readouterr().out.count('"event": "fact", "name": "backup"') == 1
            file.write_text("{")
            await monitor._ask_all()
        assert '"event": "fact"' in capsys.readouterr().out


class TestTargets:
    def test_nodes_of_one_host_keep_their_place_while_they_are_down(self):
        watched = tuple(
            WatchedService(name=name, kind=Kind.RAY, host=name, port=8265) for name in ("ray-cpu", "ray-gpu")
        )
        nodes = (node("ray-cpu", "172.28.0.2", expected=True), node("ray-gpu", None, alive=False, expected=True))
        ports = {"ray-cpu": 11005, "ray-gpu": 11005}
        ray = RayStatus(head=None, nodes=nodes, latency_ms=None)
        found = told(status(ray=ray), services=watched, ray_metrics=ports, host="gpu1")
        assert found == {
            "172.28.0.2:11005": {"job": "ray", "node": "ray-cpu", "host": "gpu1"},
            "ray-gpu:11005": {"job": "ray", "node": "ray-gpu", "host": "gpu1"},
        }

    def test_follow_nodes_that_join_and_leave(self):
        nodes = (
            node("alpha-ray-cpu", "10.88.0.1", expected=True),
            node("alpha-ray-head", "10.88.0.1", role="head"),
            node("beta-ray-gpu", "10.88.0.2"),
            node("gamma-ray-cpu", "10.88.0.3", alive=False),
        )
        ray = RayStatus(head=HEAD, nodes=nodes, latency_ms=None)
        found = told(status(ray=ray), ray_metrics=ON_THE_LAN)
        assert set(found) == {"10.88.0.1:11005", "10.88.0.1:11205", "10.88.0.2:11105"}

    def test_of_other_hosts_those_that_report(self):
        found = told(status(cluster=CLUSTER), peers={"exporter": 9410, "health": 8888})
        assert found == {
            "10.88.0.2:9410": {"job": "exporter", "host": "beta"},
            "10.88.0.2:8888": {"job": "health", "host": "beta"},
        }

    def test_without_a_cluster_there_are_no_others(self):
        assert told(status(), peers={"exporter": 9410}) == {}
