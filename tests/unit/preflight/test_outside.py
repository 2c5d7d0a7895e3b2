"""preflight/outside.py: stacks that need a firewall, the ports that it guards, and notices without one."""

import pytest

from config.load import load
from config.platform import PlatformSettings
from config.problems import SettingsError
from contracts.firewall import Guarded
from preflight import outside
from preflight.host_facts import HostFacts
from testing.lab import at, changed

ALONE = PlatformSettings()
OFF = load({"firewall": {"enabled": False}}, stack_file="Pulumi.dev.yaml")


def engine(version: str) -> HostFacts:
    return HostFacts(docker_reachable=True, engine_version=version)


class TestNeed:
    @pytest.mark.parametrize(
        ("version", "needed"),
        [("20.10.24+dfsg1", True), ("26.1.5+dfsg1", True), ("27.5.1", True), ("28.0.0", False), ("29.1.3", False)],
    )
    def test_follows_the_engine_on_a_host_of_its_own(self, version, needed):
        assert outside.is_needed(ALONE, engine(version)) is needed

    @pytest.mark.parametrize("facts", [None, HostFacts(), engine("master-dockerproject")])
    def test_is_assumed_where_the_engine_is_not_known(self, facts):
        assert outside.is_needed(ALONE, facts)

    def test_is_there_in_every_cluster_of_several_hosts(self):
        assert outside.is_needed(at("alpha"), engine("29.1.3"))


class TestGuardedPorts:
    def test_are_none_on_a_host_of_its_own(self):
        assert outside.guarded(ALONE) == Guarded()

    def test_are_what_the_hosts_services_take(self):
        guarded = outside.guarded(at("alpha"))
        assert guarded.hosts == ("10.88.0.1", "10.88.0.2", "10.88.0.3")
        assert guarded.ports == (
            "6379", "6385", "8275", "10011", "11001-11006", "11201-11206", "12000-12999", "14000-14999"
        )  # fmt: skip
        assert guarded.forwarded == ()

    def test_let_prometheus_ask_the_nodes_of_its_host(self):
        assert outside.guarded(at("alpha")).scraped == ()
        assert outside.guarded(at("alpha", {"metrics": {"enabled": True}})).scraped == (11205, 11005)

    @pytest.mark.parametrize(("host", "port"), [("gamma", 6381), ("beta", 6382)])
    def test_include_redis_where_it_runs(self, host, port):
        guarded = outside.guarded(at(host))
        assert guarded.forwarded == (port,)
        assert str(port) in guarded.ports

    @pytest.mark.parametrize("port", ["8265", "10001", "5000", "8080", "8888"])
    def test_leave_out_what_people_use(self, port):
        for host in ("alpha", "beta", "gamma"):
            assert port not in outside.guarded(at(host)).ports

    def test_include_the_host_of_a_head_elsewhere(self):
        block = changed(head_address="10.0.0.7:6379", head_whitelist=None)
        assert "10.0.0.7" in outside.guarded(at("beta", None, block)).hosts


class TestNotices:
    def test_are_none_where_the_firewall_runs_or_docker_keeps_others_out(self):
        assert list(outside.notices(ALONE, engine("20.10.24"))) == []
        assert list(outside.notices(OFF, engine("28.0.1"))) == []

    def test_have_the_rules_to_set_by_hand(self):
        [notice] = outside.notices(OFF, engine("26.1.5"))
        assert "Docker 26.1.5 lets every machine" in notice.text
        assert notice.text.count('sudo iptables -I DOCKER-USER -o "$BRIDGE" ! -i "$BRIDGE" ') == 2
        assert "docker network inspect -f '{{slice .Id 0 12}}' ray-network" in notice.text

    def test_of_a_cluster_name_its_hosts_and_ports(self):
        off = at("gamma", {"firewall": {"enabled": False}})
        [notice] = outside.notices(off, engine("28.0.1"))
        assert "one message ends the head" in notice.text
        assert "DOCKER-USER -o" in notice.text  # Redis is behind it
        assert "-A ray-network-hosts -s 10.88.0.1 -j RETURN" in notice.text
        assert "--dports 6379,6381,11001:11006,12000:12999" in notice.text

    @pytest.mark.parametrize(
        ("bind", "warned"), [("127.0.0.1", False), ("127.0.0.5", False), ("192.168.7.2", True), ("0.0.0.0", True)]
    )
    def test_warn_of_a_gcs_that_other_machines_reach(self, bind, warned):
        raw = {"network": {"bind_address": bind}, "ray": {"cpu": {"ports": {"gcs": 6379}}}}
        found = list(outside.notices(load(raw, stack_file="f"), engine("28.0.1")))
        assert [f"ray.cpu.ports.gcs publishes the GCS of ray-cpu on {bind}:6379" in one.text for one in found] == (
            [True] if warned else []
        )

    def test_are_none_of_a_gcs_that_is_not_published(self):
        published = load({"network": {"bind_address": "0.0.0.0"}}, stack_file="f")
        assert list(outside.notices(published, engine("28.0.1"))) == []

    def test_stay_within_what_one_rule_of_iptables_can_name(self):
        """At most 15 ports, of which a range takes two."""
        gpu = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}
        for host in ("alpha", "beta", "gamma"):
            ports = outside.guarded(at(host, gpu)).ports
            assert sum(2 if "-" in port else 1 for port in ports) <= 15


class TestSources:
    @pytest.mark.parametrize("source", ["192.168.7.5", "10.0.0.0/24"])
    def test_are_addresses_or_networks(self, source):
        assert load({"firewall": {"allow": [source]}}, stack_file="f").firewall.allow == (source,)

    @pytest.mark.parametrize("source", ["0.0.0.0/0", "10.0.0.1/24", "prometheus", "fd00::1", "10.0.0.1; drop"])
    def test_anything_else_is_refused_by_its_key(self, source):
        with pytest.raises(SettingsError, match=r"cslr:platform\.firewall\.allow\[0\]: "):
            load({"firewall": {"allow": [source]}}, stack_file="f")

    def test_user_of_the_firewall_is_no_choice(self):
        with pytest.raises(SettingsError, match=r"firewall\.user"):
            load({"firewall": {"user": "1000:1000"}}, stack_file="f")
