"""The settings of a cluster over several hosts: the services of each host, and one clear error for every mistake."""

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config import cluster_file
from config.cluster import CLUSTER_SERVICES, ClusterSettings, Membership
from config.cluster_file import find_membership, lan_owner
from config.load import load
from config.platform import PlatformSettings
from config.ports import GATEWAY_PORTS, HOST_RAY_PORTS
from config.problems import SettingsError, dotted
from config.services import SERVICES
from testing.lab import LAB, at, changed, membership_in, membership_of
from testing.strategies import ANYTHING


def refusal(block: object, stack: str = "alpha", **config: str) -> str:
    """The text of the error that a block causes."""
    with pytest.raises(SettingsError) as caught:
        membership_in(block, stack, **config)
    return str(caught.value)


def assert_clear(error: SettingsError) -> None:
    """Every problem has a way out, and the text can be printed anywhere."""
    assert all(problem.advice for problem in error.problems)
    assert all(line.isprintable() for line in str(error).split("\n"))


class TestHostOnItsOwn:
    def test_has_no_block(self):
        assert find_membership(lambda _: None, stack="dev", stack_file="Pulumi.dev.yaml") is None

    @pytest.mark.parametrize("text", ["", "null"])
    def test_is_none_that_lacks_a_value(self, text):
        with pytest.raises(SettingsError, match=r"Pulumi\.dev\.yaml: cslr:cluster: has no value") as caught:
            find_membership({"cluster": text}.get, stack="dev", stack_file="Pulumi.dev.yaml")
        assert_clear(caught.value)

    @pytest.mark.parametrize("key", ["host", "clusterKey"])
    def test_has_nothing_that_only_a_cluster_has(self, key):
        with pytest.raises(SettingsError, match=f"cslr:{key}: has no meaning without cslr:cluster") as caught:
            find_membership({key: "alpha"}.get, stack="dev", stack_file="Pulumi.dev.yaml")
        assert_clear(caught.value)

    def test_may_share_the_block_of_others(self):
        assert membership_in(changed(topology="single")) is None

    def test_runs_what_it_always_did(self):
        assert load({}, stack_file="Pulumi.dev.yaml").membership is None
        assert not {"redis-replica", "ray-gateway", "ray-head"} & set(load({}, stack_file="Pulumi.dev.yaml").services())

    @pytest.mark.parametrize("section", [{"ray": {"head": {}}}, {"ray": {"gateway": {}}}, {"redis": {"replica": {}}}])
    def test_cannot_run_what_only_a_cluster_has(self, section):
        ((outer, inner),) = section.items()
        raw = {outer: {name: {"enabled": True} for name in inner}}
        with pytest.raises(SettingsError, match="is part of a cluster of several hosts, and this stack has none"):
            load(raw, stack_file="Pulumi.dev.yaml")


class TestPlace:
    def test_decides_what_each_host_runs(self):
        everywhere = {"firewall", "health", "ray-gateway", "ray-cpu", "marimo"}
        assert set(at("alpha").services()) - {"keeper"} == everywhere | {"ray-head"}
        assert set(at("beta").services()) - {"keeper"} == everywhere | {"ray-head", "redis-replica"}
        assert set(at("gamma").services()) - {"keeper"} == everywhere | {"redis", "postgres", "mlflow"}

    def test_leaves_out_tracking_and_the_copy_of_redis_where_the_block_does(self):
        block = changed(mlflow=None, redis={"host": "gamma"})
        assert not {"postgres", "mlflow", "redis-replica"} & {
            s for h in LAB["hosts"] for s in at(h, None, block).services()
        }
        assert membership_of("alpha", block).mlflow_url is None

    def test_lets_every_service_of_the_block_run_on_the_hosts_that_it_names(self):
        for service in CLUSTER_SERVICES:
            hosts = membership_of("alpha").hosts_of(service)
            assert hosts
            assert [host for host in LAB["hosts"] if membership_of(host).runs(service)] == sorted(hosts)

    def test_leaves_other_services_to_the_stack(self):
        raw = {"ray": {"cpu": {"enabled": False}}, "marimo": {"enabled": False}}
        assert not {"ray-cpu", "marimo"} & set(at("alpha", raw).services())

    def test_says_where_everything_is(self):
        membership = membership_of("alpha")
        assert (membership.address, membership.peers) == ("10.88.0.1", {"beta": "10.88.0.2", "gamma": "10.88.0.3"})
        assert membership.redis_addresses == ("10.88.0.3:6381", "10.88.0.2:6382")
        assert membership.mlflow_url == "http://10.88.0.3:5000"
        assert (membership.namespace, membership.node("ray-cpu")) == ("cslr-lab", "alpha-ray-cpu")

    def test_knows_one_address_of_redis_without_a_copy(self):
        assert membership_of("alpha", changed(redis={"host": "gamma", "port": 7000})).redis_addresses == (
            "10.88.0.3:7000",
        )

    def test_gives_redis_and_mlflow_the_ports_of_the_block(self):
        block = changed(
            redis={"host": "gamma", "replica": "beta", "port": 7000, "replica_port": 7001},
            mlflow={"host": "gamma", "port": 7002},
        )
        assert (at("gamma", None, block).redis.port, at("gamma", None, block).mlflow.port) == (7000, 7002)
        assert at("beta", None, block).redis.replica.port == 7001

    def test_says_for_all_hosts_whether_mlflow_has_logins(self):
        block = changed(mlflow={"host": "gamma", "logins": True})
        assert at("gamma", None, block).mlflow.logins
        assert at("alpha", None, block).mlflow.logins
        assert not at("alpha").mlflow.logins

    def test_publishes_what_other_hosts_need_on_the_address_of_the_host(self):
        settings = at("gamma")
        addresses = {name: settings.bind_address(name) for name in settings.services()}
        assert {name for name, address in addresses.items() if address == "10.88.0.3"} == {"redis", "mlflow"}

    def test_publishes_no_port_of_ray_which_is_on_the_host_network(self):
        assert {dotted(path) for path, _ in at("gamma").published_ports()} == {
            "redis.port",
            "mlflow.port",
            "health.port",
            "marimo.port",
        }

    def test_makes_the_nodes_of_every_host_workers(self):
        assert at("alpha").head_candidates == ()
        assert list(at("alpha").ray_nodes) == ["ray-cpu"]


class TestWhitelist:
    def test_orders_the_hosts_that_may_lead(self):
        assert membership_of("alpha").candidates == ("beta", "alpha")
        assert [membership_of(host).candidate for host in LAB["hosts"]] == [True, True, False]

    def test_is_all_hosts_in_their_order_where_there_is_none(self):
        assert membership_of("gamma", changed(head_whitelist=None)).candidates == ("alpha", "beta", "gamma")


class TestHeadAddress:
    def test_of_a_host_makes_it_the_only_one_that_leads(self):
        for named in ("alpha", "10.88.0.1"):
            membership = membership_of("beta", changed(head_address=f"{named}:6385"))
            assert (membership.candidates, membership.candidate, membership.static_head) == (
                ("alpha",),
                False,
                "10.88.0.1:6385",
            )

    def test_elsewhere_lets_no_host_lead(self):
        membership = membership_of("beta", changed(head_address="head.example.org:6379", head_whitelist=[]))
        assert (membership.candidates, membership.static_head) == ((), "head.example.org:6379")
        assert (
            "ray-head"
            not in at("beta", None, changed(head_address="head.example.org:6379", head_whitelist=None)).services()
        )

    def test_is_not_there_by_default(self):
        assert membership_of("beta").static_head is None

    @pytest.mark.parametrize("address", ["alhpa:6385", "192.168.1.300:6379", "1.2.3:6379"])
    def test_of_a_misspelt_host_is_no_head_elsewhere(self, address):
        with pytest.raises(SettingsError, match=r"cslr:cluster\.head_address") as caught:
            membership_of("beta", changed(head_address=address))
        assert_clear(caught.value)

    def test_elsewhere_leaves_no_host_to_list_as_one_that_leads(self):
        with pytest.raises(
            SettingsError, match=r"head_whitelist: it lists hosts that may lead, but the head is elsewhere"
        ):
            membership_of("beta", changed(head_address="head.example.org:6379", head_whitelist=["alpha"]))


class TestOwnHost:
    def test_is_the_one_that_the_stack_names(self):
        membership = membership_in(LAB, "anything", host="gamma")
        assert membership
        assert membership.host == "gamma"

    def test_named_wins_over_the_name_of_the_stack(self):
        membership = membership_in(LAB, "alpha", host="gamma")
        assert membership
        assert membership.host == "gamma"

    def test_is_else_the_one_whose_address_this_machine_has(self, monkeypatch):
        sources = {"10.88.0.1": "10.88.0.2", "10.88.0.2": "10.88.0.2", "10.88.0.3": "10.88.0.2"}
        monkeypatch.setattr(cluster_file, "source_address", sources.get)
        membership = membership_in(LAB, "main")
        assert membership
        assert membership.host == "beta"

    @pytest.mark.parametrize(
        ("sources", "reason"),
        [
            ({}, "this machine has no address of theirs"),
            ({"10.88.0.1": "192.0.2.1"}, "this machine has no address of theirs"),
            ({a: a for a in ("10.88.0.1", "10.88.0.3")}, "this machine has the addresses of alpha and gamma"),
        ],
    )
    def test_is_asked_for_where_it_cannot_be_known(self, monkeypatch, sources, reason):
        monkeypatch.setattr(cluster_file, "source_address", sources.get)
        text = refusal(LAB, "main")
        assert text.startswith("Pulumi.main.yaml: cslr:host: is needed: no host of the cluster")
        assert reason in text
        assert "ws set host alpha" in text

    def test_must_be_one_of_the_cluster(self):
        text = refusal(LAB, host="alhpa")
        assert "Pulumi.alpha.yaml: cslr:host: 'alhpa' is not a host of the cluster" in text
        assert "ws set host alpha" in text


class TestFile:
    """The block in a file of its own, which all hosts' stacks name."""

    @pytest.fixture
    def membership(self, tmp_path):
        def read(content: str, name: str = "cluster.yaml") -> Membership | None:
            (tmp_path / name).write_text(content)
            return find_membership(
                {"cluster": name}.get, stack="alpha", stack_file="Pulumi.alpha.yaml", folder=tmp_path
            )

        return read

    def test_says_the_same_as_in_the_stack_file(self, membership):
        found = membership(yaml.safe_dump(LAB))
        assert found
        assert found.cluster == membership_of("alpha").cluster
        assert (found.file, found.key) == ("cluster.yaml", "")

    def test_is_what_its_errors_name_with_the_lines_to_write(self, membership):
        with pytest.raises(SettingsError) as caught:
            membership(yaml.safe_dump(changed(redis={"host": "gama"}, head_whitelist=["alpha", "alpha"])))
        text = str(caught.value)
        assert "cluster.yaml: redis.host: 'gama' is not a host of this cluster.\n" in text
        assert "    redis:\n      host: gamma" in text
        assert "cluster.yaml: head_whitelist[1]: alpha is listed twice" in text
        assert "    without head_whitelist[1]" in text
        assert "pulumi config" not in text

    def test_that_is_no_mapping_is_refused(self, membership):
        with pytest.raises(SettingsError, match=r"^cluster\.yaml: must be a mapping") as caught:
            membership("- alpha")
        assert "It needs the keys name, hosts, redis." in str(caught.value)

    def test_that_is_no_yaml_is_refused(self, membership):
        with pytest.raises(SettingsError, match=r"^cluster\.yaml: is not valid YAML"):
            membership("hosts: {alpha")

    def test_that_is_missing_is_asked_for(self):
        text = refusal("nowhere.yaml")
        assert text.startswith("Pulumi.alpha.yaml: cslr:cluster: ")
        assert "has no file 'nowhere.yaml'" in text
        assert "cp cluster.example.yaml nowhere.yaml" in text

    def test_that_is_a_folder_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match=r"^Pulumi\.alpha\.yaml: cslr:cluster: \. cannot be read"):
            find_membership({"cluster": "."}.get, stack="alpha", stack_file="Pulumi.alpha.yaml", folder=tmp_path)


class TestMistakesInTheBlock:
    @pytest.mark.parametrize(
        ("keys", "key", "reason", "remedy"),
        [
            pytest.param({"name": None}, "name", "is missing", "cluster.name lab", id="no-name"),
            pytest.param({"hosts": None}, "hosts", "is missing", '{"alpha"', id="no-hosts"),
            pytest.param({"hosts": {}}, "hosts", "names no host", '{"alpha"', id="hosts-empty"),
            pytest.param({"redis": {}}, "redis.host", "is missing", "cluster.redis.host gamma", id="no-redis"),
            pytest.param({"topology": "wan"}, "topology", "must be 'lan' or 'single'", "topology lan", id="topology"),
            pytest.param(
                {"hosts": LAB["hosts"] | {"delta": {"address": "10.88.0.2"}}},
                "hosts.delta.address",
                "10.88.0.2 is already the address of beta",
                "ws unset cluster.hosts.delta",
                id="address-twice",
            ),
            pytest.param(
                {"hosts": LAB["hosts"] | {"delta": {"address": "127.0.0.2"}}},
                "hosts.delta.address",
                "is an address that other hosts cannot reach",
                "192.168.1.10",
                id="loopback",
            ),
            pytest.param(
                {"hosts": LAB["hosts"] | {"delta": {"adress": "10.88.0.4"}}},
                "hosts.delta.adress",
                "unknown key",
                "Did you mean address?",
                id="misspelt",
            ),
            pytest.param(
                {"hosts": LAB["hosts"] | {"Delta": {"address": "10.88.0.4"}}},
                "hosts.Delta",
                "'Delta' is not a valid name for a host",
                "Rename it",
                id="name-of-host",
            ),
            pytest.param(
                {"hosts": LAB["hosts"] | {"alpha-ray-cpu": {"address": "10.88.0.4"}}},
                "hosts.alpha-ray-cpu",
                "reads like the name of a Ray node",
                "Rename it",
                id="name-of-node",
            ),
            pytest.param(
                {"redis": {"host": "gama"}},
                "redis.host",
                "'gama' is not a host of this cluster",
                "cluster.redis.host gamma",
                id="redis-on-unknown-host",
            ),
            pytest.param(
                {"redis": {"host": "gamma", "replica": "delta"}},
                "redis.replica",
                "'delta' is not a host of this cluster",
                "cluster.redis.replica ",
                id="replica-on-unknown-host",
            ),
            pytest.param(
                {"redis": {"host": "gamma", "replica": "gamma"}},
                "redis.replica",
                "would be lost together with it",
                "cluster.redis.replica alpha",
                id="replica-beside-redis",
            ),
            pytest.param(
                {"mlflow": {"host": "delta"}},
                "mlflow.host",
                "'delta' is not a host of this cluster",
                "cluster.mlflow.host ",
                id="mlflow-on-unknown-host",
            ),
            pytest.param(
                {"head_whitelist": ["alpha", "ray-cpu"]},
                "head_whitelist[1]",
                "'ray-cpu' is not a host of this cluster",
                "Known here: alpha, beta, gamma.",
                id="whitelist-of-nodes",
            ),
            pytest.param(
                {"head_whitelist": ["alpha", "alpha"]},
                "head_whitelist[1]",
                "alpha is listed twice",
                "ws unset 'cluster.head_whitelist[1]'",
                id="whitelist-twice",
            ),
            pytest.param(
                {"head_whitelist": []},
                "head_whitelist",
                "would never have a head",
                '["alpha", "beta", "gamma"]',
                id="nobody-may-lead",
            ),
            pytest.param(
                {"head_address": "alpha:6379"},
                "head_address",
                "has the port 6385, not 6379",
                "cluster.head_address alpha:6385",
                id="head-address-of-the-gateway",
            ),
            pytest.param(
                {"head_address": "gamma:6385"},
                "head_address",
                "gamma would be the only head, but head_whitelist says that it never leads",
                '["gamma", "beta", "alpha"]',
                id="head-address-outside-the-whitelist",
            ),
            pytest.param(
                {"redis": {"host": "gamma", "port": 6385}},
                "redis.port",
                "6385 is already the port of ray-head (port)",
                "cluster.redis.port 6381",
                id="redis-on-the-port-of-ray",
            ),
            pytest.param(
                {"mlflow": {"host": "gamma", "port": 12500}},
                "mlflow.port",
                "12500 is already the port of ray-cpu (worker processes)",
                "cluster.mlflow.port ",
                id="mlflow-among-the-workers",
            ),
            pytest.param(
                {"mlflow": {"host": "gamma", "port": 6381}},
                "mlflow.port",
                "6381 is already redis.port",
                "cluster.mlflow.port 6383",
                id="mlflow-on-the-port-of-redis",
            ),
        ],
    )
    def test_are_named_with_file_key_reason_and_remedy(self, keys, key, reason, remedy):
        text = refusal(changed(**keys))
        assert f"Pulumi.alpha.yaml: cslr:cluster.{key}: " in text
        assert reason in text
        assert remedy in text

    def test_are_named_all_at_once(self):
        assert refusal(changed(redis={"host": "x"}, mlflow={"host": "y"}, head_whitelist=[])).count("Pulumi.alpha") == 3

    @hypothesis_settings(deadline=None)
    @given(st.one_of(ANYTHING, st.dictionaries(st.sampled_from(sorted(ClusterSettings.model_fields)), ANYTHING)))
    def test_of_any_kind_are_the_one_clear_error(self, raw):
        try:
            cluster_file.parse(raw, file="cluster.yaml", key="")
        except SettingsError as error:
            assert_clear(error)


class TestMistakesOfAHost:
    """What a stack says although the cluster decides it."""

    @pytest.mark.parametrize(
        ("host", "raw", "key", "reason", "remedy"),
        [
            pytest.param(
                "alpha",
                {"ray": {"head_whitelist": ["ray-cpu"]}},
                "ray.head_whitelist",
                "all hosts must agree on which hosts may lead",
                "Set cslr:cluster.head_whitelist in Pulumi.alpha.yaml instead",
                id="whitelist-of-nodes",
            ),
            pytest.param(
                "alpha",
                {"ray": {"head_address": "alpha:6385"}},
                "ray.head_address",
                "where the head is, is the same for all hosts",
                "Set cslr:cluster.head_address in Pulumi.alpha.yaml instead",
                id="head-address",
            ),
            pytest.param(
                "alpha",
                {"ray": {"cpu": {"ports": {"gcs": 6390}}}},
                "ray.cpu.ports",
                "Ray has the same ports on every host",
                "ws unset ray.cpu.ports",
                id="ports-of-a-node",
            ),
            pytest.param(
                "gamma",
                {"redis": {"port": 6390}},
                "redis.port",
                "other hosts must know it too",
                "Set cslr:cluster.redis.port in Pulumi.gamma.yaml instead",
                id="port-of-redis",
            ),
            pytest.param(
                "alpha",
                {"mlflow": {"logins": True}},
                "mlflow.logins",
                "other hosts must know it too",
                "Set cslr:cluster.mlflow.logins in Pulumi.alpha.yaml instead",
                id="logins-of-mlflow",
            ),
            pytest.param(
                "alpha",
                {"redis": {"enabled": True}},
                "redis.enabled",
                "the cluster lab has redis on gamma, and this is alpha",
                "ws unset redis.enabled",
                id="redis-elsewhere",
            ),
            pytest.param(
                "gamma",
                {"mlflow": {"enabled": False}},
                "mlflow.enabled",
                "the cluster lab has mlflow on gamma, and this is gamma",
                "ws unset mlflow.enabled",
                id="mlflow-here",
            ),
            pytest.param(
                "alpha",
                {"marimo": {"port": 8265}},
                "marimo.port",
                "8265 is the port of ray-gateway (dashboard) on every host of a cluster",
                "marimo.port 8266",
                id="port-of-the-gateway",
            ),
            pytest.param(
                "alpha",
                {"health": {"port": 12999}},
                "health.port",
                "12999 is the port of ray-cpu (worker processes)",
                "health.port 15000",
                id="port-of-a-worker",
            ),
            pytest.param(
                "alpha",
                {"network": {"subnet": "10.88.0.0/16"}},
                "network.subnet",
                "contains the addresses of alpha, beta, gamma",
                "network.subnet 172.28.0.0/16",
                id="subnet-of-the-hosts",
            ),
            pytest.param(
                "alpha",
                {"ray": {"head": {"image": {"source": "pull", "reference": "x:1"}}}},
                "ray.head.image",
                "ray-head runs the image of ray-cpu",
                "Set ray.cpu.image instead",
                id="image-of-the-head",
            ),
        ],
    )
    def test_are_named_with_file_key_reason_and_remedy(self, host, raw, key, reason, remedy):
        with pytest.raises(SettingsError) as caught:
            at(host, raw)
        assert f"Pulumi.{host}.yaml: cslr:platform.{key}: " in str(caught.value)
        assert reason in str(caught.value)
        assert remedy in str(caught.value)

    def test_are_none_where_a_stack_says_the_same_as_the_cluster(self):
        raw = {"redis": {"enabled": True, "port": 6381}, "mlflow": {"enabled": True}, "ray": {"head": {"memory": "4g"}}}
        assert at("gamma", raw).redis.enabled

    def test_gives_way_to_the_ports_of_the_cluster(self):
        block = changed(redis={"host": "gamma", "port": 8080})
        with pytest.raises(SettingsError) as caught:
            at("gamma", None, block)
        said = str(caught.value)
        assert "cslr:platform.marimo.port: 8080 is already cslr:cluster.redis.port in " in said
        assert "cslr:platform.redis" not in said

    def test_may_use_the_port_of_a_service_that_does_not_run_here(self):
        assert at("gamma", {"marimo": {"port": 8275}}).marimo.port == 8275  # the dashboard of a head


class TestPortsOfTheHost:
    def test_have_one_owner_each(self):
        owners = {port: lan_owner(port) for port in (6379, 6385, 8265, 10001, 11101, 12000, 13999, 14999)}
        assert owners == {
            6379: "ray-gateway (gcs)",
            6385: "ray-head (port)",
            8265: "ray-gateway (dashboard)",
            10001: "ray-gateway (client)",
            11101: "ray-gpu (node-manager-port)",
            12000: "ray-cpu (worker processes)",
            13999: "ray-gpu (worker processes)",
            14999: "ray-head (worker processes)",
        }
        assert lan_owner(6381) is None

    def test_include_all_of_the_plan(self):
        plan = [*GATEWAY_PORTS.values(), *(port for ports in HOST_RAY_PORTS.values() for port in ports.values())]
        assert all(lan_owner(port) for port in plan)

    def test_of_defaults_do_not_collide_with_it(self):
        for name in SERVICES:
            if not name.startswith("ray-"):
                assert not [port for port in PlatformSettings().service(name).host_ports.values() if lan_owner(port)]
