"""`ws user` changes one entry of the stack file, and loses neither a comment, nor a port, nor a notebook."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from config.load import load
from testing.people import FILE, Docker
from ws import cli
from ws.errors import WsError

NAMES = """\
      users:
      - alice   # signs
      - bob
      - carol
"""


def users(*words: str) -> str:
    result = CliRunner().invoke(cli.app, ["user", *words], catch_exceptions=False)
    return result.output


def marimo(file: Path) -> Any:
    return yaml.safe_load(file.read_text())["config"]["cslr:platform"]["marimo"]


def ports(file: Path) -> dict[str, int]:
    raw = yaml.safe_load(file.read_text())["config"]["cslr:platform"]
    settings = load(raw, stack_file=file.name).marimo
    return {name: settings.of(name).port for name in settings.users}


class TestAdd:
    def test_writes_an_entry_and_makes_a_token(self, file, tmp_path):
        said = users("add", "alice", "--memory", "8g", "--cpus", "1.5")
        assert marimo(file) == {"port": 8080, "users": {"alice": {"cpus": 1.5, "memory": "8g", "port": 8080}}}
        assert file.read_text().startswith(FILE)
        assert "notebooks stay on the volume cslr-dev-marimo-notebooks" in said
        assert len((tmp_path / "state/cslr/cslr/dev/generated/marimo-token-alice").read_text()) > 40

    def test_keeps_a_list_of_names_a_list(self, file):
        file.write_text(FILE + NAMES)
        users("add", "dora")
        assert file.read_text() == FILE + NAMES + "      - dora\n"

    def test_takes_the_next_port_that_the_stack_leaves_free(self, file):
        file.write_text(FILE.replace("6381", "8081") + NAMES.replace("- bob\n      - carol\n", ""))
        said = users("add", "bob")
        assert ports(file) == {"alice": 8080, "bob": 8082}
        assert "with port 8082" in said

    def test_takes_a_lower_port_where_no_higher_one_is_left(self, file):
        file.write_text(FILE.replace("8080", "65535") + "      users: [alice]\n")
        users("add", "bob")
        assert ports(file) == {"alice": 65535, "bob": 1024}

    @pytest.mark.parametrize(
        "name", ["Alice", "al_ice", "1st", "a-", "-a", "a--b", "", "a" * 33, "../x", "é", "ray-cpu"]
    )
    def test_refuses_what_no_container_can_be_named_after(self, file, name):
        with pytest.raises(WsError, match="is not a person's name here"):
            users("add", "--", name)
        assert file.read_text() == FILE

    def test_refuses_somebody_twice(self, file):
        users("add", "alice")
        with pytest.raises(WsError, match=r"ws set marimo\.users\.alice\.memory"):
            users("add", "alice")

    @pytest.mark.parametrize("option", [("--memory", "64m"), ("--port", "6381"), ("--memory", "much")])
    def test_refuses_what_could_not_be_deployed(self, file, tmp_path, option):
        with pytest.raises(WsError, match=r"Nothing is changed in Pulumi\.dev\.yaml"):
            users("add", "alice", *option)
        assert file.read_text() == FILE
        assert not (tmp_path / "state/cslr/cslr/dev/generated/marimo-token-alice").exists()

    def test_refuses_a_stack_without_notebooks(self, file):
        file.write_text(FILE + "      enabled: false\n")
        with pytest.raises(WsError, match=r"ws set marimo\.enabled true -s dev"):
            users("add", "alice")


class TestRemove:
    def test_leaves_everybody_else_their_port(self, file):
        file.write_text(FILE + NAMES)
        before = ports(file)
        said = users("remove", "alice")
        assert ports(file) == {name: port for name, port in before.items() if name != "alice"}
        assert "docker volume rm cslr-dev-marimo-alice-notebooks" in said

    def test_of_the_last_of_a_list_keeps_the_rest_as_it_is_written(self, file):
        file.write_text(FILE + NAMES)
        users("remove", "carol")
        assert file.read_text() == FILE + NAMES.replace("      - carol\n", "")

    def test_fixes_the_ports_that_followed_from_the_order(self, file):
        file.write_text(
            FILE + "      users:\n        alice:\n        bob: {memory: 8g}   # heavy\n        carol: {port: 9000}\n"
        )
        before = ports(file)
        users("remove", "alice")
        assert ports(file) == {"bob": before["bob"], "carol": 9000}
        assert "# heavy" in file.read_text()

    def test_of_the_last_one_says_that_one_server_serves_all_again(self, file):
        users("add", "alice")
        assert "everyone shares one notebook server again" in users("remove", "alice")
        assert marimo(file)["users"] == {}

    def test_says_how_to_delete_the_notebooks_as_a_shell_takes_it(self, file):
        file.write_text(f"{FILE}      notebooks: /srv/our notebooks\n      users: [alice]\n")
        assert "sudo rm -r '/srv/our notebooks/alice'" in users("remove", "alice").replace("\n", " ")

    def test_takes_the_token_and_a_new_one_comes_with_the_person(self, file):
        users("add", "alice")
        first = users("token", "alice")
        users("remove", "alice")
        users("add", "alice")
        assert users("token", "alice") != first

    def test_refuses_somebody_whom_the_stack_does_not_know(self, file):
        users("add", "alice")
        with pytest.raises(WsError, match="Did you mean alice"):
            users("remove", "alise")


class TestToken:
    def test_stays_until_it_is_renewed(self, file):
        users("add", "alice")
        first = users("token", "alice")
        assert users("token", "alice") == first
        assert "ws up -s dev" in users("token", "alice", "--renew")
        assert users("token", "alice") not in (first, "")


class TestList:
    def test_shows_everybody_and_whose_notebooks_are_left(self, file, tmp_path, monkeypatch):
        monkeypatch.setattr(Docker, "volumes", ("marimo-alice", "marimo-zoe", "marimo", "redis"))
        users("add", "alice", "--memory", "8g")
        alice, zoe = json.loads(users("list", "--json"))
        assert (alice["address"], alice["state"], alice["memory"]) == ("http://127.0.0.1:8080", "not deployed", 2**33)
        assert alice["token_file"] == str(tmp_path / "state/cslr/cslr/dev/generated/marimo-token-alice")
        assert (zoe["name"], zoe["state"], zoe["notebooks"]) == ("zoe", "removed", "cslr-dev-marimo-zoe-notebooks")

    def test_says_how_to_begin(self, file):
        assert "ws user add NAME -s dev" in users("list")
