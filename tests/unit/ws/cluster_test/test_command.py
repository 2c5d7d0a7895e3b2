"""The order of the steps of `ws test --up | --run | --logs | --down`, and what is left after each."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from embedded_engine.lock import LockedError, stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from verification.report import CheckResult, Report
from ws.cluster_test import command
from ws.cluster_test.command import Steps, perform

IDENTITY = StackIdentity(project="cslr", stack="dev")
REPORT = Report(
    ok=True,
    started="2026-11-27T20:00:00Z",
    seconds=1.0,
    checks=(CheckResult(name="published_ports", result="pass", detail="", seconds=0.0),),
)


@dataclass
class Network:
    """The test network, as far as the steps see it."""

    is_up: bool = False
    is_old: bool = False
    did: list[str] = field(default_factory=list)

    def is_of(self, _reason: str) -> bool:
        return not self.is_old

    def up(self, _reason: str) -> None:
        self.did.append("up")
        self.is_up = True

    def down(self) -> bool:
        self.did.append("down")
        was, self.is_up = self.is_up, False
        return was

    def logs(self):
        self.did.append("logs" if self.is_up else "no logs")
        return iter(())


@pytest.fixture
def do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(network: Network, **steps: Any) -> list[str]:
        said: list[str] = []
        session: Any = SimpleNamespace(say=said.append, stack=SimpleNamespace(deployable=None), identity=IDENTITY)

        def ran(*_args: Any) -> Report:
            network.did.append("run")
            return REPORT

        monkeypatch.setattr(command, "_network", lambda *_args, **_more: network)
        monkeypatch.setattr(command, "worker_reason", lambda _settings: "")
        monkeypatch.setattr(command, "_run", ran)
        perform(session, Steps(**steps), Console(quiet=True))
        return said

    return run


@pytest.mark.parametrize(
    ("steps", "did", "left"),
    [
        ({"up": True}, ["up"], True),
        ({"run": True}, ["up", "run", "down"], False),
        ({"run": True, "logs": True}, ["up", "run", "logs", "down"], False),
        ({"up": True, "run": True}, ["up", "run"], True),
        ({"up": True, "run": True, "down": True}, ["up", "run", "down"], False),
    ],
)
def test_from_nothing(do, steps, did, left):
    network = Network()
    do(network, **steps)
    assert (network.did, network.is_up) == (did, left)


@pytest.mark.parametrize(
    ("steps", "did", "left"),
    [
        ({"up": True}, [], True),
        ({"run": True}, ["run"], True),
        ({"logs": True}, ["logs"], True),
        ({"run": True, "down": True}, ["run", "down"], False),
    ],
)
def test_with_a_network_that_is_up(do, steps, did, left):
    network = Network(is_up=True)
    do(network, **steps)
    assert (network.did, network.is_up) == (did, left)


@pytest.mark.parametrize(
    ("steps", "did", "left"),
    [
        ({"up": True}, ["up"], True),
        ({"run": True}, ["up", "run"], True),  # who kept it keeps it
        ({"run": True, "down": True}, ["up", "run", "down"], False),
        ({"logs": True}, ["logs"], True),
    ],
)
def test_with_one_of_an_earlier_deployment(do, steps, did, left):
    network = Network(is_up=True, is_old=True)
    said = do(network, **steps)
    assert (network.did, network.is_up) == (did, left)
    assert ("The stack has changed" in "".join(said)) == ("up" in did)


@pytest.mark.parametrize("steps", [{"up": True}, {"run": True}, {"down": True}])
def test_beside_another_one_it_ends_at_once_and_touches_nothing(do, steps):
    network = Network()
    with (
        stack_lock(stack_folder(IDENTITY) / command.LOCK, "dev"),
        pytest.raises(LockedError, match="another cluster test works on stack dev"),
    ):
        do(network, **steps)
    assert network.did == []


def test_logs_are_shown_beside_another_one(do):
    network = Network(is_up=True)
    with stack_lock(stack_folder(IDENTITY) / command.LOCK, "dev"):
        do(network, logs=True)
    assert network.did == ["logs"]


def test_down_without_one_says_so(do):
    assert do(Network(), down=True) == ["There is no test network"]


def test_a_run_that_is_interrupted_leaves_nothing(do, monkeypatch):
    network = Network()

    def interrupted(*_: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_show_logs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        do(network, run=True, logs=True)
    assert network.is_up is False


def test_the_xml_is_written(do, tmp_path):
    do(Network(), run=True, junit=tmp_path / "report.xml")
    assert 'name="cslr.dev.cluster-test"' in (tmp_path / "report.xml").read_text()
