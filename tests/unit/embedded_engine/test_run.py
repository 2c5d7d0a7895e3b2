"""Whole runs of the embedded engine: refusals, and a Docker Engine that goes away meanwhile."""

import json
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from docker_api.api import DockerError
from embedded_engine.changes import CONTAINER, Action, Change
from embedded_engine.labels import AFTER_LABEL, URN_LABEL
from embedded_engine.run import Engine
from testing.stack_files import read_stack_config

PROGRAM = """
KEYS = {}
import pulumi_docker as docker

docker.Image("x", image_name="cslr/x:1", skip_push=True, build=docker.DockerBuildArgs(context=".", **KEYS))
"""
GONE = "Docker did not answer GET /images/cslr/x:1/json: Remote end closed connection"


class Silent:
    """A display of nothing."""

    def started(self, change: Change) -> None: ...

    def progress(self, change: Change, text: str) -> None: ...

    def ended(self, change: Change) -> None: ...

    def interrupted(self) -> None: ...


class Gone:
    """An Engine that ended after the connection was made."""

    def find(self, _: str) -> NoReturn:
        raise DockerError(GONE)

    def labelled(self, *_: Any) -> NoReturn:
        raise DockerError("Docker did not answer GET /containers/json")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("embedded_engine.run.DockerApi", Gone)
    (tmp_path / "Pulumi.yaml").write_text("name: test\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    return Engine(tmp_path, read_stack_config(tmp_path, "dev"), Silent())


class TestInputs:
    def test_that_the_engine_would_ignore_are_refused_inside_of_objects_too(self, engine):
        program = Path(engine._folder) / "__main__.py"
        program.write_text(PROGRAM.replace("{}", "{'network': 'host', 'add_hosts': ['a:127.0.0.1']}"))
        (failed,) = engine.up().failed
        assert "does not know the input build.addHosts, build.network of docker:index/image:Image" in failed.error


class TestDockerThatWentAway:
    def test_is_told_by_what_failed_so_that_it_can_be_tried_again(self, engine):
        assert [(change.name, change.error) for change in engine.up().failed] == [("x", GONE)]

    def test_is_an_error_where_nothing_else_tells_of_it(self, engine):
        (Path(engine._folder) / "__main__.py").write_text("")
        with pytest.raises(DockerError):
            engine.up()


class TestInterrupt:
    def test_is_said_at_once_while_a_container_stops_and_begins_nothing_more(self, engine, monkeypatch):
        needs = {"marimo": ["redis"], "redis": []}
        there = [
            {"Names": [f"/{name}"], "Labels": {URN_LABEL: name, AFTER_LABEL: json.dumps(after)}}
            for name, after in needs.items()
        ]
        said, heard, removed = threading.Event(), list[bool](), list[str]()

        def remove(_api: object, name: str) -> None:
            removed.append(name)
            heard.append(said.wait(20))

        def interrupt(*_: object, **__: object) -> NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr("embedded_engine.run.wait", interrupt)
        monkeypatch.setattr(engine._display, "interrupted", said.set)
        monkeypatch.setattr("embedded_engine.run.remove_container", remove)
        monkeypatch.setattr(Gone, "labelled", lambda _, path, *__: there if "containers" in path else [])
        with pytest.raises(KeyboardInterrupt):
            engine.destroy()
        assert (removed, heard) == (["marimo"], [True])


class TestPorts:
    def test_that_another_container_gets_are_freed_first(self, engine, monkeypatch):
        """Two that swap ports, one that leaves with the port of a new one; not one that keeps its own."""
        there = {"a": 1, "b": 2, "gone": 3, "kept": 4, "leaves": 5}
        listing = [
            {"Names": [f"/{name}"], "Labels": {URN_LABEL: name}, "Ports": [{"PublicPort": port}, {"PrivatePort": 7}]}
            for name, port in there.items()
        ]
        gets = {"a": 2, "b": 1, "new": 3, "kept": 4}
        plan = [
            container(name, Action.CREATE if name == "new" else Action.REPLACE, port) for name, port in gets.items()
        ]
        plan += [container(name, Action.DELETE) for name in ("gone", "leaves")]
        removed: list[str] = []
        monkeypatch.setattr("embedded_engine.run.remove_container", lambda _, name: removed.append(name))
        monkeypatch.setattr(Gone, "labelled", lambda _, path, __, labels: listing if URN_LABEL in labels else [])
        assert {change.name for change in engine._free_ports(plan)} == set(removed) == {"a", "b", "gone"}


def container(name: str, action: Action, *ports: int) -> Change:
    after = {"ports": [{"external": float(port)} for port in ports]}
    return Change(urn=name, type=CONTAINER, name=name, action=action, after=after)
