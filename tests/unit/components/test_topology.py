"""The topologies of a single host and of a cluster's host."""

from typing import Any

import pytest

from components.topology import ClusterHost, SingleHost, Topology, topology_of
from config.cluster import ClusterSettings, Membership
from config.load import load
from stack.identity import StackIdentity
from testing.harness import CLUSTER

IDENTITY = StackIdentity(project="cslr", stack="dev")
BOTH: dict[str, Any] = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}


def alone(**ray) -> SingleHost:
    settings = load({**BOTH, "ray": {**BOTH["ray"], **ray}}, stack_file="Pulumi.dev.yaml")
    found = topology_of(settings, IDENTITY)
    assert isinstance(found, SingleHost)
    return found


@pytest.fixture
def member() -> ClusterHost:
    cluster = ClusterSettings.model_validate(CLUSTER)
    membership = Membership(cluster=cluster, host="beta", file="Pulumi.beta.yaml", key="cslr:cluster")
    found = topology_of(load({}, stack_file="Pulumi.beta.yaml", membership=membership), IDENTITY)
    assert isinstance(found, ClusterHost)
    return found


class TestSingleHost:
    def test_gives_each_node_an_address_on_the_bridge_and_publishes_its_ports(self):
        topology: Topology = alone()
        found = [topology.attachment(node) for node in ("ray-cpu", "ray-gpu")]
        assert [(a.network, a.publishes, a.hosts) for a in found] == [("bridge", True, {})] * 2
        assert tuple(a.address for a in found) == topology.node_addresses

    def test_its_nodes_lead_in_the_order_of_the_whitelist(self):
        topology = alone(head_whitelist=["ray-gpu", "ray-cpu"])
        assert topology.leaders == topology.head_hosts == ("ray-gpu", "ray-cpu")
        assert topology.ray_address == "ray://ray-gpu:10001"

    def test_a_static_head_elsewhere_leaves_its_own_nodes_workers(self):
        topology = alone(head_address="10.1.1.1:6379")
        assert not {"ray-cpu", "ray-gpu"} & {*topology.leaders}
        assert topology.ray_address == "ray://10.1.1.1:10001"

    def test_without_nodes_has_no_ray(self):
        assert alone(cpu={"enabled": False}, gpu={"enabled": False}, head_whitelist=[]).ray_address is None

    def test_a_node_is_shown_in_its_own_dashboard(self):
        assert (alone().dashboard, alone().dashboard_of("ray-cpu")) == (None, ("ray-cpu", "ray-cpu"))


class TestClusterHost:
    def test_is_on_the_network_of_the_host_where_its_name_is_known_by_its_address(self, member):
        found = member.attachment("ray-cpu")
        assert (found.network, found.address, found.publishes) == ("host", None, False)
        assert found.hosts == {"ray-cpu": "10.88.0.2"}

    def test_its_nodes_never_lead_and_do_not_wait_for_each_other(self, member):
        assert (member.leaders, member.first_node_leads) == ((), False)

    def test_clients_and_the_dashboard_go_by_its_own_gateway(self, member):
        assert (member.head_hosts, member.ray_address) == (("10.88.0.2",), "ray://10.88.0.2:10001")
        assert (member.dashboard, member.dashboard_of("ray-cpu")) == ("10.88.0.2:8265", ("10.88.0.2", "ray-gateway"))

    def test_people_are_led_to_the_gateway_instead_of_its_nodes(self, member):
        assert member.linked(["redis", "ray-gateway", "ray-cpu", "health"]) == ("redis", "health", "ray-gateway")

    def test_mlflow_of_another_host_is_where_the_cluster_file_has_it(self, member):
        assert member.mlflow_url == "http://10.88.0.3:5000"
        assert member.reach_of_mlflow(None).addresses == ("10.88.0.3",)
