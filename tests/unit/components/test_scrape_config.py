"""Whom Prometheus asks, as its configuration says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.scrape_config import Scraping, configuration
from testing.harness import CLUSTER, deploy

METRICS = {"metrics": {"enabled": True}, "exporter": {"enabled": True}}


def written(**more: Any) -> Any:
    values: dict[str, Any] = {
        "stack": "dev",
        "host": "gpu1",
        "interval": 15,
        "services": ("health", "prometheus", "alertmanager"),
    }
    return yaml.safe_load(configuration(Scraping(**{**values, **more})))


def jobs(found: Any) -> dict[str, Any]:
    return {job["job_name"]: job for job in found["scrape_configs"]}


class TestConfiguration:
    def test_asks_the_services_of_this_host_that_are_enabled_and_have_figures(self):
        found = jobs(written(services=("redis", "health", "exporter", "prometheus")))
        assert set(found) == {"health", "exporter", "prometheus", "discovered"}
        assert found["exporter"]["static_configs"] == [{"targets": ["exporter:8080"], "labels": {"host": "gpu1"}}]

    def test_ray_and_other_hosts_are_told_by_the_health_service(self):
        (source,) = jobs(written())["discovered"]["http_sd_configs"]
        assert source["url"] == "http://health:8888/targets"

    def test_a_scrape_ends_before_the_next_begins(self):
        assert written(interval=2)["global"]["scrape_timeout"] == "2s"
        assert written(interval=60)["global"]["scrape_timeout"] == "10s"

    def test_nobody_is_told_of_alerts_without_alertmanager(self):
        assert "alerting" in written()
        assert "alerting" not in written(services=("health", "prometheus"))

    def test_alerts_name_their_stack(self):
        assert written(stack="gpu")["global"]["external_labels"] == {"stack": "gpu"}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    return deploy(METRICS, state_home=tmp_path_factory.mktemp("state"))


class TestStack:
    def test_one_key_enables_both_services(self, deployed):
        assert {"prometheus", "alertmanager"} <= set(deployed.containers)

    def test_alertmanager_does_not_run_alone(self, tmp_path):
        settings = {"metrics": {"alertmanager": {"enabled": True}}}
        assert not {"prometheus", "alertmanager"} & set(deploy(settings, state_home=tmp_path).containers)

    def test_both_are_of_one_image(self, deployed):
        assert len({deployed.containers[name].inputs["image"] for name in ("prometheus", "alertmanager")}) == 1

    def test_figures_are_kept_within_limits_on_a_volume(self, deployed):
        container = deployed.containers["prometheus"]
        command = container.inputs["command"]
        assert "--storage.tsdb.retention.time=15d" in command
        assert f"--storage.tsdb.retention.size={5 * 2**30}B" in command
        assert container.mounts["/prometheus"]["type"] == "volume"

    def test_memory_is_given_back_before_the_limit(self, deployed):
        container = deployed.containers["prometheus"]
        assert container.env["GOMEMLIMIT"] == "460MiB"
        assert container.inputs["memory"] == 512

    def test_ports_are_open_to_this_host_alone(self, deployed):
        ports = [port for name in ("prometheus", "alertmanager") for port in deployed.containers[name].inputs["ports"]]
        assert [(port["ip"], port["external"]) for port in ports] == [("127.0.0.1", 9090), ("127.0.0.1", 9093)]

    def test_a_host_of_a_cluster_has_its_name_on_its_series(self, tmp_path):
        deployed = deploy(METRICS, state_home=tmp_path, stack="beta", cluster=CLUSTER)
        source = deployed.containers["prometheus"].mounts["/run/cslr/prometheus.yaml"]["source"]
        found = jobs(yaml.safe_load(Path(source).read_text()))
        assert found["health"]["static_configs"][0]["labels"] == {"host": "beta"}
