"""`ws alert` with a real Alertmanager."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from components.alert_routes import AlertSecrets, configuration
from config.services import AlertmanagerSettings
from testing.servers import free_port, server_process
from ws.alerts import client, commands
from ws.alerts.client import Alertmanager
from ws.cli import app
from ws.containers import ContainerState
from ws.engine_names import EngineName
from ws.errors import WsError

ALERT: dict[str, Any] = {
    "labels": {"alertname": "DiskLow", "severity": "critical", "disk": "scratch", "host": "gpu1"},
    "annotations": {
        "summary": "gpu1 has 9 GB of disk left",
        "description": "Below 10 GB, jobs may fail.",
        "remedy": "`ws matrix --prune`",
    },
}


def container(service: str, health: str = "healthy", state: str = "running") -> ContainerState:
    return ContainerState(
        service=service,
        name=f"cslr-dev-{service}",
        identifier=service,
        state=state,
        health=health,
        status="",
        image="",
        ports=(),
        engine=EngineName.EMBEDDED,
    )


@pytest.fixture
def manager(alertmanager, tmp_path) -> Iterator[Alertmanager]:
    port, file = free_port(), tmp_path / "alertmanager.yaml"
    file.write_text(configuration(AlertmanagerSettings(), AlertSecrets(), proxied=False))
    options = [f"--config.file={file}", f"--storage.path={tmp_path}", "--cluster.listen-address="]
    with server_process([str(alertmanager), *options, f"--web.listen-address=127.0.0.1:{port}"], port):
        yield Alertmanager(f"http://127.0.0.1:{port}")


@pytest.fixture
def ws(manager, monkeypatch):
    """Runs `ws alert` against it."""
    monkeypatch.setattr(commands, "_manager", lambda *_: manager)
    monkeypatch.setattr(commands, "_containers", lambda _: [container("health")])
    monkeypatch.setattr("ws.terminal.out.width", 250)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["alert", *words])
        assert result.exit_code == 0, result.output or result.exception
        return result.output

    return run


def fire(manager: Alertmanager, *alerts: dict[str, Any]) -> None:
    """As Prometheus does."""
    request = urllib.request.Request(
        f"{manager.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


class TestList:
    def test_shows_what_fires_where_and_what_helps(self, ws, manager, capsys):
        fire(manager, ALERT)
        said = ws("list")
        for text in ("DiskLow", "critical", "scratch on gpu1", *ALERT["annotations"].values()):
            assert text in said
        assert "health service" not in said

    @pytest.mark.parametrize("fires", [True, False])
    def test_says_when_it_may_be_out_of_date(self, ws, manager, monkeypatch, fires):
        if fires:
            fire(manager, {"labels": {"alertname": "HealthDown", "severity": "critical"}, "annotations": {}})
        else:
            monkeypatch.setattr(commands, "_containers", lambda _: [container("health", "exited", "exited")])
        assert "The health service does not answer: alerts on what it watches keep their last state" in ws("list")
        assert "does not answer" in json.loads(ws("list", "--json"))["doubt"]

    def test_says_that_nothing_fires(self, ws):
        assert "No alert fires." in ws("list")

    def test_tells_programs_the_same(self, ws, manager):
        fire(manager, ALERT)
        found = json.loads(ws("list", "--json"))
        (alert,) = found["alerts"]
        assert (alert["name"], alert["where"], alert["silenced_by"]) == ("DiskLow", "scratch on gpu1", [])
        assert alert["labels"] == ALERT["labels"]
        assert alert["description"] == "Below 10 GB, jobs may fail."
        assert found["doubt"] is None
        assert found["silences"] == []


class TestSilence:
    def test_covers_the_alerts_that_it_names_until_it_is_ended(self, ws, manager):
        fire(manager, ALERT, {**ALERT, "labels": {**ALERT["labels"], "host": "gpu2"}})
        said = ws("silence", "DiskLow", "host=gpu1", "--for", "2h", "--comment", "cleaning up")
        identifier = said.split("unsilence ")[1].split()[0]
        assert "No alert" not in said
        silenced = {alert.labels["host"]: bool(alert.silenced_by) for alert in manager.alerts()}
        assert silenced == {"gpu1": True, "gpu2": False}
        (silence,) = manager.silences()
        assert sorted(silence.matchers) == ['alertname="DiskLow"', 'host="gpu1"']
        assert silence.comment == "cleaning up"
        assert "cleaning up" in ws("list")
        assert identifier in ws("list")
        assert "DiskLow" in ws("unsilence", identifier)
        assert not any(alert.silenced_by for alert in manager.alerts())
        assert not manager.silences()

    def test_of_an_alert_that_there_is_not_is_made_with_a_hint(self, ws, manager):
        assert "There is no alert DiscLow. Did you mean DiskLow?" in ws("silence", "DiscLow")
        assert len(manager.silences()) == 1

    def test_of_what_does_not_fire_now_is_made_with_a_hint(self, ws, manager):
        fire(manager, ALERT)
        hint = "No alert that fires now has these labels"
        assert hint in ws("silence", "DiskLow", "host=gpu2")
        assert hint in ws("silence", "host=gpu2")
        assert hint not in ws("silence", "disk=scratch")

    def test_that_is_not_there_cannot_be_ended(self, ws):
        result = CliRunner().invoke(app, ["alert", "unsilence", "nothing"])
        assert isinstance(result.exception, WsError)
        assert "'nothing' matches no silence" in str(result.exception)

    @pytest.mark.parametrize("words", [["=x"], ["host="], ["DiskLow", "NoHead"], ["DiskLow", "--for", "soon"]], ids=str)
    def test_that_is_meaningless_is_refused(self, manager, monkeypatch, words):
        monkeypatch.setattr(commands, "_manager", lambda *_: manager)
        monkeypatch.setattr(commands, "_containers", lambda _: [])
        assert CliRunner().invoke(app, ["alert", "silence", *words]).exit_code == 2
        assert not manager.silences()


class TestAnotherProgram:
    def test_that_does_not_answer_is_named(self):
        address = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(WsError, match=address):
            Alertmanager(address).alerts()

    def test_alertmanager_s_refusal_is_shown(self, manager):
        with pytest.raises(WsError, match="refuses this"):
            manager.silence({}, start="x", end="y", author="a", comment="c")

    def test_that_does_not_run_is_named(self):
        found = [container("prometheus", "exited", "exited"), container("alertmanager")]
        assert client.stopped(found) == "prometheus does not run, so which alerts fire is not known"
        assert client.stopped([container("prometheus"), container("alertmanager")]) == ""

    def test_ps_goes_on_without_it(self, monkeypatch):
        monkeypatch.setattr(client, "address_of", lambda _: f"http://127.0.0.1:{free_port()}")
        assert client.firing([]) == ()
