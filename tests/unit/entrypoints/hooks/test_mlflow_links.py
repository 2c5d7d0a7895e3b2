"""Links to runs that MLflow's client prints, as in the client of MLflow 3.17.2."""

import json
import sys
from types import ModuleType
from typing import Any

import pytest

from contracts.document import SETTINGS_VARIABLE
from entrypoints.hooks import mlflow_links
from testing.harness import CLUSTER, deploy, merged

INSIDE, OUTSIDE = "http://mlflow:5000", "http://gpuhost.example.org:5000"


class TrackingServiceClient:
    """As much of the client as prints links."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    def _log_url(self, run_id: str) -> None:
        host = sys.modules["client"].get_workspace_url() or self.tracking_uri.rstrip("/")
        if run_id == "lost":
            raise ConnectionError("no such run")
        sys.stdout.write(f"View run at: {host}/#/experiments/1/runs/{run_id}\n")


@pytest.fixture
def client(monkeypatch, tmp_path) -> Any:
    module: Any = ModuleType("client")

    class Own(TrackingServiceClient):
        pass

    module.TrackingServiceClient, module.get_workspace_url = Own, lambda: None
    monkeypatch.setitem(sys.modules, "client", module)
    monkeypatch.setattr(mlflow_links, "LINKS", tmp_path / "mlflow.json")
    (tmp_path / "mlflow.json").write_text(json.dumps({"inside": INSIDE, "outside": OUTSIDE}))
    mlflow_links.hook_client(module)
    return module


class TestClient:
    @pytest.mark.parametrize("uri", [INSIDE, f"{INSIDE}/"])
    def test_prints_what_a_person_can_open(self, client, capsys, uri):
        client.TrackingServiceClient(uri)._log_url("abc")
        assert capsys.readouterr().out == f"View run at: {OUTSIDE}/#/experiments/1/runs/abc\n"

    def test_leaves_other_servers_alone(self, client, capsys):
        client.TrackingServiceClient("https://elsewhere.example")._log_url("abc")
        assert "https://elsewhere.example/#/" in capsys.readouterr().out

    def test_follows_a_change_of_the_stack_while_it_runs(self, client, capsys):
        mlflow_links.LINKS.write_text(json.dumps({"inside": INSIDE, "outside": "https://new.example/mlflow"}))
        client.TrackingServiceClient(INSIDE)._log_url("abc")
        assert "https://new.example/mlflow/#/" in capsys.readouterr().out

    @pytest.mark.parametrize("content", [None, "", "{}", "[]", "not JSON"])
    def test_prints_its_own_where_nothing_is_known(self, client, capsys, content):
        mlflow_links.LINKS.unlink()
        if content is not None:
            mlflow_links.LINKS.write_text(content)
        client.TrackingServiceClient(INSIDE)._log_url("abc")
        assert f"{INSIDE}/#/" in capsys.readouterr().out

    def test_fails_as_before(self, client):
        with pytest.raises(ConnectionError):
            client.TrackingServiceClient(INSIDE)._log_url("lost")
        assert client.get_workspace_url() is None


def told(deployed: Any) -> dict[str, str]:
    """What the nodes and notebooks of a stack are told."""
    sources = {
        deployed.containers[service].mounts["/run/cslr/links"]["source"]
        for service in ("ray-cpu", "marimo")
        if service in deployed.containers
    }
    (folder,) = sources
    return dict(json.loads((deployed.state / "links" / "mlflow.json").read_text())) if folder else {}


class TestStack:
    def test_tells_its_nodes_the_name_that_people_use(self, tmp_path):
        named = {"network": {"bind_address": "192.168.1.20", "names": ["gpuhost.example.org"]}}
        assert told(deploy(named, state_home=tmp_path)) == {"inside": INSIDE, "outside": OUTSIDE}

    def test_tells_them_the_address_of_the_proxy(self, tmp_path):
        proxy = {"mlflow": {"base_url": "https://a.example/mlflow"}}
        deployed = deploy(proxy, state_home=tmp_path)
        assert told(deployed) == {"inside": f"{INSIDE}/mlflow", "outside": "https://a.example/mlflow"}
        assert deployed.containers["ray-cpu"].env["MLFLOW_TRACKING_URI"] == f"{INSIDE}/mlflow"

    def test_tells_all_hosts_of_a_cluster_the_same(self, tmp_path):
        named = merged(CLUSTER, {"hosts": {"gamma": {"names": ["gamma.example.org"]}}})
        for host in ("alpha", "gamma"):
            deployed = deploy({}, state_home=tmp_path, stack=host, cluster=named)
            assert told(deployed) == {"inside": "http://10.88.0.3:5000", "outside": "http://gamma.example.org:5000"}

    def test_writes_nothing_in_a_preview(self, tmp_path):
        deploy({}, state_home=tmp_path, preview=True)
        assert not list(tmp_path.rglob("mlflow.json"))


class TestTelemetry:
    def test_is_off_in_every_client_and_can_be_had(self, tmp_path):
        containers = deploy({"marimo": {"env": {"DO_NOT_TRACK": "false"}}}, state_home=tmp_path).containers
        assert containers["ray-cpu"].env["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert containers["ray-cpu"].env["DO_NOT_TRACK"] == "true"
        assert containers["marimo"].env["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert containers["marimo"].env["DO_NOT_TRACK"] == "false"

    def test_is_off_where_nothing_is_tracked_here(self, tmp_path):
        containers = deploy({"mlflow": {"enabled": False}}, state_home=tmp_path).containers
        assert containers["ray-cpu"].env["MLFLOW_DISABLE_TELEMETRY"] == "true"


class TestPrefix:
    def test_is_known_to_all_who_ask(self, tmp_path):
        paths = {"mlflow": {"base_url": "/track"}, "marimo": {"base_url": "https://a.example/notes/"}}
        deployed = deploy(paths, state_home=tmp_path)
        containers = deployed.containers
        assert containers["mlflow"].env["MLFLOW_STATIC_PREFIX"] == "/track"
        assert containers["marimo"].env["MARIMO_BASE_URL"] == "/notes"
        for service, check in (("mlflow", "5000/track/health"), ("marimo", "8080/notes/health")):
            assert containers[service].inputs["healthcheck"]["tests"][-1].endswith(check)
        watched = {w["name"]: w["prefix"] for w in json.loads(containers["health"].env[SETTINGS_VARIABLE])["services"]}
        assert {"mlflow": "/track", "marimo": "/notes", "redis": ""}.items() <= watched.items()
        spec = json.loads(deployed.verification_spec)
        assert (spec["mlflow"]["url"], spec["marimo"]["url"]) == (
            "http://mlflow:5000/track",
            "http://marimo:8080/notes",
        )

    def test_is_left_out_without_a_proxy(self, tmp_path):
        containers = deploy({}, state_home=tmp_path).containers
        assert "MLFLOW_STATIC_PREFIX" not in containers["mlflow"].env
        assert "MARIMO_BASE_URL" not in containers["marimo"].env
