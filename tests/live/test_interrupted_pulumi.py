"""Killed or interrupted runs of the genuine engine, and containers changed by others. Four minutes."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.harness import merged
from testing.live.deployment import AT_ONCE, SMALL, LiveStack, wait_until
from testing.live.pulumi_stack import MARKS, PulumiStack

pytestmark = MARKS
NAME = "live-killed"
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-killed", "subnet": "10.63.0.0/24"},
        "postgres": {"enabled": True},  # publishes nothing
        "redis": {"port": 27383},
        "health": {"port": 27890},
    },
)
SERVICES = {"redis", "postgres", "health", "keeper"}


@pytest.fixture
def cli(docker_engine: None, tmp_path: Path) -> Iterator[PulumiStack]:
    """The stack, known to the genuine engine and not deployed; `ws` uses the same backend."""
    live = LiveStack.make(NAME, SETTINGS, tmp_path)
    live.remove()
    pulumi = PulumiStack(live, tmp_path)
    live.variables |= {key: value for key, value in pulumi.environment.items() if key.startswith("PULUMI_")}
    try:
        pulumi("stack", "init")
        yield pulumi
    finally:
        live.remove()


@pytest.fixture(scope="module")
def deployed(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulumiStack]:
    """The same, deployed by `ws`; a test leaves it complete and healthy."""
    folder = tmp_path_factory.mktemp("deployed")
    live = LiveStack.make(NAME, SETTINGS, folder)
    live.remove()
    pulumi = PulumiStack(live, folder)
    live.variables |= {key: value for key, value in pulumi.environment.items() if key.startswith("PULUMI_")}
    try:
        up(live)
        yield pulumi
    finally:
        live.remove()


def up(live: LiveStack) -> str:
    """`ws up`, which must succeed and leave all services healthy in their network."""
    done = live.ws("up", "--engine", "pulumi")
    assert done.returncode == 0, done.stdout
    assert set(live.containers()) == live.expected(SERVICES)
    # Docker calls a container unhealthy until its next check, that was paused before.
    wait_until(lambda: live.unhealthy() == {}, "the health of all services")
    return done.stdout


def killed(cli: PulumiStack, moment: Callable[[], bool], *, again: bool = False) -> None:
    """An `up` whose CLI is killed at a moment, with what it started; or interrupted twice."""
    run = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--stack", NAME, "--non-interactive"],
        cwd=cli.live.folder, env=cli.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    with run:
        wait_until(lambda: moment() or run.poll() is not None, "the moment", 300, every=AT_ONCE)
        assert run.poll() is None, "the run was over before"
        if again:
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGINT)
        else:
            os.killpg(run.pid, signal.SIGKILL)


class TestKilled:
    @pytest.mark.parametrize("service", ["redis", "health"])
    def test_in_the_first_deployment_is_continued_by_ws(self, cli, service):
        killed(cli, lambda: service in cli.live.containers())
        said = up(cli.live)
        assert "its lock is taken away" in said
        cli.changes_nothing("preview")

    def test_before_the_first_container_is_continued_by_ws(self, cli):
        killed(cli, lambda: bool(cli.live.networks()))
        up(cli.live)

    def test_twice_interrupted_is_continued_by_ws(self, cli):
        killed(cli, lambda: "redis" in cli.live.containers(), again=True)
        up(cli.live)

    def test_by_hand_the_commands_of_the_refusal_lead_on(self, cli):
        killed(cli, lambda: "redis" in cli.live.containers())
        cli("cancel", "--yes")
        refused = cli.run("up", "--yes", "--skip-preview")
        assert "a run that was interrupted left" in refused.stdout
        commands = {line.strip() for line in refused.stdout.splitlines() if line.strip().startswith("docker ")}
        for command in sorted(commands):
            subprocess.run(command.split(), check=True)
        cli("up", "--yes", "--skip-preview")
        assert set(cli.live.containers()) == cli.live.expected(SERVICES)

    def test_in_a_replacement_loses_no_data(self, cli):
        up(cli.live)
        volumes, redis = cli.live.volumes(), cli.live.container("redis").id
        cli.live.configure({"redis": {"memory": "300m"}})
        killed(cli, lambda: cli.live.ids().get("redis") not in (None, redis))
        up(cli.live)
        assert cli.live.volumes() == volumes


class TestHostChangedByHand:
    def cut(self, live: LiveStack, service: str) -> None:
        live.engine.networks.get(live.networks()[0]).disconnect(live.container(service))

    @pytest.mark.parametrize("by", ["ws", "hand"])
    def test_cut_from_its_network_without_ports_it_joins_again(self, deployed, by):
        live = deployed.live
        before = live.ids()
        self.cut(live, "postgres")
        said = up(live) if by == "ws" else deployed("up", "--yes", "--skip-preview", "--refresh")
        assert "cslr-live-killed-postgres is cut from its network" in said
        [network] = live.container("postgres").attrs["NetworkSettings"]["Networks"].values()
        assert "postgres" in network["Aliases"]
        assert live.ids()["postgres"] == before["postgres"], "what runs in it continues"

    @pytest.mark.parametrize("harm", ["stop", "pause", "remove", "cut", "network"])
    def test_is_made_good(self, deployed, harm):
        live = deployed.live
        if harm == "network":
            for service in SERVICES - {"keeper"}:
                self.cut(live, service)
            live.engine.networks.get(live.networks()[0]).remove()
        elif harm == "cut":
            self.cut(live, "health")
        else:
            container = live.container("redis")
            {"stop": container.stop, "pause": container.pause, "remove": lambda: container.remove(force=True)}[harm]()
        up(live)
        for service in SERVICES - {"keeper"}:
            assert set(live.container(service).attrs["NetworkSettings"]["Networks"]) == {"cslr-live-killed"}
        deployed.changes_nothing("preview")

    def test_a_network_that_people_connect_is_theirs(self, deployed):
        live = deployed.live
        before = live.ids()
        other = live.engine.networks.create("cslr-live-killed-other", labels={"made": "by hand"})
        try:
            other.connect(live.container("postgres"))
            up(live)
            assert live.ids() == before
        finally:
            other.disconnect(live.container("postgres"))
            other.remove()
