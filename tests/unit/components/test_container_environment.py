"""One precedence for the environment of every container: defaults, then the user's `env`, then required variables."""

from typing import Any

import pytest

from components.environment import Environment
from config.platform_rules import RESERVED_ENVIRONMENT
from config.services import SERVICES
from testing.harness import CLUSTER, LOGIN, Deployed, deploy, merged

URLS = {"mlflow": {"base_url": "/mlflow"}, "marimo": {"base_url": "/marimo"}}
OFF_BY_DEFAULT = {
    name: {"enabled": True}
    for name in ("gpu", "exporter", "metrics", "queue", "transcription", "transcription_frontend", "tls")
}
ONE_HOST = merged(
    URLS, OFF_BY_DEFAULT, LOGIN, {"metrics": {"grafana": {"enabled": True}}, "ray": {"gpu": {"enabled": True}}}
)
OF_A_CLUSTER = {"redis": "gamma", "redis-replica": "beta", "ray-gateway": "beta", "ray-head": "beta"}
USERS = "the-users-own"
# Service → the variables whose required value stays, with the user's after it where they are lists.
JOINED = {
    **{name: {"PYTHONPATH": ":"} for name in ("ray-head", "ray-cpu", "ray-gpu", "marimo", "devel")},
    "exporter": {"PYTHONPATH": ":"},
    "mlflow": {"MLFLOW_SERVER_ALLOWED_HOSTS": ",", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ","},
}
KEPT = {"marimo": {"MARIMO_BASE_URL"}}


def nested(service: str, value: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(SERVICES[service]):
        value = {key: value}
    return value


def deployed(service: str, home, env: dict[str, str]) -> Deployed:
    settings = nested(service, {"env": env})
    host = OF_A_CLUSTER.get(service)
    if host and service != "redis":
        return deploy(settings, state_home=home, stack=host, cluster=CLUSTER)
    return deploy(merged(ONE_HOST, settings), state_home=home)


@pytest.mark.parametrize("service", SERVICES)
def test_env_of_a_service_replaces_defaults_and_extends_lists_but_breaks_nothing(service, tmp_path):
    """Names that config/ refuses are left out."""
    before = deployed(service, tmp_path, {}).containers[service].env
    env = {name: USERS for name in before if not name.startswith(RESERVED_ENVIRONMENT)}
    after = deployed(service, tmp_path, {**env, "NEW": USERS}).containers[service].env
    joined, kept = JOINED.get(service, {}), KEPT.get(service, set())
    proxied = {"no_proxy", "NO_PROXY"} & env.keys()
    assert after == {
        **before,
        **dict.fromkeys(env.keys() - kept - proxied, USERS),
        **{name: f"{before[name]}{separator}{USERS}" for name, separator in joined.items()},
        "NEW": USERS,
    }


class TestPrecedence:
    def test_the_user_replaces_a_default_and_not_what_is_required(self):
        env = Environment(defaults={"A": "1", "B": "1"}, user={"B": "2", "C": "2"}, required={"C": "3"})
        assert env.merged() == {"HOME": "/tmp", "A": "1", "B": "2", "C": "3"}

    def test_a_list_has_the_users_entries_last(self):
        env = Environment(user={"PYTHONPATH": "/mine"}, required={"PYTHONPATH": "/hooks"})
        assert env.merged()["PYTHONPATH"] == "/hooks:/mine"

    def test_a_list_that_the_platform_does_not_need_is_the_users(self):
        assert Environment(user={"PYTHONPATH": "/mine"}).merged()["PYTHONPATH"] == "/mine"

    def test_an_empty_list_of_the_user_adds_no_empty_entry(self):
        env = Environment(user={"PYTHONPATH": ""}, required={"PYTHONPATH": "/hooks"})
        assert env.merged()["PYTHONPATH"] == "/hooks"
