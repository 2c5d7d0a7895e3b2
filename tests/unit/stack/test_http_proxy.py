"""The HTTP proxy of a stack, and the addresses exempt from it, as Python's own library interprets them."""

import json
import urllib.request

import pytest

from config.load import load
from config.problems import SettingsError
from testing.harness import CLUSTER, deploy, merged

PROXY = "http://proxy.example.org:3128"
KEY = {"network": {"proxy": PROXY, "no_proxy": ["mirror.example.org", ".lab.example.org"]}}
ASKING = {"ray-cpu", "marimo", "mlflow"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    return deploy(KEY, state_home=tmp_path_factory.mktemp("state"))


def near(env: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a program with this environment asks a host without the proxy."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, env[name])
        monkeypatch.setenv(name.upper(), env[name.upper()])
    return bool(urllib.request.proxy_bypass(host))


class TestKey:
    def test_is_one_for_all_who_ask(self, proxied):
        with_proxy = {name for name, container in proxied.containers.items() if "HTTPS_PROXY" in container.env}
        assert with_proxy == ASKING
        for name in ASKING:
            env = proxied.containers[name].env
            assert {env[key] for key in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")} == {PROXY}

    @pytest.mark.parametrize(
        "host",
        [
            "mlflow", "mlflow:5000", "health:8888", "ray-cpu", "cslr-dev-mlflow", "localhost", "127.0.0.1:8265",
            "172.28.0.10", "mirror.example.org", "pypi.lab.example.org",
        ],
    )  # fmt: skip
    def test_leaves_out_what_is_near(self, proxied, monkeypatch, host):
        assert near(proxied.containers["ray-cpu"].env, host, monkeypatch)

    @pytest.mark.parametrize("host", ["packages.example.net", "notmlflow", "mlflow.example.org", "huggingface.co"])
    def test_leads_to_all_else(self, proxied, monkeypatch, host):
        assert not near(proxied.containers["ray-cpu"].env, host, monkeypatch)

    def test_is_the_verifications_too(self, proxied):
        client = json.loads(proxied.verification_spec)["client"]["environment"]
        assert client["https_proxy"] == PROXY
        assert "mlflow" in client["no_proxy"].split(",")

    def test_replaces_no_redis(self, proxied):
        for service in ("redis", "postgres", "health", "keeper"):
            assert not [name for name in proxied.containers[service].env if "proxy" in name.lower()]


class TestOwnEnvironment:
    def test_of_a_service_has_what_is_near_left_out_as_well(self, tmp_path, monkeypatch):
        own = {"ray": {"cpu": {"env": {"HTTPS_PROXY": "http://other:1", "no_proxy": "a.example"}}}}
        containers = deploy(own, state_home=tmp_path).containers
        env = containers["ray-cpu"].env
        assert env["HTTPS_PROXY"] == "http://other:1"
        assert env["NO_PROXY"] == env["no_proxy"]
        assert {"a.example", "mlflow", "172.28.0.0/16"} <= set(env["no_proxy"].split(","))
        assert "no_proxy" not in containers["marimo"].env

    def test_wins_over_the_key(self, tmp_path):
        own = merged(KEY, {"marimo": {"env": {"HTTP_PROXY": "http://other:1"}}})
        containers = deploy(own, state_home=tmp_path).containers
        assert containers["marimo"].env["HTTP_PROXY"] == "http://other:1"
        assert containers["ray-cpu"].env["HTTP_PROXY"] == PROXY

    def test_without_a_proxy_is_as_it_was(self, tmp_path):
        containers = deploy({}, state_home=tmp_path).containers
        assert not [name for container in containers.values() for name in container.env if "proxy" in name.lower()]


class TestSeveralHosts:
    def test_reach_each_other_without_it(self, tmp_path):
        alpha = deploy(KEY, state_home=tmp_path, stack="alpha", cluster=CLUSTER).containers["ray-cpu"].env
        assert {"10.88.0.1", "10.88.0.2", "10.88.0.3", "gamma", "127.0.0.2"} <= set(alpha["NO_PROXY"].split(","))


class TestRefused:
    @pytest.mark.parametrize(
        "url", ["proxy:3128", "socks5://proxy:1", "http://user:pw@proxy:3128", "http://proxy/path"]
    )
    def test_is_what_no_program_would_understand(self, url):
        with pytest.raises(SettingsError, match=r"network\.proxy"):
            load({"network": {"proxy": url}}, stack_file="Pulumi.dev.yaml")

    @pytest.mark.parametrize("login", ["user:geheim", "geheim", "user:ge@heim"])
    def test_a_login_would_be_shown_by_docker_and_is_not_by_the_message(self, login):
        with pytest.raises(SettingsError) as refused:
            load({"network": {"proxy": f"http://{login}@proxy:3128"}}, stack_file="Pulumi.dev.yaml")
        assert "Docker would show" in str(refused.value)
        assert "heim" not in str(refused.value)
