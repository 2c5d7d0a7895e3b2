"""The Host and Origin headers that MLflow must accept, and the targets of links."""

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.addresses import Reach, origin, prefix_of, published_on
from config.load import load
from config.problems import SettingsError
from config.services import MLflowSettings
from preflight.host_facts import outside_addresses
from testing.harness import CLUSTER, deploy, merged

HOSTS, ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
NAMED = {"network": {"bind_address": "192.168.1.20", "names": ["GPUhost.Example.org.", "lab.example.org:8443"]}}


def lists(tmp_path: Path, settings: dict[str, Any], **options: Any) -> tuple[list[str], list[str]]:
    """MLflow's two lists for a stack."""
    env = deploy(settings, state_home=tmp_path, **options).containers["mlflow"].env
    return env[HOSTS].split(","), env[ORIGINS].split(",")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """The lists of a host with names."""
    return lists(tmp_path_factory.mktemp("state"), NAMED)


def answers(hosts: list[str], host: str) -> bool:
    """As mlflow/server/security_utils.py (3.17.2) has it."""
    return any(fnmatch.fnmatch(host, allowed) if "*" in allowed else host == allowed for allowed in hosts)


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost:5000", "localhost:15000", "127.0.0.1:5000", "[::1]:5000", "[::1]:15000", "localhost",
            "mlflow:5000", "cslr-dev-mlflow:5000", "192.168.1.20:5000",
            "gpuhost.example.org:5000", "gpuhost.example.org.:5000", "gpuhost.example.org",
            "lab.example.org:8443",
        ],
    )  # fmt: skip
    def test_that_are_published_are_answered(self, named, host):
        assert answers(named[0], host)

    @pytest.mark.parametrize(
        "host",
        [
            "10.evil.example:5000", "192.168.evil.example:5000", "172.16.evil.example", "127.0.0.1.evil.example:5000",
            "localhost.evil.example:5000", "mlflow.evil.example:5000", "evil.example:5000", "192.168.1.20:80",
            "192.168.1.21:5000", "10.0.0.1:5000", "gpuhost.example.org:8080", "gpuhost.example.org.evil.example:5000",
            "xgpuhost.example.org:5000", "gpuhostXexample.org:5000", "lab.example.org:5000", "192.168.1.20", "",
        ],
    )  # fmt: skip
    def test_that_are_not_are_refused(self, named, host):
        assert not answers(named[0], host)

    def test_no_entry_is_a_pattern_of_names_or_addresses(self, tmp_path):
        hosts, origins = lists(tmp_path, {"network": {"bind_address": "0.0.0.0", "names": ["a.example"]}})
        assert {host for host in hosts if "*" in host} == {"localhost:*", "127.0.0.1:*", "[[]::1]:*"}
        assert not [one for one in origins if "*" in one]

    def test_on_127_0_0_1_no_address_of_the_host_is_answered(self, tmp_path):
        hosts, origins = lists(tmp_path, {})
        assert not [host for host in hosts if host.startswith(("10.", "192.", "172."))]
        assert origins == ["http://mlflow:5000", "http://cslr-dev-mlflow:5000"]

    def test_on_all_addresses_those_of_this_host_are(self, tmp_path):
        hosts, origins = lists(tmp_path, {"network": {"bind_address": "0.0.0.0"}, "mlflow": {"port": 5001}})
        for address in outside_addresses():
            assert f"{address}:5001" in hosts
            assert f"http://{address}:5001" in origins

    @pytest.mark.parametrize("address", ["203.0.113.7", "100.64.1.2", "192.168.1.20", "127.0.0.5"])
    def test_of_a_bind_address_in_whatever_network(self, tmp_path, address):
        hosts, origins = lists(tmp_path, {"network": {"bind_address": address}})
        assert f"{address}:5000" in hosts
        assert f"http://{address}:5000" in origins

    def test_of_the_older_variable_have_their_origins_too(self, tmp_path):
        settings = {
            "network": {"bind_address": "192.168.1.20"},
            "mlflow": {"env": {"MLFLOW_ALLOWED_HOSTS": "tracking.example.org:*, other.example:8443"}},
        }
        hosts, origins = lists(tmp_path, settings)
        assert {"tracking.example.org:5000", "tracking.example.org", "other.example:8443"} <= set(hosts)
        assert {"http://tracking.example.org:5000", "https://tracking.example.org"} <= set(origins)

    @pytest.mark.parametrize("value", ["10.*", "*", "*.example.org", "192.168.1.*:5000", "http://a.example", "a b"])
    def test_the_older_variable_takes_no_patterns(self, value):
        with pytest.raises(SettingsError, match=r"network\.names"):
            load({"mlflow": {"env": {"MLFLOW_ALLOWED_HOSTS": value}}}, stack_file="Pulumi.dev.yaml")

    def test_mlflows_own_variables_come_on_top(self, tmp_path):
        own = {"mlflow": {"env": {HOSTS: "extra.example:1", ORIGINS: "http://extra.example:1"}}}
        hosts, origins = lists(tmp_path, merged(NAMED, own))
        assert hosts[-1] == "extra.example:1"
        assert "mlflow:5000" in hosts
        assert origins[-1] == "http://extra.example:1"


class TestOrigins:
    @pytest.mark.parametrize(
        "page",
        [
            "http://192.168.1.20:5000", "http://gpuhost.example.org:5000", "http://gpuhost.example.org.:5000",
            "http://gpuhost.example.org", "https://gpuhost.example.org", "https://lab.example.org:8443",
        ],
    )  # fmt: skip
    def test_of_its_own_pages_may_change_runs(self, named, page):
        assert page in named[1]

    @pytest.mark.parametrize(
        "page",
        [
            "http://192.168.1.20:8080", "https://192.168.1.20:5000", "http://192.168.1.20", "null",
            "https://gpuhost.example.org:5000", "http://10.evil.example:5000", "http://192.168.1.21:5000",
        ],
    )  # fmt: skip
    def test_of_others_may_not(self, named, page):
        assert page not in named[1]

    def test_have_no_port_that_browsers_leave_out(self, tmp_path):
        hosts, origins = lists(tmp_path, merged(NAMED, {"mlflow": {"port": 80}}))
        assert "192.168.1.20" in hosts
        assert "http://192.168.1.20" in origins
        assert origin("https", "a.example", 443) == "https://a.example"

    def test_a_proxy_with_a_path_may_be_on_the_usual_ports(self, tmp_path):
        path = {"network": {"bind_address": "192.168.1.20"}, "mlflow": {"base_url": "/mlflow"}}
        assert {"http://192.168.1.20", "https://192.168.1.20"} <= set(lists(tmp_path, path)[1])

    def test_a_proxy_with_an_address_is_where_it_says(self, tmp_path):
        hosts, origins = lists(tmp_path, {"mlflow": {"base_url": "https://GPU.example.org:8443/mlflow/"}})
        assert "gpu.example.org:8443" in hosts
        assert "https://gpu.example.org:8443" in origins
        assert "http://gpu.example.org:8443" not in origins


class TestSeveralHosts:
    def test_have_the_addresses_and_names_of_the_cluster_file(self, tmp_path):
        named = merged(CLUSTER, {"hosts": {"gamma": {"names": ["gamma.example.org"]}}})
        hosts, origins = lists(tmp_path, {}, stack="gamma", cluster=named)
        assert {"10.88.0.3:5000", "gamma.example.org:5000", "gamma:5000"} <= set(hosts)
        assert {"http://10.88.0.3:5000", "http://gamma.example.org:5000"} <= set(origins)
        assert not answers(hosts, "10.88.evil.example:5000")


class TestLinks:
    @pytest.mark.parametrize(
        ("reach", "link"),
        [
            (Reach(port=5000, addresses=()), "http://127.0.0.1:5000"),
            (Reach(port=5000, addresses=(), names=("a.example",)), "http://127.0.0.1:5000"),
            (Reach(port=5000, addresses=("10.0.0.7",)), "http://10.0.0.7:5000"),
            (Reach(port=5000, addresses=("10.0.0.7",), names=("a.example", "b")), "http://a.example:5000"),
            (Reach(port=5000, addresses=("10.0.0.7",), aliases=("a",)), "http://10.0.0.7:5000"),
            (Reach(port=5000, addresses=(), base_url="/mlflow"), "http://127.0.0.1:5000/mlflow"),
            (Reach(port=5000, addresses=(), base_url="https://a.example/mlflow"), "https://a.example/mlflow"),
        ],
    )
    def test_lead_to_what_a_person_can_open(self, reach, link):
        assert reach.link == link

    def test_are_what_a_deployment_ends_with(self, tmp_path):
        urls = deploy(NAMED, state_home=tmp_path).outputs["urls"]
        assert urls["mlflow"] == "http://gpuhost.example.org:5000"
        assert urls["ray-cpu"] == "http://gpuhost.example.org:8265"
        assert urls["redis"] == "redis://gpuhost.example.org:6381"

    @pytest.mark.parametrize(("base_url", "prefix"), [(None, ""), ("/", ""), ("/a/b/", "/a/b"), ("http://h/x/", "/x")])
    def test_prefix_has_no_slash_at_its_end(self, base_url, prefix):
        assert prefix_of(base_url) == prefix


class TestNames:
    @pytest.mark.parametrize(
        "name", ["", "*", "*.example.org", "http://a", "a/b", "a b", "a:0", "a:99999", "a:", "-a", "10.1.2.300", "a..b"]
    )
    def test_are_exact_or_refused(self, name):
        with pytest.raises(SettingsError, match=r"network\.names"):
            load({"network": {"names": [name]}}, stack_file="Pulumi.dev.yaml")

    def test_are_kept_as_browsers_send_them(self):
        settings = load({"network": {"names": ["GPU.Example.org.", "A:0443"]}}, stack_file="Pulumi.dev.yaml")
        assert settings.network.names == ("gpu.example.org", "a:443")

    @pytest.mark.parametrize("base_url", ["mlflow", "ftp://a/b", "http://a/b?c", "/a b", "/a//b", "/../a", "/{a}"])
    def test_path_of_a_proxy_is_plain(self, base_url):
        with pytest.raises(ValidationError):
            MLflowSettings(base_url=base_url)


class TestAddressesOfThisHost:
    def test_are_none_of_loopback_and_of_docker(self):
        assert not [one for one in outside_addresses() if one.startswith(("127.", "172.17."))]

    def test_count_where_a_port_is_on_all_of_them(self):
        assert published_on("0.0.0.0", ["192.168.1.20", "10.0.0.1"]) == ("192.168.1.20", "10.0.0.1")
        assert published_on("127.0.0.1", ["192.168.1.20"]) == ()
        assert published_on("203.0.113.9", ["192.168.1.20"]) == ("203.0.113.9",)
