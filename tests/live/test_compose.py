"""The file of `ws generate`, started by Docker Compose itself: the same containers, verified like any others."""

import subprocess
from typing import Any

import pytest

from preflight.host_facts import outside_addresses
from stack.identity import VOLUME_OWNER
from testing.compose import NOT_HERE, compose_command
from testing.live.deployment import LiveStack

COMPOSE = compose_command()
pytestmark = [pytest.mark.live, pytest.mark.skipif(COMPOSE is None, reason=NOT_HERE)]

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-compose", "subnet": "10.232.0.0/24"},
    "ray": {"cpu": {"ports": {"dashboard": 19265, "client": 19001}}},
    "redis": {"port": 19381},
    "postgres": {"port": 19432},
    "mlflow": {"port": 19500},
    "marimo": {"enabled": False},
    "cluster_test": {"subnet": "172.30.6.0/24"},
    "health": {"port": 19888, "volumes": [{"source": "cslr-live-compose-notes", "target": "/notes"}]},
}
SERVICES = {"redis", "postgres", "mlflow", "health", "ray-cpu", "keeper"}
SECONDS = 400
# What `docker inspect` shows of a container, that decides how it runs.
SAME = (
    "CapAdd", "CapDrop", "Init", "LogConfig", "Memory", "MemorySwap", "NanoCpus", "PortBindings", "ReadonlyRootfs",
    "RestartPolicy", "SecurityOpt", "ShmSize", "Tmpfs",
)  # fmt: skip
SAME_CONFIG = ("Cmd", "Entrypoint", "Env", "Healthcheck", "Hostname", "StopSignal", "User")


def compose(stack: LiveStack, *arguments: str, file: str = "compose.yaml") -> str:
    assert COMPOSE
    command = [*COMPOSE, "-f", f"_build/{file}", *arguments]
    done = subprocess.run(command, cwd=stack.folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def cluster_test(stack: LiveStack) -> str:
    """What the cluster test says that Compose runs; fails where it does."""
    file = "cluster-test.compose.yaml"
    try:
        return compose(stack, "up", "--exit-code-from", "test-ray-client", file=file)
    finally:
        compose(stack, "down", file=file)


def how_it_runs(stack: LiveStack, service: str) -> dict[str, Any]:
    found = stack.container(service).attrs
    mounts = sorted((m["Type"], m.get("Name") or m["Source"], m["Destination"], m["RW"]) for m in found["Mounts"])
    config = {key: found["Config"][key] for key in SAME_CONFIG}
    return {
        **{key: found["HostConfig"][key] or None for key in SAME},
        **{key: sorted(value) if key == "Env" else value for key, value in config.items()},
        "Image": found["Image"],
        "Mounts": mounts,
    }


@pytest.fixture(scope="module")
def stack(docker_engine, tmp_path_factory):
    live = LiveStack.make("live-compose", SETTINGS, tmp_path_factory.mktemp("compose"))
    live.remove()
    try:
        done = live.ws("generate", "--build")
        assert done.returncode == 0, done.stdout
        yield live
    finally:
        live.remove()
        for volume in live.engine.volumes.list(filters={"name": "cslr-live-compose-notes"}):
            volume.remove()


@pytest.fixture(scope="module")
def started(stack):
    compose(stack, "up", "--detach", "--wait")
    return stack


class TestCompose:
    def test_starts_every_service_healthy(self, started):
        assert started.unhealthy() == {VOLUME_OWNER: "exited"}
        assert set(started.containers()) - {VOLUME_OWNER} == started.expected(SERVICES)

    def test_has_nothing_to_do_the_second_time(self, started):
        before = started.ids()
        compose(started, "up", "--detach", "--wait")
        assert started.ids() == before

    def test_what_it_started_passes_the_verification(self, started):
        done = started.ws("test")
        assert done.returncode == 0, done.stdout
        assert "Verified in" in done.stdout

    def test_an_extra_volume_belongs_to_its_service(self, started):
        assert started.exec("health", "touch", "/notes/mine")[0] == 0

    def test_ws_lists_it_and_an_engine_leaves_it_alone(self, started):
        before = started.ids()
        assert "healthy" in started.ws("ps").stdout
        refused = started.ws("up", "--engine", "embedded")
        assert refused.returncode == 1
        assert "started by Docker Compose" in refused.stdout
        assert started.ids() == before

    def test_cluster_test_finds_a_stack_for_this_host_alone_closed(self, started):
        said = cluster_test(started)
        assert "pass other_ports" in said
        assert "skip health (0.0 s): published for this host alone" in said
        assert "test-ray-worker does not join the cluster" in said

    @pytest.mark.skipif(not outside_addresses(), reason="this host has no address that another machine reaches it by")
    def test_cluster_test_passes_once_the_stack_is_open(self, started):
        """A setting changes as docs/compose.md says; Compose replaces what publishes ports, and nothing is lost."""
        before = started.ids()
        started.configure({"network": {"bind_address": "0.0.0.0"}})
        try:
            assert started.ws("generate").returncode == 0
            compose(started, "up", "--detach", "--wait")
            assert started.ids() != before
            said = cluster_test(started)
            checks = (
                "published_ports",
                "other_ports",
                "health",
                "dashboard",
                "job_submission",
                "ray_client",
                "mlflow",
                "redis",
            )
            assert [name for name in checks if f"pass {name} " not in said] == [], said
        finally:
            started.configure()
            assert started.ws("generate").returncode == 0
            compose(started, "up", "--detach", "--wait")

    def test_its_containers_are_those_of_an_engine(self, started):
        of_compose = {service: how_it_runs(started, service) for service in SERVICES}
        assert started.ws("down").returncode == 0
        assert started.containers() == {}
        up = started.ws("up", "--engine", "embedded")
        assert up.returncode == 0, up.stdout
        assert {service: how_it_runs(started, service) for service in SERVICES} == of_compose
