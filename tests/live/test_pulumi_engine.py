"""The whole platform on the genuine engine, compared with the embedded engine's result. About five minutes."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from testing.harness import merged
from testing.live.deployment import FULL, LiveStack, done
from testing.live.pulumi_stack import MARKS, NOTHING_TO_CHANGE, differences, inspected

pytestmark = MARKS
OTHER_PORTS: dict[str, Any] = {
    "network": {"name": "cslr-live-pulumi", "subnet": "10.224.0.0/24"},
    "ray": {"cpu": {"ports": {"gcs": 16379, "dashboard": 18265, "client": 10011}}},
    "redis": {"port": 16383},
    "postgres": {"port": 15432},
    "mlflow": {"port": 15000},
    "marimo": {"port": 18080},
    "health": {"port": 18889},
}


@pytest.fixture(scope="module")
def live(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack.make("live-pulumi", merged(FULL, OTHER_PORTS), tmp_path_factory.mktemp("pulumi"))
    stack.remove()
    try:
        yield stack
    finally:
        stack.remove()


def test_both_engines_leave_the_same(pulumi, left_by_embedded):
    assert differences(inspected(pulumi.live), left_by_embedded) == {}


def test_every_service_is_healthy_and_verified(pulumi):
    services = {"redis", "postgres", "mlflow", "health", "ray-cpu", "marimo", "keeper"}
    assert set(pulumi.live.containers()) == pulumi.live.expected(services)
    assert pulumi.live.unhealthy() == {}
    passed, total = json.loads(pulumi("stack", "output", "verification", "--json")).split(" passed")[0].split(" of ")
    assert passed == total
    assert len(pulumi("stack", "output").splitlines()) < 15


@NOTHING_TO_CHANGE
def test_nothing_changes_without_a_reason(pulumi, arguments):
    pulumi.changes_nothing(*arguments)


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
    assert len(volumes) == 6
    assert set(done(pulumi.live.preview()).values()) <= {"create", "update"}  # the way to the other engine is open
