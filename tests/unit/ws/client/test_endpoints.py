"""What a person's computer reaches: by the tunnel where a port is this host's alone, else directly."""

from typing import Any, ClassVar

import pytest

from testing.harness import platform_settings
from testing.lab import LAB, at
from ws.client.endpoints import (
    CLIENT,
    DASHBOARD,
    HOME,
    MLFLOW,
    NOTEBOOKS,
    QUEUE,
    Way,
    default_host,
    endpoints,
    refused_names,
)
from ws.errors import WsError

EVERYWHERE: dict[str, Any] = {"network": {"bind_address": "0.0.0.0"}}


def found(settings: Any, **way: Any) -> dict[str, Any]:
    return {one.name: one for one in endpoints(settings, Way(**{"host": "gpuhost", **way}))}


def of(settings: dict[str, Any], **way: Any) -> dict[str, Any]:
    return found(platform_settings(settings), **way)


class TestOneHost:
    def test_everything_goes_through_the_tunnel_by_default(self):
        assert {name: one.url for name, one in of({}).items()} == {
            HOME: "http://127.0.0.1:8888",
            DASHBOARD: "http://127.0.0.1:8265",
            CLIENT: "ray://127.0.0.1:10001",
            MLFLOW: "http://127.0.0.1:5000",
            NOTEBOOKS: "http://127.0.0.1:8080",
        }
        assert of({})[MLFLOW].forward == "127.0.0.1:5000:127.0.0.1:5000"

    def test_ports_are_those_of_the_stack(self):
        ports = {"ray": {"cpu": {"ports": {"dashboard": 18265, "client": 18001}}}, "mlflow": {"port": 15000}}
        assert of(ports)[DASHBOARD].target == "127.0.0.1:18265"
        assert of(ports)[CLIENT].url == "ray://127.0.0.1:18001"
        assert of(ports)[MLFLOW].url == "http://127.0.0.1:15000"

    def test_services_that_the_stack_lacks_have_none(self):
        lean = {"marimo": {"enabled": False}, "health": {"enabled": False}}
        assert set(of(lean)) == {DASHBOARD, CLIENT, MLFLOW}

    def test_ray_is_reached_at_the_first_node_that_may_be_head(self):
        settings = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}, "head_whitelist": ["ray-gpu"]}}
        assert of(settings)[DASHBOARD].port == 8266

    def test_a_head_elsewhere_is_not_reached_here(self):
        assert not {DASHBOARD, CLIENT} & set(of({"ray": {"head_address": "10.0.0.7:6379"}}))

    def test_the_path_of_a_proxy_is_part_of_the_address(self):
        settings = {
            "mlflow": {"base_url": "https://gpuhost.example.org/mlflow"},
            "ray": {"base_url": "https://x.org/ray"},
        }
        assert of(settings)[MLFLOW].url == "http://127.0.0.1:5000/mlflow"
        assert of(settings)[DASHBOARD].url == "http://127.0.0.1:8265", "Ray's dashboard has no path"

    def test_the_queue_is_reached_where_there_is_one(self):
        assert of({"queue": {"enabled": True, "port": 18070}})[QUEUE].forward == "127.0.0.1:18070:127.0.0.1:18070"

    def test_shift_moves_the_near_ends_alone(self):
        moved = of({}, shift=1000)[MLFLOW]
        assert (moved.url, moved.target) == ("http://127.0.0.1:6000", "127.0.0.1:5000")

    @pytest.mark.parametrize("shift", [60000, -6000])
    def test_a_shift_that_leads_to_no_port_is_refused(self, shift):
        with pytest.raises(WsError, match=f"--shift {shift}: .* would get port"):
            of({}, shift=shift)


class TestOpenStack:
    def test_there_is_no_tunnel_and_the_host_is_named(self):
        for one in of(EVERYWHERE).values():
            assert not one.target
            assert one.host == "gpuhost"

    def test_an_address_of_its_own_is_used_as_it_is(self):
        assert of({"network": {"bind_address": "192.168.1.20"}})[MLFLOW].url == "http://192.168.1.20:5000"

    @pytest.mark.parametrize(
        ("bound", "target"), [("0.0.0.0", "127.0.0.1:5000"), ("192.168.1.20", "192.168.1.20:5000")]
    )
    def test_a_tunnel_that_is_asked_for_leads_to_the_address_that_listens(self, bound, target):
        one = of({"network": {"bind_address": bound}}, tunnel=True)[MLFLOW]
        assert (one.url, one.target) == ("http://127.0.0.1:5000", target)

    @pytest.mark.parametrize(
        ("host", "refused"), [("gpuhost", True), ("lab.example.org", False), ("192.168.1.20", False)]
    )
    def test_a_name_that_mlflow_refuses_is_known(self, host, refused):
        network = {"network": {"bind_address": "0.0.0.0", "names": ["lab.example.org:8443"]}}
        assert refused_names(platform_settings(network), Way(host=host), ("192.168.1.20",)) is refused

    def test_mlflow_refuses_no_name_behind_the_tunnel(self):
        assert not refused_names(platform_settings({}), Way(host="gpuhost"), ())


class TestCluster:
    def test_ray_is_behind_the_gateway_of_the_host(self):
        assert found(at("alpha"))[DASHBOARD].url == "http://10.88.0.1:8265"
        assert found(at("alpha"))[CLIENT].url == "ray://10.88.0.1:10001"

    @pytest.mark.parametrize("host", ["alpha", "gamma"])
    def test_mlflow_is_reached_on_its_host_from_each_of_them(self, host):
        assert found(at(host))[MLFLOW].url == "http://10.88.0.3:5000"

    def test_a_host_reaches_the_mlflow_of_another_for_the_tunnel(self):
        assert found(at("alpha"), tunnel=True)[MLFLOW].target == "10.88.0.3:5000"

    def test_only_what_is_not_open_to_the_network_needs_the_tunnel(self):
        assert {name for name, one in found(at("alpha")).items() if one.target} == {HOME, NOTEBOOKS}

    def test_without_mlflow_there_is_none(self):
        block = {key: value for key, value in LAB.items() if key != "mlflow"}
        assert MLFLOW not in found(at("alpha", block=block))


class TestDefaultHost:
    def test_a_name_comes_first_without_its_port(self):
        settings = platform_settings({"network": {"names": ["lab.example.org:8443"]}})
        assert default_host(settings, ("192.168.1.20",)) == "lab.example.org"

    def test_else_the_address(self):
        assert default_host(platform_settings({}), ("192.168.1.20", "10.1.1.1")) == "192.168.1.20"
        assert default_host(at("beta"), ("192.168.1.20",)) == "10.88.0.2"

    def test_there_may_be_none(self):
        assert default_host(platform_settings({}), ()) is None


class TestNotebooksOfPeople:
    PEOPLE: ClassVar = {"marimo": {"users": {"alice": {}, "bob": {"port": 9000}}}}

    def test_are_those_of_the_person(self):
        assert of(self.PEOPLE, person="bob")[NOTEBOOKS].url == "http://127.0.0.1:9000"

    @pytest.mark.parametrize("person", [None, "carol"])
    def test_are_nobody_elses(self, person):
        assert NOTEBOOKS not in of(self.PEOPLE, person=person)

    def test_are_everybodys_where_nobody_has_their_own(self):
        assert of({}, person="bob")[NOTEBOOKS].url == "http://127.0.0.1:8080"
