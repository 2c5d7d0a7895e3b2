"""Which engine deploys, and how the Pulumi CLI is found. Only the network is faked, at its edge."""

import io
import json
import os
import time
import urllib.error

import pytest

from ws import environment
from ws.engine_names import EngineName, EngineOption
from ws.engines import choose
from ws.errors import WsError
from ws.pulumi import cli as pulumi_cli
from ws.pulumi.cli import Availability

NONE = Availability(reason="there is no Pulumi CLI here")


@pytest.fixture
def here(tmp_path):
    return Availability(cli=tmp_path / "pulumi")


class TestChoice:
    @pytest.mark.parametrize("made_by", [None, EngineName.PULUMI])
    def test_auto_takes_pulumi_where_it_can_be_had(self, here, made_by):
        choice = choose(EngineOption.AUTO, made_by, lambda: here, "dev")
        assert (choice.name, choice.cli) == (EngineName.PULUMI, here.cli)

    def test_auto_falls_back_with_the_reason(self):
        choice = choose(EngineOption.AUTO, None, lambda: NONE, "dev")
        assert (choice.name, choice.reason) == (EngineName.EMBEDDED, NONE.reason)

    def test_auto_never_leaves_pulumi_for_want_of_its_cli(self):
        with pytest.raises(WsError, match="was made by Pulumi, and there is no Pulumi CLI") as refused:
            choose(EngineOption.AUTO, EngineName.PULUMI, lambda: NONE, "mine")
        assert "ws up --stack mine --engine embedded" in str(refused.value)
        with pytest.raises(WsError, match="ws matrix --stack family --engine embedded"):
            choose(EngineOption.AUTO, EngineName.PULUMI, lambda: NONE, "family", lambda: "matrix")

    def test_auto_stays_with_the_embedded_engine_without_looking_for_another(self):
        choice = choose(EngineOption.AUTO, EngineName.EMBEDDED, lambda: pytest.fail("it looked"), "dev")
        assert choice.name is EngineName.EMBEDDED

    def test_embedded_is_obeyed_without_looking(self):
        choice = choose(EngineOption.EMBEDDED, EngineName.PULUMI, lambda: pytest.fail("it looked"), "dev")
        assert (choice.name, choice.reason) == (EngineName.EMBEDDED, "")

    def test_pulumi_is_obeyed_or_refused_with_the_reason(self, here):
        assert choose(EngineOption.PULUMI, EngineName.EMBEDDED, lambda: here, "dev").cli == here.cli
        with pytest.raises(WsError, match="there is no Pulumi CLI here"):
            choose(EngineOption.PULUMI, None, lambda: NONE, "dev")


class Network:
    """What answers at Pulumi's address; counts who asks."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked = 0

    def urlopen(self, url: str, timeout: float):
        self.asked += 1
        assert timeout <= 3
        if self.content is None:
            raise urllib.error.URLError("no route to host")
        return io.BytesIO(self.content)


@pytest.fixture
def network(monkeypatch):
    def serve(content: bytes | None) -> Network:
        network = Network(content)
        monkeypatch.setattr("urllib.request.urlopen", network.urlopen)
        return network

    return serve


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    """No CLI and no state but the test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


def program(folder, name: str):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


class TestLookingForTheCli:
    def test_without_cli_and_network_the_reason_is_one_clause(self, network):
        network(None)
        found = pulumi_cli.look(print)
        assert found.cli is None
        assert "no Pulumi CLI here" in found.reason
        assert "\n" not in found.reason

    def test_a_proxys_page_is_no_answer(self, network):
        network(b"<html>Please log in</html>")
        assert pulumi_cli.look(print).cli is None

    def test_what_the_network_said_is_remembered(self, network):
        served = network(None)
        pulumi_cli.look(print)
        pulumi_cli.look(print)
        assert served.asked == 1
        pulumi_cli.look(print, fresh=True)
        assert served.asked == 2

    def test_after_a_day_it_is_asked_again(self, network, monkeypatch):
        served = network(None)
        pulumi_cli.look(print)
        later = time.time() + 25 * 3600
        monkeypatch.setattr("time.time", lambda: later)
        pulumi_cli.look(print)
        assert served.asked == 2

    def test_a_cli_with_its_plugins_needs_no_network(self, network, tmp_path):
        served = network(None)
        names = ["pulumi", "pulumi-language-python", "pulumi-resource-docker", "pulumi-resource-command"]
        for name in names:
            program(tmp_path / "bin", name)
        assert pulumi_cli.look(print).cli == tmp_path / "bin" / "pulumi"
        assert served.asked == 0

    def test_plugins_of_pulumis_own_folder_count_in_the_pinned_version_only(self, network, tmp_path):
        network(None)
        for name in ("pulumi", "pulumi-language-python"):
            program(tmp_path / "home" / "bin", name)
        for plugin in pulumi_cli.plugins():
            program(tmp_path / "home" / "plugins" / f"resource-{plugin.name}-v0.0.1", plugin.program)
        assert "pulumi-resource-docker and pulumi-resource-command" in pulumi_cli.look(print).reason
        for plugin in pulumi_cli.plugins():
            program(tmp_path / "home" / "plugins" / f"resource-{plugin.name}-v{plugin.version}", plugin.program)
        assert pulumi_cli.look(print).cli == tmp_path / "home" / "bin" / "pulumi"

    def test_plugins_that_can_be_downloaded_are_no_hindrance(self, network, tmp_path, monkeypatch):
        network(b"#!/bin/sh\n")
        for name in ("pulumi", "pulumi-language-python"):
            program(tmp_path / "bin", name)
        assert pulumi_cli.look(print).cli is not None
        monkeypatch.setenv("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
        assert pulumi_cli.look(print).cli is None

    def test_it_is_installed_where_it_can_be_downloaded(self, network, tmp_path, monkeypatch):
        network(b"#!/bin/sh\n")

        def install():
            program(pulumi_cli.own_folder() / "bin", "pulumi-language-python")
            return program(pulumi_cli.own_folder() / "bin", "pulumi")

        monkeypatch.setattr(pulumi_cli, "install", install)
        said: list[str] = []
        assert pulumi_cli.look(said.append).cli == pulumi_cli.own_folder() / "bin" / "pulumi"
        assert said == ["installing the Pulumi CLI"]

    def test_an_installation_that_fails_is_a_reason(self, network, monkeypatch):
        network(b"#!/bin/sh\n")

        def install():
            raise RuntimeError("download\nbroke off")

        monkeypatch.setattr(pulumi_cli, "install", install)
        assert pulumi_cli.look(print).reason == "the Pulumi CLI could not be installed: broke off"


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch):
        for name in (environment.PASSPHRASE, environment.PASSPHRASE_FILE, environment.BACKEND):
            monkeypatch.setenv(name, "")  # so that it is restored afterwards
            monkeypatch.delenv(name)

    def test_a_passphrase_is_made_once_and_closed_to_others(self, tmp_path):
        environment.prepare_environment()
        file = tmp_path / "state" / "cslr" / "pulumi" / "passphrase"
        made = file.read_text()
        assert len(made) >= 32
        assert file.stat().st_mode & 0o777 == 0o600
        environment.prepare_environment()
        assert file.read_text() == made

    def test_the_users_own_passphrase_and_backend_stay(self, monkeypatch, tmp_path):
        monkeypatch.setenv(environment.PASSPHRASE, "")
        monkeypatch.setenv(environment.BACKEND, "s3://ours")
        environment.prepare_environment()
        assert os.environ[environment.BACKEND] == "s3://ours"
        assert environment.PASSPHRASE_FILE not in os.environ
        assert not (tmp_path / "state" / "cslr" / "pulumi" / "passphrase").exists()

    def test_a_login_is_respected(self, tmp_path):
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home" / "credentials.json").write_text(json.dumps({"current": "https://api.example.org"}))
        environment.prepare_environment()
        assert environment.BACKEND not in os.environ
