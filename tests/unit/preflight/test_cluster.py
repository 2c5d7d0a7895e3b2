"""The preflight of a cluster: each way in which a host does not fit is seen, named host by host, and has a remedy."""

from dataclasses import replace
from typing import Any

import pytest

from config.platform import PlatformSettings
from config.problems import Notice, SettingsError
from contracts import checkpoints
from coordination.membership import MemberState
from preflight.cluster import Situation, check, single_point
from preflight.cluster_facts import ClosedPort, ClusterFacts
from preflight.host_facts import ContainerPort, DockerNetwork, HostFacts, HostNetworkContainer, Listener
from testing.lab import at, changed, membership_of
from testing.lab_facts import BETA, GAMMA, HOST, MACHINE, SOUND, member, state
from ws.doctor.checks import CLUSTER_CHECKS

URL = "s3://lab/checkpoints"
OTHERS = (("beta", "10.88.0.2"), ("gamma", "10.88.0.3"))


def preflight(
    cluster: ClusterFacts = SOUND, host: HostFacts = HOST, settings: PlatformSettings | None = None
) -> list[Notice]:
    """What is said of a host, apart from the want of shared checkpoints."""
    found = check(settings or at("alpha"), host, cluster)
    return [notice for notice in found if not notice.text.startswith("ray.checkpoints is not set")]


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        preflight(*args, **options)
    return str(caught.value)


def with_members(*members: MemberState, **options: Any) -> ClusterFacts:
    return replace(SOUND, state=state(*members, **options))


class TestSoundHost:
    def test_has_nothing_to_hear(self):
        assert preflight() == []

    def test_is_also_one_that_is_up_already(self):
        own = member("alpha", "10.88.0.1", machine=MACHINE, ray="2.59.0")
        assert preflight(with_members(own, BETA, GAMMA)) == []

    def test_is_also_one_of_which_nothing_is_known(self):
        assert preflight(ClusterFacts(), HostFacts()) == []

    def test_is_also_one_that_is_not_in_a_cluster(self):
        assert check(PlatformSettings(), HOST, ClusterFacts(refusal="x")) == []


class TestOwnAddress:
    def test_must_be_one_of_this_machine(self):
        text = refusal(host=replace(HOST, addresses=frozenset({"127.0.0.1", "192.0.2.7"})))
        assert (
            "cslr:cluster.hosts.alpha.address: 10.88.0.1 is not an address of this machine, which has 192.0.2.7" in text
        )
        assert "ws set host NAME" in text

    def test_is_never_one_of_a_docker_network(self):
        bridge = DockerNetwork(name="ray-network", subnets=("10.88.0.0/24",))
        text = refusal(host=replace(HOST, docker_networks=(bridge,)))
        assert "hosts.alpha.address: 10.88.0.1 is in the Docker network ray-network, which no other host can" in text

    def test_is_the_one_on_the_route_to_every_peer(self):
        text = refusal(replace(SOUND, sources={"beta": "192.0.2.7", "gamma": "10.88.0.1"}))
        assert "the route from here to beta at 10.88.0.2 leaves from 192.0.2.7, not from 10.88.0.1" in text
        assert "cluster.hosts.alpha.address 192.0.2.7" in text
        assert "gamma at" not in text

    def test_has_a_route_to_every_peer(self):
        text = refusal(replace(SOUND, sources={"beta": None}))
        assert "cslr:cluster.hosts.beta.address: alpha has no route to beta at 10.88.0.2" in text

    def test_is_not_that_of_another_host_that_is_up(self):
        text = refusal(with_members(BETA, member("delta", "10.88.0.1")))
        assert "hosts.delta: delta, which is up, has the address 10.88.0.1, which is alpha's here" in text

    def test_may_be_that_of_a_host_that_is_gone(self):
        assert preflight(with_members(BETA, member("delta", "10.88.0.1", age=60))) == []


class TestName:
    def test_is_refused_while_another_machine_has_it(self):
        text = refusal(with_members(BETA, member("alpha", "10.88.0.9", machine="other")))
        assert "cslr:cluster.hosts.alpha: alpha is up on another machine, at 10.88.0.9, and reported 1 s ago" in text
        assert "docker stop $(docker ps -q -f label=cslr.stack=alpha -f name=ray-gateway)" in text

    def test_is_free_once_that_machine_is_silent(self):
        assert preflight(with_members(BETA, member("alpha", "10.88.0.9", machine="other", age=11))) == []

    def test_is_not_refused_to_the_machine_that_has_it(self):
        assert preflight(with_members(BETA, member("alpha", "10.88.0.1", machine=MACHINE))) == []


class TestOtherBlock:
    def test_of_a_host_that_is_up_is_named(self):
        text = refusal(with_members(member("beta", "10.88.0.77"), GAMMA))
        assert (
            "cslr:cluster.hosts.beta.address: 10.88.0.2 is not what beta itself has, which is up at 10.88.0.77" in text
        )
        assert "give all of them the same file" in text


class TestPorts:
    def listener(self, port: int, address: str = "0.0.0.0") -> HostFacts:
        return replace(HOST, listeners=(Listener(address=address, port=port, process="nginx (process 7)"),))

    @pytest.mark.parametrize(
        ("service", "port", "purpose"),
        [
            ("ray-gateway", 6379, "gcs"),
            ("ray-gateway", 8265, "dashboard"),
            ("ray-head", 6385, "port"),
            ("ray-cpu", 11001, "node-manager-port"),
            ("ray-cpu", 12345, "worker processes"),
            ("ray-head", 14999, "worker processes"),
        ],
    )
    def test_of_the_plan_are_free(self, service, port, purpose):
        text = refusal(host=self.listener(port))
        assert f"hosts.alpha: ports of {service} are in use on alpha: {port} ({purpose}) by nginx (process 7)." in text
        assert "Stop that, or move it to other ports." in text

    def test_of_services_that_do_not_run_here_may_be_taken(self):
        assert preflight(host=self.listener(11101)) == []  # no GPU here
        gamma = replace(SOUND, sources={}, machine="")
        own = replace(self.listener(6385), stack="gamma", addresses=frozenset({"10.88.0.3"}))
        assert preflight(gamma, own, at("gamma")) == []  # gamma never leads

    def test_of_the_gateway_matter_only_where_it_listens(self):
        assert preflight(host=self.listener(6379, "127.0.0.1")) == []
        assert preflight(host=self.listener(8265, "192.0.2.7")) == []
        assert "8265" in refusal(host=self.listener(8265, "127.0.0.1"))

    def test_are_not_taken_by_our_own_containers_there(self):
        labels = {"cslr.project": "cslr", "cslr.stack": "alpha", "cslr.component": "ray-cpu"}
        running = replace(self.listener(11001), host_network=(HostNetworkContainer(labels=labels),))
        assert preflight(host=running) == []
        others = replace(running, host_network=(HostNetworkContainer(labels=labels | {"cslr.stack": "dev"}),))
        text = refusal(host=others)
        assert "11001 (node-manager-port) by nginx (process 7). The stack dev runs a ray-cpu there." in text
        assert "    ws down -s dev" in text

    def test_of_another_stack_s_container_are_taken(self):
        port = ContainerPort(container="web", address="0.0.0.0", port=8265, labels={"cslr.stack": "dev"})
        text = refusal(host=replace(HOST, container_ports=(port,)))
        assert "8265 (dashboard) by the container web of the stack dev" in text

    def test_of_the_block_are_changed_in_the_block(self):
        host = replace(self.listener(6381), stack="gamma", addresses=frozenset({"10.88.0.3"}))
        text = refusal(replace(SOUND, sources={}), host, at("gamma"))
        assert "Pulumi.gamma.yaml: cslr:cluster.redis.port: 6381 is in use on gamma by nginx" in text
        assert "cluster.redis.port 6382" in text


class TestRedis:
    def test_elsewhere_may_not_be_up_yet(self):
        [notice] = preflight(ClusterFacts(silence="Connection refused"))
        assert not notice.warning
        assert "gamma's Redis does not answer yet (Connection refused)" in notice.text

    def test_of_this_host_is_about_to_be_started(self):
        host = replace(HOST, addresses=frozenset({"10.88.0.3"}), stack="gamma")
        assert preflight(ClusterFacts(silence="Connection refused"), host, at("gamma")) == []

    def test_that_refuses_this_host_has_another_key(self):
        text = refusal(ClusterFacts(refusal="Redis at 10.88.0.3:6381 refuses this node (WRONGPASS)."))
        assert "the Redis of gamma does not let alpha in: Redis at 10.88.0.3:6381 refuses this node (WRONGPASS)" in text
        assert "`ws cluster key` on gamma" in text


class TestClock:
    @pytest.mark.parametrize(("ahead", "said"), [(7.25, "7.2 s ahead of"), (-5.1, "5.1 s behind")])
    def test_that_is_far_off_is_refused(self, ahead, said):
        text = refusal(replace(SOUND, clock_ahead=ahead))
        assert f"hosts.alpha: the clock of alpha is {said} that of Redis on gamma" in text
        assert "sudo timedatectl set-ntp true" in text

    @pytest.mark.parametrize("ahead", [2.1, -4.9])
    def test_that_is_somewhat_off_is_a_warning(self, ahead):
        [notice] = preflight(replace(SOUND, clock_ahead=ahead))
        assert notice.warning
        assert "the clock of alpha is" in notice.text

    @pytest.mark.parametrize("ahead", [2.0, -1.9, 0.0])
    def test_that_is_right_is_not_mentioned(self, ahead):
        assert preflight(replace(SOUND, clock_ahead=ahead)) == []


class TestVersions:
    @pytest.mark.parametrize(
        ("fact", "other", "reason"),
        [
            ("cuda", "12.8.1", "alpha has images with CUDA 13.1.1, but beta has CUDA 12.8.1"),
            ("python", "3.13", "alpha has images with Python 3.14, but beta has Python 3.13"),
            ("ray", "2.59.0", "alpha has images with Ray 2.60.0, but beta has Ray 2.59.0"),
        ],
    )
    def test_of_a_host_that_is_up_are_the_same(self, fact, other, reason):
        text = refusal(with_members(member("beta", "10.88.0.2", **{fact: other}), GAMMA))
        assert f"cslr:cluster.hosts.alpha: {reason}" in text
        assert ("ws set images." in text) == (fact != "ray")

    def test_are_named_for_each_host(self):
        others = (member("beta", "10.88.0.2", ray="2.59.0"), member("gamma", "10.88.0.3", ray="2.58.0"))
        text = refusal(with_members(*others))
        assert "beta has Ray 2.59.0" in text
        assert "gamma has Ray 2.58.0" in text

    def test_of_a_host_that_is_down_do_not_matter(self):
        assert preflight(with_members(member("beta", "10.88.0.2", ray="2.59.0", age=20), GAMMA, head="")) == []

    def test_of_packages_are_compared_and_only_said(self):
        """Hosts are deployed one after another: with a refusal no host could begin."""
        (notice,) = preflight(with_members(member("beta", "10.88.0.2", packages="0123456789ab ffmpeg"), GAMMA))
        assert notice.warning
        assert "alpha and beta have different packages" in notice.text
        assert "(none here, 0123456789ab ffmpeg there)" in notice.text
        assert "Pulumi.beta.packages.txt" in notice.text
        assert preflight(with_members(member("beta", "10.88.0.2", packages="none"), GAMMA)) == []

    def test_that_are_not_known_do_not_matter(self):
        assert preflight(with_members(member("beta", "10.88.0.2", ray="", cuda="", python=""), GAMMA)) == []

    def test_of_a_pulled_image_are_compared_when_it_runs(self):
        pulled = {"ray": {"cpu": {"image": {"source": "pull", "reference": "rayproject/ray:2.59.0"}}}}
        old = with_members(member("beta", "10.88.0.2", ray="2.59.0"), GAMMA)
        assert preflight(old, settings=at("alpha", pulled)) == []

    @pytest.mark.parametrize(
        ("running", "said"),
        [({"ray": "2.59.0"}, "Ray 2.59.0"), ({"python": "3.13.9"}, "Python 3.13"), ({"cuda": "12.8"}, "CUDA 12.8")],
    )
    def test_of_the_head_count_where_its_host_does_not_say_its_own(self, running, said):
        unknown = member("beta", "10.88.0.2", ray="", cuda="", python="")
        text = refusal(with_members(unknown, GAMMA, **running))
        assert f"but beta leads the cluster with {said}" in text

    def test_of_an_own_head_are_about_to_change(self):
        own = member("alpha", "10.88.0.1", machine=MACHINE, ray="2.59.0")
        assert preflight(with_members(own, BETA, GAMMA, head="alpha", ray="2.59.0")) == []


class TestNetworks:
    def test_of_containers_elsewhere_do_not_hold_this_host(self):
        text = refusal(with_members(member("beta", "10.88.0.2", subnet="10.88.0.0/20"), GAMMA))
        assert "10.88.0.1 is in 10.88.0.0/20, the containers' network of beta: beta could not reach this host" in text
        assert "ws set network.subnet '…' -s beta" in text


class TestReach:
    CLOSED = (
        ClosedPort(host="beta", port=11001, purpose="ray-cpu (node-manager-port)", error="no answer"),
        ClosedPort(host="beta", port=11002, purpose="ray-cpu (object-manager-port)", error="no answer"),
        ClosedPort(host="gamma", port=11001, purpose="ray-cpu (node-manager-port)", error="No route to host"),
    )

    def test_of_each_host_names_ports_and_direction(self):
        text = refusal(replace(SOUND, closed=self.CLOSED))
        assert (
            "hosts.beta: from alpha (10.88.0.1) to beta (10.88.0.2), which is up, nothing gets through to "
            "11001 ray-cpu (node-manager-port), 11002 ray-cpu (object-manager-port): no answer" in text
        )
        assert "hosts.gamma: from alpha (10.88.0.1) to gamma (10.88.0.3)" in text
        assert "iptables -I INPUT -p tcp -s 10.88.0.1 -m multiport --dports 11001,11002 -j ACCEPT" in text

    def test_of_the_own_head_is_told_where_another_host_misses_it(self):
        own = member("alpha", "10.88.0.1", machine=MACHINE)
        blind = member("beta", "10.88.0.2", blind=7)
        [notice] = preflight(with_members(own, blind, GAMMA, head="alpha"))
        assert notice.text == "from beta to alpha, which leads, nothing gets through to its head"
        assert preflight(with_members(own, blind, GAMMA, head="gamma")) == []
        assert preflight(with_members(own, member("beta", "10.88.0.2", blind=6), GAMMA, head="alpha")) == []


class TestCheckpoints:
    FOLDER = "/mnt/checkpoints"

    @staticmethod
    def said(own: str | None, *theirs: str) -> list[Notice]:
        others = (member(*each, checkpoints=there) for each, there in zip(OTHERS, theirs, strict=True))
        return check(at("alpha", {"ray": {"checkpoints": own}} if own else None), HOST, with_members(*others))

    def test_of_hosts_that_share_them_are_not_mentioned(self):
        assert self.said(URL, URL, URL) == []

    def test_may_be_a_folder_of_another_path_on_each_host(self):
        assert self.said(self.FOLDER, checkpoints.FOLDER, checkpoints.FOLDER) == []

    @pytest.mark.parametrize(
        ("own", "beta", "told"),
        [
            (URL, "s3://other/checkpoints", f"({URL} here, s3://other/checkpoints there)"),
            (URL, checkpoints.FOLDER, f"({URL} here, /checkpoints there)"),
            (FOLDER, "", "(/checkpoints here, its home folder there)"),
        ],
    )
    def test_that_differ_are_only_said(self, own, beta, told):
        """Hosts are deployed one after another: with a refusal none could begin."""
        (notice,) = self.said(own, beta, checkpoints.FOLDER if own == self.FOLDER else URL)
        assert notice.warning
        assert f"alpha and beta keep checkpoints in different places {told}" in notice.text

    def test_of_this_host_alone_in_its_home_folder_are_told_twice(self):
        missing, differs = self.said(None, URL, "")
        assert (missing.warning, differs.warning) == (False, True)
        assert f"(its home folder here, {URL} there)" in differs.text

    def test_in_no_shared_place_are_mentioned_with_the_remedy(self):
        (notice,) = check(at("alpha"), HOST, SOUND)
        assert not notice.warning
        assert notice.text.startswith("ray.checkpoints is not set, so alpha keeps checkpoints in a home folder of")
        assert "ws set ray.checkpoints /mnt/nfs/checkpoints -s alpha" in notice.text

    def test_of_a_cluster_of_one_host_need_no_shared_place(self):
        block = changed(
            hosts={"alpha": {"address": "10.88.0.1"}}, head_whitelist=["alpha"], redis={"host": "alpha"}, mlflow=None
        )
        found = check(at("alpha", None, block), HOST, ClusterFacts())
        assert not [notice for notice in found if "ray.checkpoints" in notice.text]

    def test_of_a_host_of_an_earlier_version_are_not_known(self):
        assert check(at("alpha", {"ray": {"checkpoints": URL}}), HOST, SOUND) == []


class TestSinglePoint:
    def test_is_the_host_of_redis_without_a_copy(self):
        settings = at("alpha", None, changed(redis={"host": "gamma"}))
        [notice] = preflight(settings=settings)
        assert notice.warning
        assert notice.text.startswith("Redis on gamma is the single point of this cluster: while that host is down")

    def test_is_worse_where_that_host_may_lead(self):
        point = single_point(membership_of("alpha", changed(redis={"host": "alpha"})).cluster)
        assert point
        assert point.startswith("Redis on alpha is the single point of this cluster, and alpha may lead as well")

    def test_is_none_with_a_copy(self):
        assert single_point(membership_of("alpha").cluster) is None


class TestElection:
    def test_that_is_off_is_said(self):
        [notice] = preflight(settings=at("alpha", None, changed(head_address="alpha:6385")))
        assert notice.warning
        assert (
            "election is off: cslr:cluster.head_address in Pulumi.alpha.yaml says that the head is at 10.88.0.1:6385"
            in (notice.text)
        )

    def test_of_one_host_is_said(self):
        [notice] = preflight(settings=at("alpha", None, changed(head_whitelist=["beta"])))
        assert "only beta may lead" in notice.text


class TestEveryFinding:
    def test_names_a_host_and_has_a_way_out(self):
        """All at once: the checks do not hide each other, and each sentence says which host it is about."""
        others = (member("beta", "10.88.0.77", ray="2.59.0", subnet="10.88.0.0/20"), member("delta", "10.88.0.1"))
        cluster = replace(
            with_members(*others), clock_ahead=9.0, closed=TestReach.CLOSED, sources={"gamma": None}, refusal="no"
        )
        host = replace(HOST, listeners=(Listener(address="::", port=8265),), folder=lambda _: None)
        settings = at("alpha", None, changed(datasets={"signs": {"source": "/srv/signs"}}))
        situation = Situation(settings=settings, membership=membership_of("alpha"), host=host, cluster=cluster)
        for group in CLUSTER_CHECKS:
            found = [finding for each in group.run for finding in each(situation)]
            assert found, group.title
            for problem in found:
                if isinstance(problem, Notice):
                    assert problem.text.startswith("ray.checkpoints is not set, so alpha")
                    continue
                assert problem.path[0] in ("hosts", "datasets")
                assert problem.advice
                assert any(host in problem.reason for host in ("alpha", "beta", "gamma", "delta", "this host"))
