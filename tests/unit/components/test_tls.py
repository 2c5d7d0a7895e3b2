"""components/tls.py and nginx_conf.py: nginx publishes the web ports in place of the services."""

from components.nginx_conf import FrontEnd, configuration
from testing.harness import Resource, deploy, platform_settings

SETTINGS = {"tls": {"source": "generated"}, "queue": {"enabled": True}}


def published(container: Resource) -> set[int]:
    return {int(port["external"]) for port in container.inputs.get("ports") or ()}


def test_takes_over_the_web_ports_and_no_others(tmp_path):
    containers = deploy(SETTINGS, state_home=tmp_path).containers
    assert published(containers["tls"]) == {5000, 8080, 8888, 8265, 8070}
    assert {name for name, one in containers.items() if published(one)} == {"tls", "redis", "ray-cpu"}
    assert published(containers["ray-cpu"]) == {10001}


def test_starts_when_the_others_have_given_up_their_ports(tmp_path):
    deployed = deploy(SETTINGS, state_home=tmp_path)
    needed = deployed.needs(deployed.containers["tls"])
    assert {f"{name}-container" for name in ("mlflow", "marimo", "health", "ray-cpu", "queue")} <= needed


def test_addresses_say_https():
    settings = platform_settings(SETTINGS)
    links = {name: reach.link for name in settings.services() if (reach := settings.reach(name, ()))}
    assert {name for name, link in links.items() if link.startswith("https://")} == {*settings.behind_tls}
    reach = platform_settings({**SETTINGS, "network": {"names": ["gpu"]}}).reach("mlflow", ())
    assert reach
    assert "https://gpu:5000" in reach.origins
    assert "http://gpu:5000" not in reach.origins


def test_only_notebooks_have_their_origins_compared():
    text = configuration(
        [
            FrontEnd(service="mlflow", port=5000, published=5001),
            FrontEnd(service="marimo", port=8080, published=8080, origins=("https://a.org",)),
        ],
        ping=8099,
    )
    assert text.count("return 403;") == 1
    assert '"~^https://a\\.org " 0;' in text
    assert "listen 5001 ssl;" in text
    assert "set $upstream http://mlflow:5000;" in text
