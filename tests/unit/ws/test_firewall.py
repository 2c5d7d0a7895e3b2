"""ws/firewall.py: rules without a firewall are found by the stack's name, and removed with its own image."""

import json
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from stack.identity import StackIdentity
from ws import firewall


class Engine:
    """A Docker with tables in its host's kernel, and firewalls that run."""

    def __init__(self, *tables: tuple[str, str], running: tuple[str, ...] = (), image: bool = True) -> None:
        self.tables = list(tables)
        self.ran: list[dict[str, Any]] = []
        listed = [SimpleNamespace(labels={"cslr.stack": stack}) for stack in running]
        self.containers = SimpleNamespace(list=lambda filters: listed, run=self._run)
        self.images = SimpleNamespace(list=lambda filters: ["image"] if image else [])

    def _run(self, _image: str, *, entrypoint: list[str], **options: Any) -> bytes | None:
        self.ran.append(options)
        # As docker-py has it: output of no other driver is waited for.
        if options.get("log_config", {}).get("Type") not in ("json-file", "journald"):
            return None
        match entrypoint[1:]:
            case ["--json", "list", "tables"]:
                entries = [{"table": {"family": family, "name": name}} for family, name in self.tables]
                return json.dumps({"nftables": [{"metainfo": {}}, *entries]}).encode()
            case ["delete", "table", family, name]:
                self.tables.remove((family, name))
        return b""


@pytest.fixture
def with_engine(monkeypatch):
    def use(engine: Engine) -> Engine:
        monkeypatch.setattr(docker, "from_env", lambda timeout: engine)
        return engine

    return use


def test_tables_of_killed_firewalls_are_left(with_engine):
    with_engine(Engine(("inet", "cslr-dev"), ("inet", "cslr-gpu"), ("ip", "filter"), running=("gpu",)))
    assert firewall.left() == ("dev",)


def test_tables_of_others_are_nobodys(with_engine):
    with_engine(Engine(("ip", "cslr-dev"), ("inet", "filter"), ("inet", "firewalld")))
    assert firewall.left() == ()


def test_nothing_is_known_where_no_image_can_look(with_engine):
    engine = with_engine(Engine(("inet", "cslr-dev"), image=False))
    assert firewall.left() == ()
    assert engine.ran == []


def test_nothing_is_known_where_docker_does_not_answer(monkeypatch):
    def refuse(timeout: int) -> None:
        raise docker.errors.DockerException("no")

    monkeypatch.setattr(docker, "from_env", refuse)
    assert firewall.left() == ()
    assert not firewall.clear(StackIdentity(project="cslr", stack="dev"))


def test_the_stack_that_is_down_loses_its_rules_and_no_other_does(with_engine):
    engine = with_engine(Engine(("inet", "cslr-dev"), ("inet", "cslr-dev2")))
    assert firewall.clear(StackIdentity(project="cslr", stack="dev"))
    assert engine.tables == [("inet", "cslr-dev2")]
    assert not firewall.clear(StackIdentity(project="cslr", stack="dev"))


def test_a_firewall_that_runs_keeps_its_rules(with_engine):
    engine = with_engine(Engine(("inet", "cslr-dev"), running=("dev",)))
    assert not firewall.clear(StackIdentity(project="cslr", stack="dev"))
    assert engine.tables == [("inet", "cslr-dev")]


def test_looks_with_one_capability(with_engine):
    engine = with_engine(Engine())
    firewall.left()
    [options] = engine.ran
    assert (options["cap_drop"], options["cap_add"]) == (["ALL"], ["CAP_NET_ADMIN"])
    assert options["read_only"]
    assert options["network_mode"] == "host"
