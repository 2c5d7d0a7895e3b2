"""Preflight: a stack that its host cannot run is refused before anything changes, with a remedy."""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import load
from config.platform import PlatformSettings
from config.platform_rules import MINIMUM_MEMORY
from config.problems import SettingsError
from config.types import SPARE_SUBNETS
from preflight.host import HostFacts, check
from preflight.host_facts import (
    ContainerPort,
    DockerNetwork,
    Folder,
    Listener,
    Route,
    RunningPostgres,
    read_routes,
)

FILE = "Pulumi.dev.yaml"
GIB = 2**30
OURS = {"cslr.project": "cslr", "cslr.stack": "dev"}
THEIRS = {"cslr.project": "cslr", "cslr.stack": "gpu"}


def check_raw(raw: object, facts: HostFacts) -> None:
    """Checks the stack config `raw` on a host."""
    check(load(raw, stack_file=FILE), facts, FILE)


def refusal(raw: object, facts: HostFacts) -> str:
    """The text of the error that `raw` causes on a host."""
    with pytest.raises(SettingsError) as caught:
        check_raw(raw, facts)
    return str(caught.value)


def held(component: str, port: int, labels: Mapping[str, str] = OURS) -> ContainerPort:
    """A port that a container of the stack publishes."""
    container = f"cslr-dev-{component}"
    return ContainerPort(
        container=container, address="127.0.0.1", port=port, labels={**labels, "cslr.component": component}
    )


class TestHostOfWhichNothingIsKnown:
    def test_is_not_refused(self):
        check_raw({"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}, HostFacts())


class TestPostgres:
    PULLED: ClassVar = {"postgres": {"image": {"source": "pull", "reference": "postgres:18"}}}
    RUNNING = HostFacts(postgres=(RunningPostgres(labels=OURS, major=17),))

    def test_of_another_version_is_refused_and_the_version_that_runs_is_named(self):
        said = refusal({"postgres": {"version": 18}}, self.RUNNING)
        assert "18 does not read the data of Postgres 17, which runs" in said
        assert "ws postgres upgrade -s dev" in said
        assert "ws set postgres.version 17 -s dev" in said

    @pytest.mark.parametrize(("major", "remedy"), [(18, "ws postgres upgrade -s dev"), (16, "docs/operating.md")])
    def test_of_a_pulled_image_is_refused_too(self, major, remedy):
        said = refusal(self.PULLED, replace(self.RUNNING, postgres_in=lambda _: major))
        assert "cslr:platform.postgres.image.reference" in said
        assert f"the image's Postgres {major} does not read the data of Postgres 17, which runs" in said
        assert remedy in said

    @pytest.mark.parametrize("major", [0, 17])
    def test_of_the_same_or_an_unknown_version_is_not(self, major):
        check_raw(self.PULLED, replace(self.RUNNING, postgres_in=lambda _: major))

    def test_of_another_stack_does_not_matter(self):
        check_raw({"postgres": {"version": 18}}, HostFacts(postgres=(RunningPostgres(labels=THEIRS, major=17),)))


class TestSubnet:
    def test_must_not_overlap_a_route(self):
        text = refusal({}, HostFacts(routes=(Route(network="172.28.4.0/24", interface="eth1"),)))
        assert f"{FILE}: cslr:platform.network.subnet: 172.28.0.0/16 overlaps 172.28.4.0/24" in text
        assert "a route over eth1" in text
        assert "ws set network.subnet 172.29.0.0/16" in text

    def test_must_not_overlap_a_docker_network(self):
        other = DockerNetwork(name="compose_default", subnets=("172.16.0.0/12",))
        text = refusal({}, HostFacts(docker_networks=(other,)))
        assert "172.28.0.0/16 overlaps 172.16.0.0/12, which is the Docker network compose_default" in text
        assert "ws set network.subnet 10.200.0.0/16" in text

    def test_is_reported_once_for_a_docker_network_and_its_route(self):
        facts = HostFacts(
            docker_networks=(DockerNetwork(name="other", subnets=("172.28.0.0/16",), interface="br-1"),),
            routes=(Route(network="172.28.0.0/16", interface="br-1"),),
        )
        assert refusal({}, facts).count(f"{FILE}: ") == 1

    def test_may_be_that_of_this_stacks_own_network(self):
        own = DockerNetwork(name="ray-network", subnets=("172.28.0.0/16",), labels=OURS, interface="br-1")
        check_raw({}, HostFacts(docker_networks=(own,), routes=(Route(network="172.28.0.0/16", interface="br-1"),)))

    def test_offered_instead_is_one_that_settings_accept(self):
        for subnet in SPARE_SUBNETS:
            load({"network": {"subnet": subnet}}, stack_file=FILE)


class TestNetworkName:
    def test_must_not_be_taken_by_a_network_of_others(self):
        text = refusal({}, HostFacts(docker_networks=(DockerNetwork(name="ray-network"),)))
        assert f"{FILE}: cslr:platform.network.name: a Docker network ray-network is there already" in text
        assert "docker network inspect ray-network" in text

    def test_of_another_stack_is_told_with_that_stack(self):
        text = refusal({}, HostFacts(docker_networks=(DockerNetwork(name="ray-network", labels=THEIRS),)))
        assert "it belongs to the stack gpu" in text
        assert "ws set network.name ray-network-dev" in text


class TestBindAddress:
    FACTS = HostFacts(addresses=frozenset({"127.0.0.1", "192.168.1.10"}))

    def test_must_be_one_of_this_host(self):
        text = refusal({"network": {"bind_address": "192.168.1.99"}}, self.FACTS)
        assert f"{FILE}: cslr:platform.network.bind_address: 192.168.1.99 is not an address of this host" in text
        assert "It has 192.168.1.10." in text
        assert "ws set network.bind_address 127.0.0.1" in text

    @pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "127.0.1.1", "192.168.1.10"])
    def test_may_be_all_loopback_or_its_own(self, address):
        check_raw({"network": {"bind_address": address}}, self.FACTS)


class TestHostPort:
    def test_must_not_be_in_use_by_a_process(self):
        facts = HostFacts(listeners=(Listener(address="0.0.0.0", port=6381, process="redis-server (process 7)"),))
        text = refusal({}, facts)
        assert f"{FILE}: cslr:platform.redis.port: 6381 is in use on this host by redis-server (process 7)" in text
        assert "ws set redis.port 6382" in text

    def test_must_not_be_in_use_by_a_container_of_others(self):
        facts = HostFacts(
            container_ports=(ContainerPort(container="cslr-gpu-mlflow", address="0.0.0.0", port=5000, labels=THEIRS),),
            listeners=(Listener(address="0.0.0.0", port=5000, process="docker-proxy (process 8)"),),
        )
        text = refusal({}, facts)
        assert "5000 is in use on this host by the container cslr-gpu-mlflow of the stack gpu" in text

    def test_may_be_in_use_by_the_services_own_container(self):
        listener = Listener(address="127.0.0.1", port=5000)
        check_raw({}, HostFacts(container_ports=(held("mlflow", 5000),), listeners=(listener,)))

    def test_may_be_in_use_on_another_address(self):
        check_raw({}, HostFacts(listeners=(Listener(address="192.168.1.10", port=5000),)))

    @pytest.mark.parametrize(
        ("raw", "labels", "refused"),
        [
            ({}, OURS, True),
            ({}, {**OURS, "cslr.engine.urn": "u"}, False),
            ({}, {**OURS, "com.docker.compose.project": "p"}, False),
            ({}, THEIRS, False),
            ({"tls": {"source": "generated"}}, OURS, False),
        ],
        ids=["by Pulumi", "by the embedded engine", "by Compose", "of another stack", "TLS is on"],
    )
    def test_must_not_be_held_by_a_former_nginx_that_pulumi_removes_last(self, raw, labels, refused):
        facts = HostFacts(container_ports=(held("tls", 5000, labels), held("tls", 8888, labels)))
        if not refused and labels is not THEIRS:
            check_raw(raw, facts)
            return
        text = refusal(raw, facts)
        assert text.count("5000 is held by cslr-dev-tls, which Pulumi would not end before mlflow needs it") == refused
        assert text.count("    docker rm --force cslr-dev-tls") == refused

    def test_must_not_move_between_services_that_pulumi_replaces(self):
        swapped = {"mlflow": {"port": 8888}, "health": {"port": 5000}}
        text = refusal(swapped, HostFacts(container_ports=(held("mlflow", 5000), held("health", 8888))))
        assert f"{FILE}: cslr:platform.health.port: 5000 is held by cslr-dev-mlflow" in text
        assert f"{FILE}: cslr:platform.mlflow.port: 8888 is held by cslr-dev-health" in text
        assert "    docker rm --force cslr-dev-mlflow" in text
        assert "    docker rm --force cslr-dev-health" in text

    @pytest.mark.parametrize("component", ["mlflow", "tls"])
    def test_may_move_behind_nginx_which_pulumi_starts_last(self, component):
        swapped = {"mlflow": {"port": 8888}, "health": {"port": 5000}, "tls": {"source": "generated"}}
        check_raw(swapped, HostFacts(container_ports=(held(component, 5000), held(component, 8888))))

    def test_may_move_within_a_service(self):
        ports = {"ray": {"cpu": {"ports": {"dashboard": 10001, "client": 8265}}}}
        check_raw(ports, HostFacts(container_ports=(held("ray-cpu", 8265), held("ray-cpu", 10001))))

    def test_of_a_disabled_service_does_not_matter(self):
        facts = HostFacts(listeners=(Listener(address="::", port=8080),))
        check_raw({"marimo": {"enabled": False}}, facts)
        assert "a process that only root can name" in refusal({}, facts)


class TestLimits:
    def test_of_memory_must_not_exceed_the_host(self):
        text = refusal({"ray": {"cpu": {"memory": "64g"}}}, HostFacts(memory_bytes=16 * GIB))
        assert f"{FILE}: cslr:platform.ray.cpu.memory: 64g is more than the 16.0g of this host" in text
        assert "ws set ray.cpu.memory 12g" in text

    def test_of_a_service_that_cannot_fit_are_answered_with_disabling_it(self):
        text = refusal({}, HostFacts(memory_bytes=2 * GIB))
        assert f"ray-cpu needs {MINIMUM_MEMORY['ray-cpu']}, so it cannot run here" in text
        assert "ws set ray.cpu.enabled false" in text

    def test_of_cpus_must_not_exceed_the_host(self):
        text = refusal({}, HostFacts(cpus=1))
        assert f"{FILE}: cslr:platform.ray.cpu.cpus: 2 is more than the 1 CPU cores of this host" in text
        assert "ws set ray.cpu.cpus 1" in text


class TestFolder:
    RAW: ClassVar = {"marimo": {"notebooks": "/srv/notebooks"}}

    def test_must_be_there(self):
        text = refusal(self.RAW, HostFacts(folder=lambda _: None))
        assert f"{FILE}: cslr:platform.marimo.notebooks: there is no folder /srv/notebooks on this host" in text
        assert "sudo install -d -o 1000 -g 1000 /srv/notebooks" in text

    def test_must_be_writable_by_the_services_user(self):
        text = refusal({"marimo": {"notebooks": "/srv/a b", "user": "2000:3000"}}, HostFacts(folder=lambda _: Folder()))
        assert "/srv/a b cannot be written by user 2000, which marimo runs as" in text
        assert "sudo setfacl -m u:2000:rwx '/srv/a b'" in text

    @pytest.mark.parametrize(
        "folder", [Folder(uid=1000), Folder(gid=1000, mode=0o775), Folder(mode=0o777), Folder(mode=0o700, has_acl=True)]
    )
    def test_may_be_writable_by_owner_group_all_or_access_list(self, folder):
        check_raw(self.RAW, HostFacts(folder=lambda _: folder))

    def test_of_a_read_only_volume_needs_reading_only(self):
        volume = {"source": "/srv/data", "target": "/data", "read_only": True}
        check_raw({"marimo": {"volumes": [volume]}}, HostFacts(folder=lambda _: Folder(mode=0o755)))
        text = refusal({"marimo": {"volumes": [volume]}}, HostFacts(folder=lambda _: Folder(mode=0o700)))
        assert f"{FILE}: cslr:platform.marimo.volumes[0].source: /srv/data cannot be read by user 1000" in text

    def test_is_looked_at_as_it_is(self, tmp_path):
        tmp_path.chmod(0o750)
        folder = Folder.at(str(tmp_path))
        assert folder is not None
        assert folder.allows(tmp_path.stat().st_uid, 0, write=True)
        assert not folder.allows(tmp_path.stat().st_uid + 1, tmp_path.stat().st_gid + 1, write=False)
        assert Folder.at(str(tmp_path / "nothing")) is None
        assert Folder.at("\0") is None


class TestNotebooksOfPeople:
    """What is told once for all of them is wrong once."""

    PEOPLE: ClassVar = {
        "users": ["ann", "ben"],
        "memory": "2g",
        "cpus": 4,
        "volumes": [{"source": "/srv/x", "target": "/mnt/x"}],
    }

    @pytest.mark.parametrize("memory", [int(1.9 * GIB), GIB // 2])
    @pytest.mark.parametrize("folder", [None, Folder(mode=0o700)])
    def test_are_refused_once(self, memory, folder):
        facts = HostFacts(memory_bytes=memory, cpus=2, folder=lambda _: folder)
        with pytest.raises(SettingsError) as caught:
            check_raw({"marimo": self.PEOPLE}, facts)
        paths = [problem.path for problem in caught.value.problems if problem.path[0] == "marimo"]
        assert sorted(map(str, paths)) == sorted(
            map(str, [("marimo", "memory"), ("marimo", "cpus"), ("marimo", "volumes", 0, "source")])
        )

    def test_are_refused_at_the_persons_own_key(self):
        raw = {"marimo": {"users": {"ann": {"memory": "64g"}, "ben": None}}}
        assert "marimo.users.ann.memory: 64g is more" in refusal(raw, HostFacts(memory_bytes=8 * GIB))


class TestGpus:
    RAW: ClassVar = {"gpu": {"enabled": True}}

    def test_need_an_nvidia_runtime(self):
        text = refusal(self.RAW, HostFacts(docker_reachable=True))
        assert f"{FILE}: cslr:platform.gpu.enabled: Docker on this host has no NVIDIA runtime" in text
        assert "sudo nvidia-ctk runtime configure --runtime=docker" in text

    def test_are_not_asked_for_where_docker_is_unreachable(self):
        check_raw(self.RAW, HostFacts(docker_reachable=False))

    def test_are_accepted_with_the_runtime(self):
        check_raw(self.RAW, HostFacts(docker_reachable=True, gpu_runtime=True))


class TestKernelTables:
    def test_give_routes_without_the_default_one(self):
        table = (
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        )
        assert read_routes(table) == (Route(network="172.17.0.0/16", interface="docker0"),)


class TestProbe:
    def test_reads_this_host_without_docker(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        facts = HostFacts.probe("cslr", "dev")
        assert facts.cpus > 0
        assert facts.memory_bytes > 0
        assert "127.0.0.1" in facts.addresses
        assert not facts.docker_reachable

    def test_knows_nothing_of_a_remote_host_that_does_not_answer(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        facts = HostFacts.probe("cslr", "dev")
        assert (facts.cpus, facts.listeners, facts.routes) == (0, (), ())
        check_raw({"marimo": {"notebooks": "/nonexistent/folder/of/a/remote/host"}}, facts)

    def test_is_fast(self):
        started = time.monotonic()
        HostFacts.probe("cslr", "dev")
        assert time.monotonic() - started < 5  # a fraction of a second on an idle machine


FULL = PlatformSettings()
ADDRESSES = st.sampled_from(["0.0.0.0", "::", "127.0.0.1", "192.168.1.10", "fe80::1"])
SUBNETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(
    lambda pair: str(ipaddress.IPv4Network(pair, strict=False))
)
HOSTS = st.builds(
    HostFacts,
    cpus=st.integers(0, 256),
    memory_bytes=st.integers(0, 2**40),
    addresses=st.frozensets(st.sampled_from(["127.0.0.1", "10.0.0.1"])),
    routes=st.lists(st.builds(Route, network=SUBNETS, interface=st.just("eth0")), max_size=3).map(tuple),
    listeners=st.lists(st.builds(Listener, address=ADDRESSES, port=st.integers(5000, 8888)), max_size=3).map(tuple),
    folder=st.just(lambda _: None),
    docker_reachable=st.booleans(),
)


class TestNoHost:
    @hypothesis.settings(deadline=None)
    @given(HOSTS)
    def test_raises_anything_but_the_clear_error(self, facts):
        try:
            check(FULL, facts, FILE)
        except SettingsError as error:
            assert str(error).startswith(f"{FILE}: cslr:platform.")  # noqa: PT017 - both outcomes are right
