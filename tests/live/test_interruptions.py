"""Runs that are interrupted, overlap or meet foreign objects; services removed from the settings. About two minutes."""

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.live.deployment import AT_ONCE, LiveStack, done, wait_until

pytestmark = pytest.mark.live

WITHOUT_REDIS = {"redis": {"enabled": False}}


@pytest.fixture
def slow_image(small: LiveStack) -> Iterator[str]:
    """Gives the health service's image a last step that takes its time. The step's command."""
    dockerfile = small.folder / "images" / "health" / "Dockerfile"
    before = dockerfile.read_text()
    original = small.container("health").attrs["Image"]
    step = f"sleep 10; : {uuid.uuid4()}"
    dockerfile.write_text(f"{before}\nRUN {step}\n")
    yield step
    built = small.container("health").attrs["Image"]
    dockerfile.write_text(before)
    result = small.up()
    assert result.ok, [f"{change.name}: {change.error}" for change in result.failed]
    if built != original:
        small.engine.images.remove(built, force=True)


def is_running(step: str) -> bool:
    """Whether a build on this host is at that step."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if step.encode() in process.read_bytes():
                return True
    return False


def is_complete(stack: LiveStack) -> bool:
    return set(stack.containers()) == stack.expected({"redis", "health", "keeper"}) and not stack.unhealthy()


def published(stack: LiveStack, service: str) -> set[int]:
    """The ports of this host that lead to a service."""
    bindings = stack.container(service).attrs["HostConfig"]["PortBindings"]
    return {int(end["HostPort"]) for ends in bindings.values() for end in ends}


class TestKilledRun:
    def test_in_the_wait_for_a_container_is_continued_by_the_next(self, small):
        small.container("redis").remove(force=True)
        with small.ws_started("up", "--engine", "embedded") as run:
            wait_until(lambda: small.unhealthy().get("redis") == "starting", "the wait for Redis", every=AT_ONCE)
            run.kill()
        assert done(small.up()).get("redis-container") in (None, "repair")
        assert is_complete(small)
        assert done(small.preview()) == {}

    def test_between_a_container_and_its_network_is_continued_by_the_next(self, small):
        """The state that a kill leaves there: made, on Docker's own network, not started."""
        made = small.container("redis")
        network = small.engine.networks.get(small.networks()[0])
        made.stop()
        network.disconnect(made)
        assert done(small.up())["redis-container"] == "repair"
        assert is_complete(small)

    def test_in_the_build_of_an_image_is_continued_by_the_next(self, small, slow_image):
        before = small.ids()
        with small.ws_started("up", "--engine", "embedded") as run:
            wait_until(lambda: is_running(slow_image), "the build")
            run.kill()
        assert small.ids() == before
        assert done(small.up())["health-container"] == "replace"
        assert is_complete(small)
        assert small.ids()["redis"] == before["redis"]


class TestTwoRuns:
    def test_the_second_is_refused_while_the_first_works(self, small, slow_image):
        with small.ws_started("up", "--engine", "embedded") as first:
            wait_until(lambda: is_running(slow_image), "the build")
            second = small.ws("up", "--engine", "embedded")
            assert second.returncode == 1
            assert "another run works on stack live-small" in second.stdout
            assert f"process {first.pid}" in second.stdout
            assert "Traceback" not in second.stdout
            first.communicate()
        assert first.returncode == 0
        assert is_complete(small)


class TestPortOfAnotherProgram:
    def test_is_one_clear_error_and_nothing_changes(self, small):
        before = small.ids()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            small.configure({"redis": {"port": port}})
            refused = small.ws("up", "--engine", "embedded")
        small.configure()
        assert refused.returncode == 1
        assert f"cslr:platform.redis.port: {port} is in use on this host" in refused.stdout
        assert refused.stdout.count("cslr:platform.") == 1, refused.stdout
        assert "ws set redis.port " in refused.stdout  # the remedy
        assert "Traceback" not in refused.stdout
        assert small.ids() == before
        assert done(small.preview()) == {}


class TestPortsOfTheStack:
    def test_swapped_in_one_edit_are_deployed_by_one_command(self, small):
        settings = small.settings
        ports = {service: settings[service]["port"] for service in ("redis", "health")}
        small.configure({"redis": {"port": ports["health"]}, "health": {"port": ports["redis"]}})
        swapped = small.up()
        assert swapped.ok, swapped.stdout
        assert is_complete(small)
        assert {service: published(small, service) for service in ports} == {
            "redis": {ports["health"]},
            "health": {ports["redis"]},
        }
        small.configure()
        assert small.up().ok
        assert done(small.preview()) == {}


class TestServiceThatLeftTheSettings:
    def test_is_removed_and_its_data_stays(self, small):
        small.configure(WITHOUT_REDIS)
        assert done(small.preview())["cslr-live-small-redis"] == "delete"
        assert done(small.up())["cslr-live-small-redis"] == "delete"
        assert set(small.containers()) == small.expected({"health", "keeper"})
        assert "cslr-live-small-redis-data" in small.volumes()
        small.configure()
        assert done(small.up())["redis-container"] == "create"
        assert is_complete(small)


class TestNetworkOfAnother:
    @pytest.mark.parametrize(
        "network",
        [
            pytest.param({"subnet": "10.220.0.0/24"}, id="subnet"),
            pytest.param({"name": "cslr-live-renamed"}, id="name"),
            pytest.param({"name": "cslr-live-both", "subnet": "10.221.0.0/24"}, id="name-and-subnet"),
        ],
    )
    def test_replaces_the_network_and_every_container_on_it(self, small, network):
        before = small.ids()
        small.configure({"network": network})
        changed = done(small.up())
        assert changed["redis-container"] == changed["health-container"] == "replace"
        assert is_complete(small)
        assert small.ids().keys() == before.keys()
        assert set(small.ids().items()) & set(before.items()) == {("keeper", before["keeper"])}
        assert small.networks() == [network.get("name", "cslr-live-small")]
        assert done(small.preview()) == {}
        small.configure()
        assert small.up().ok
        assert small.networks() == ["cslr-live-small"]
