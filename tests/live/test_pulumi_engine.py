"""The whole platform on the genuine engine, and whether it leaves what the embedded one leaves. About five minutes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import merged
from tests.live.stack import FULL, UP_SECONDS, LiveStack, done

pytestmark = [
    pytest.mark.live,
    pytest.mark.pulumi,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="needs the Pulumi CLI, which is not on PATH"),
]

OTHER_PORTS: dict[str, Any] = {
    "network": {"name": "cslr-live-pulumi", "subnet": "10.217.0.0/24"},
    "ray": {"cpu": {"ports": {"gcs": 16379, "dashboard": 18265, "client": 10011}}},
    "redis": {"port": 16383},
    "postgres": {"port": 15432},
    "mlflow": {"port": 15000},
    "marimo": {"port": 18080},
    "health": {"port": 18889},
}
# What Docker makes up for each container: identity, times, paths of its own, addresses handed out, checks under way.
MADE_UP = {
    "Id", "Created", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "ExecIDs", "GraphDriver",
    "SandboxID", "SandboxKey", "NetworkID", "EndpointID", "MacAddress", "IPAddress", "Containers", "DNSNames",
}  # fmt: skip
# Lists without an order of their own; the provider hashes some of them.
UNORDERED = {"Env", "Mounts", "Aliases", "Binds"}
SHORT = 12  # digits
EMBEDDED_LABELS = "cslr.engine."

# What each leaves as it is right after an `up`.
NOTHING_TO_CHANGE = pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("preview",), id="preview"),
        pytest.param(("up", "--yes", "--skip-preview"), id="up"),
        pytest.param(("refresh", "--yes", "--skip-preview"), id="refresh"),
        pytest.param(("preview", "--refresh"), id="preview-after-refresh"),
    ],
)


class PulumiStack:
    """A stack that the genuine CLI deploys."""

    def __init__(self, stack: LiveStack, home: Path) -> None:
        self.live = stack
        self.state = home / "backend"
        self.state.mkdir()
        (stack.folder / ".venv").symlink_to(sys.prefix)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.live.environment,
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "live",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    @classmethod
    def deployed(cls, live: LiveStack, backend: Path) -> "PulumiStack":
        """A new stack of the backend, after its first `up`."""
        stack = cls(live, backend)
        stack("stack", "init")
        stack("up", "--yes", "--skip-preview")
        return stack

    def __call__(self, *arguments: str) -> str:
        """Runs ``pulumi`` to its end and returns its output. Fails if it fails."""
        run = subprocess.run(
            ["pulumi", *arguments, "--stack", self.live.name, "--non-interactive"],
            cwd=self.live.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=UP_SECONDS, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout
        return run.stdout


@pytest.fixture(scope="module")
def live(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack.make("live-pulumi", merged(FULL, OTHER_PORTS), tmp_path_factory.mktemp("pulumi"))
    stack.remove()
    try:
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def left_by_embedded(live: LiveStack) -> dict[str, Any]:
    """What `docker inspect` says after the embedded engine, which is then taken down again."""
    assert live.up().ok
    left = inspected(live)
    assert live.down().ok
    return left


@pytest.fixture(scope="module")
def pulumi(live: LiveStack, left_by_embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> PulumiStack:
    """The same stack, deployed by the genuine engine."""
    return PulumiStack.deployed(live, tmp_path_factory.mktemp("backend"))


def inspected(stack: LiveStack) -> dict[str, Any]:
    """The stack's containers and network, without what Docker makes up."""
    found = {service: container.attrs for service, container in stack.containers().items()}
    found |= {name: stack.engine.networks.get(name).attrs for name in stack.networks()}
    return {name: without_chance(attributes, attributes["Id"]) for name, attributes in found.items()}


def without_chance(value: Any, identifier: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            name: without_chance(item, identifier, name)
            for name, item in value.items()
            if name not in MADE_UP and not name.startswith(EMBEDDED_LABELS)
        }
    if isinstance(value, list):
        # Docker adds the short form of a container's ID to its aliases.
        items = [without_chance(item, identifier) for item in value if item != identifier[:SHORT]]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key in UNORDERED else items
    return value


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path, so that a difference is one line."""
    if isinstance(value, dict):
        return {at: leaf for key, item in value.items() for at, leaf in flat(item, f"{path}/{key}").items()}
    return {path: value}


def test_both_engines_leave_the_same(pulumi, left_by_embedded):
    left, expected = flat(inspected(pulumi.live)), flat(left_by_embedded)
    different = {path for path in left.keys() | expected.keys() if left.get(path) != expected.get(path)}
    assert {path: (left.get(path), expected.get(path)) for path in different} == {}


def test_every_service_is_healthy_and_verified(pulumi):
    assert len(pulumi.live.containers()) == 7
    assert pulumi.live.unhealthy() == {}
    assert json.loads(pulumi("stack", "output", "verification", "--json"))["ok"]


@NOTHING_TO_CHANGE
def test_nothing_changes_without_a_reason(pulumi, arguments):
    before = pulumi.live.ids()
    pulumi(*arguments, "--expect-no-changes")
    assert pulumi.live.ids() == before


def test_ws_finds_nothing_to_change(pulumi):
    before = pulumi.live.ids()
    environment = {key: value for key, value in pulumi.environment.items() if os.environ.get(key) != value}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        again = pulumi.live.ws("up", "--engine", "pulumi")
    assert again.returncode == 0, again.stdout
    assert pulumi.live.ids() == before


def test_one_setting_replaces_exactly_its_container(pulumi):
    before = pulumi.live.ids()
    pulumi.live.configure({"health": {"env": {"LIVE_TEST": "1"}}})
    pulumi("up", "--yes", "--skip-preview")
    after = pulumi.live.ids()
    assert {service for service in after if after[service] != before[service]} == {"health"}
    assert pulumi.live.unhealthy() == {}


def test_a_container_removed_behind_its_back_comes_back(pulumi):
    before = pulumi.live.ids()
    pulumi.live.container("health").remove(force=True)
    pulumi("up", "--yes", "--skip-preview", "--refresh")
    after = pulumi.live.ids()
    assert {service for service in after if after[service] != before[service]} == {"health"}


def test_no_secret_is_in_the_clear_in_the_state(pulumi):
    state = pulumi("stack", "export")
    assert [name for name, value in pulumi.live.secrets().items() if value in state] == []


def test_destroy_leaves_nothing_but_volumes(pulumi):
    volumes = pulumi.live.volumes()
    pulumi("destroy", "--yes", "--skip-preview")
    assert pulumi.live.containers() == {}
    assert pulumi.live.networks() == []
    assert pulumi.live.volumes() == volumes
    assert len(volumes) == 4
    assert set(done(pulumi.live.preview()).values()) <= {"create", "update"}  # the way to the other engine is open
