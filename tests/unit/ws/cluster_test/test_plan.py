"""What the cluster test expects of a stack: which ports answer to another machine, and which must not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from config.cluster import ClusterSettings, Membership
from config.load import load
from contracts.cluster_test import ClusterTestSettings, Door
from contracts.document import dump
from contracts.document import load as read
from testing.harness import CLUSTER
from ws.cluster_test.plan import Deployed, Published, opening, plan, worker_reason

HOST = "192.0.2.7"
INSIDE = {"redis": "172.28.0.20", "ray-cpu": "172.28.0.10", "mlflow": "172.28.0.21", "keeper": "172.28.0.22"}


def settings_of(raw: dict[str, Any] | None = None, membership: Membership | None = None):
    return load(raw or {}, stack_file="Pulumi.dev.yaml", membership=membership)


def member(host: str) -> Membership:
    cluster = ClusterSettings.model_validate(CLUSTER)
    return Membership(cluster=cluster, host=host, file="cluster.yaml", key="")


def published(bound: str) -> tuple[Published, ...]:
    ports = (
        ("redis", 6381, 6379), ("ray-cpu", 8265, 8265), ("ray-cpu", 10001, 10001), ("mlflow", 5000, 5000),
        ("marimo", 8080, 8080), ("health", 8888, 8888),
    )  # fmt: skip
    return tuple(Published(service=name, bound=bound, port=port, internal=inner) for name, port, inner in ports)


def planned(bound: str, raw: dict[str, Any] | None = None, **more: Any) -> ClusterTestSettings:
    token = Path("/run/secrets/ray-token")
    values = {"own_addresses": (HOST, "10.0.0.7"), "inside": INSIDE, "ray_token": token, **more}
    return plan(settings_of(raw), Deployed(published=published(bound), **values))


class TestTls:
    """nginx publishes the ports of web services, for which it is asked in their names."""

    RAW: dict[str, Any] = {"tls": {"source": "generated"}}  # noqa: RUF012

    @staticmethod
    def published(bound: str) -> tuple[Published, ...]:
        return tuple(
            replace(one, service="tls", internal=one.port) if one.port in (8265, 5000, 8080, 8888) else one
            for one in published(bound)
        )

    def plan(self, bound: str, raw: dict[str, Any]) -> ClusterTestSettings:
        values: Any = {"own_addresses": (HOST,), "inside": {**INSIDE, "tls": "172.28.0.30"}, "trusted": "PEM"}
        return plan(settings_of(raw), Deployed(published=self.published(bound), **values))

    def test_web_services_are_asked_by_https(self):
        found = self.plan("0.0.0.0", self.RAW)
        assert (found.dashboard, found.health) == (f"https://{HOST}:8265", f"https://{HOST}:8888")
        assert (found.mlflow, found.marimo) == (f"https://{HOST}:5000", f"https://{HOST}:8080")
        assert found.ray_client == f"ray://{HOST}:10001"
        assert dict(found.skipped) == {"ray_client_without_token": "this stack has no token for Ray"}
        assert {door.service for door in found.open} == {"redis", "ray-cpu", "mlflow", "marimo", "health"}
        assert (found.trusted, found.by_address) == ("PEM", True)

    def test_containers_are_not_reached_past_nginx(self):
        closed = {(door.host, door.port) for door in self.plan("0.0.0.0", self.RAW).closed}
        assert {("172.28.0.30", 8888), ("172.28.0.21", 5000), ("172.28.0.10", 8265)} <= closed

    def test_a_sites_certificate_is_not_for_addresses(self):
        raw = {"tls": {"source": "files", "certificate": "/c", "key": "/k"}}
        assert not self.plan("0.0.0.0", raw).by_address

    def test_a_former_certificate_is_not_asked_for(self):
        assert planned("0.0.0.0", trusted="PEM").trusted == ""

    def test_for_this_host_alone_says_so(self):
        assert self.plan("127.0.0.1", self.RAW).skipped["health"] == "published for this host alone (127.0.0.1)"


class TestOpenStack:
    def test_every_published_port_is_open_at_the_address_that_others_know(self):
        found = planned("0.0.0.0")
        assert {(door.service, door.host, door.port) for door in found.open} == {
            (one.service, HOST, one.port) for one in published("0.0.0.0")
        }
        assert found.dashboard == f"http://{HOST}:8265"
        assert found.ray_client == f"ray://{HOST}:10001"
        assert (found.mlflow, found.marimo) == (f"http://{HOST}:5000", f"http://{HOST}:8080")
        assert found.redis == Door(service="redis", host=HOST, port=6381)
        assert dict(found.skipped) == {}

    def test_of_notebooks_of_people_the_first_ones_are_opened(self):
        raw = {"marimo": {"users": ["alice", "bob"]}}
        alices, bobs = (
            Published(service=f"marimo-{name}", bound="0.0.0.0", port=port, internal=8080)
            for name, port in (("alice", 8080), ("bob", 8081))
        )
        inside = {"marimo-bob": "172.28.0.30"}
        found = plan(settings_of(raw), Deployed(published=(alices, bobs), inside=inside, own_addresses=(HOST,)))
        assert found.marimo == f"http://{HOST}:8080"
        assert "marimo" not in found.skipped
        assert ("172.28.0.30", 8080) in {(door.host, door.port) for door in found.closed}

    def test_a_port_on_one_address_is_open_there(self):
        assert {door.host for door in planned("10.0.0.7").open} == {"10.0.0.7"}

    def test_containers_are_not_reached_past_their_ports(self):
        closed = {(door.host, door.port) for door in planned("0.0.0.0").closed}
        assert {("172.28.0.20", 6379), ("172.28.0.10", 6379), ("172.28.0.21", 5000), ("172.28.0.10", 11001)} <= closed
        assert not {host for host, _ in closed} & {HOST}

    def test_nor_is_what_a_service_publishes_at_another_port(self):
        own = Published(service="exporter", bound="0.0.0.0", port=9410, internal=8080)
        found = plan(
            settings_of(), Deployed(published=(own,), inside={"exporter": "172.28.0.30"}, own_addresses=(HOST,))
        )
        assert [(door.host, door.port) for door in found.open] == [(HOST, 9410)]
        assert [(door.host, door.port) for door in found.closed] == [("172.28.0.30", 8080)]

    def test_a_path_of_a_reverse_proxy_is_part_of_the_address(self):
        assert planned("0.0.0.0", {"mlflow": {"base_url": "/mlflow"}}).mlflow == f"http://{HOST}:5000/mlflow"

    def test_without_a_token_there_is_none_to_refuse(self):
        found = planned("0.0.0.0", ray_token=None)
        assert found.skipped == {"ray_client_without_token": "this stack has no token for Ray"}

    def test_travels_as_a_document(self):
        found = planned("0.0.0.0")
        assert read(ClusterTestSettings, dump(found)) == found


class TestClosedStack:
    def test_ports_of_this_host_alone_must_not_answer(self):
        found = planned("127.0.0.1")
        assert found.open == ()
        closed = {(door.service, door.host, door.port) for door in found.closed}
        assert {(one.service, HOST, one.port) for one in published("127.0.0.1")} <= closed
        assert all("127.0.0.1" in door.why for door in found.closed if door.host == HOST)

    def test_every_check_of_a_service_is_skipped_with_the_reason(self):
        skipped = planned("127.0.0.1").skipped
        assert skipped["published_ports"] == "nothing is published to other machines"
        names = {"health", "dashboard", "job_submission", "ray_client", "ray_client_without_token", "mlflow", "redis"}
        assert all("for this host alone (127.0.0.1)" in skipped[name] for name in names)

    def test_how_to_open_it_is_a_command(self):
        assert "ws set network.bind_address 0.0.0.0 -s dev, then ws up -s dev" in opening("dev")

    def test_a_host_without_an_address_says_so(self):
        assert "no address" in planned("0.0.0.0", own_addresses=()).skipped["mlflow"]

    def test_what_is_not_published_says_so(self):
        found = plan(settings_of(), Deployed(published=()))
        assert found.skipped["mlflow"] == "mlflow is not published"
        assert found.skipped["dashboard"] == "ray-cpu is not published"

    def test_a_service_that_is_off_is_not_called_unpublished(self):
        found = plan(settings_of({"marimo": {"enabled": False}}), Deployed(published=()))
        assert found.skipped["marimo"] == "this stack has no marimo"


class TestHostOfACluster:
    """Its services are on the host's own network, and its firewall keeps most of their ports for the cluster."""

    def found(self, host: str = "gamma", raw: dict[str, Any] | None = None) -> ClusterTestSettings:
        membership = member(host)
        address = membership.address
        ports = (Published(service="redis", bound=address, port=6379, internal=6379),) if host == "gamma" else ()
        mlflow = (Published(service="mlflow", bound=address, port=5000, internal=5000),) if host == "gamma" else ()
        return plan(
            settings_of(raw, membership), Deployed(published=(*ports, *mlflow), own_addresses=(address, "10.99.0.1"))
        )

    def test_the_gateway_and_mlflow_are_for_the_lan(self):
        found = self.found()
        assert found.dashboard == "http://10.88.0.3:8265"
        assert found.ray_client == "ray://10.88.0.3:10001"
        assert found.mlflow == "http://10.88.0.3:5000"
        assert {door.service for door in found.open} == {"ray-gateway", "mlflow"}

    def test_redis_and_the_nodes_are_not(self):
        closed = {(door.service, door.port) for door in self.found().closed}
        assert {("redis", 6379), ("ray-cpu", 11001)} <= closed
        assert self.found().redis is None

    def test_nor_is_a_head(self):
        assert ("ray-head", 6385) in {(door.service, door.port) for door in self.found("alpha").closed}

    def test_what_the_firewall_is_told_to_admit_is_not_expected_to_be_shut(self):
        assert self.found(raw={"firewall": {"allow": ["172.30.0.0/24"]}}).closed == ()

    def test_the_worker_s_reason_is_another_one(self):
        membership = member("gamma")
        assert "no other host reaches addresses of this host's Docker networks" in worker_reason(
            settings_of({}, membership)
        )


class TestWorker:
    def test_on_one_host_the_network_of_the_nodes_is_the_reason(self):
        assert "172.28.0.0/16, which no other machine reaches" in worker_reason(settings_of())

    def test_without_ray_there_is_nothing_to_join(self):
        raw = {"ray": {"cpu": {"enabled": False}}, "marimo": {"enabled": False}}
        assert worker_reason(settings_of(raw)) == "this stack has no Ray node"
