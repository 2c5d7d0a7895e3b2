"""`ws drift`: what is compared, how it is told, and the exit code."""

import io
import json
import time
from dataclasses import replace

import pytest
import typer
from rich.console import Console

from contracts.document import load
from contracts.facts import Difference, DriftFact
from embedded_engine.comparison import Drift
from embedded_engine.drift import Observation
from stack.history import History, Record
from stack.state import stack_folder
from testing.stack_files import configured
from ws import cli, deploy, drift
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.errors import WsError
from ws.history import commands

DEPLOYED = "config:\n  cslr:platform: {redis: {memory: 512m}}\n"
EDITED = "config:\n  cslr:platform: {redis: {memory: 1g}}\n"
FOUND = Observation(
    drifts=(Drift(kind="container", name="cslr-dev-redis", field="memory", difference="512m → 1g"),),
    pending=("cslr-dev-health",),
)
NOTHING = Observation(drifts=())


@pytest.fixture
def session(tmp_path, monkeypatch) -> Session:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(drift, "FOLDER", tmp_path)
    monkeypatch.setattr(deploy.Session, "maker", EngineName.EMBEDDED)
    return Session(configured(EDITED), Console(file=io.StringIO()))


@pytest.fixture
def compared(monkeypatch):
    """The configs that the host was compared with; it differs as is set."""
    configs: list[dict[str, str]] = []

    def observe(_folder, config):
        configs.append(config.values)
        return FOUND

    monkeypatch.setattr(drift, "observe", observe)
    return configs


def deployed(session: Session, text: str = DEPLOYED, outcome: str = "done") -> None:
    record = {
        "operation": "up", "engine": "embedded", "who": "anna", "started": 1.0, "version": "0.2.0",
        "outcome": outcome, "files": {"Pulumi.dev.yaml": text},
    }  # fmt: skip
    History(session.identity).begin(Record.model_validate(record))


def printed(report: drift.Report) -> str:
    console = Console(file=io.StringIO(), width=200)
    drift.show(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class TestComparedWith:
    def test_is_what_was_deployed_last_not_an_edit_since(self, session, compared):
        deployed(session)
        deployed(session, EDITED, outcome="failed")
        report = drift.find(session)
        assert json.loads(compared[0]["cslr:platform"]) == {"redis": {"memory": "512m"}}
        assert compared[0]["cslr:preflight"] == "false"
        assert report.edited
        assert report.deployed is not None
        assert report.deployed.number == 1

    def test_is_the_stack_file_where_no_deployment_is_recorded(self, session, compared):
        report = drift.find(session)
        assert json.loads(compared[0]["cslr:platform"]) == {"redis": {"memory": "1g"}}
        assert (report.deployed, report.edited) == (None, False)

    def test_is_nothing_where_nothing_is_deployed(self, session, monkeypatch):
        monkeypatch.setattr(deploy.Session, "maker", None)
        monkeypatch.setattr(deploy, "containers", lambda _: [])
        with pytest.raises(WsError, match="is not deployed"):
            drift.find(session)

    def test_is_nothing_where_nothing_is_ever_deployed(self, session):
        builds = Session(configured("config:\n  cslr:matrix: {}\n"), session.console)
        with pytest.raises(WsError, match="only builds images"):
            drift.find(builds)


class TestTold:
    def test_field_by_field_with_the_way_out(self, session, compared):
        deployed(session)
        said = printed(drift.find(session))
        assert "container  cslr-dev-redis  memory  512m → 1g" in said
        assert "1 difference to number 1 of `ws history`. Undo: docker rm -f cslr-dev-redis && ws up -s dev" in said

    @pytest.mark.parametrize(("field", "difference"), [("state", "running → exited"), ("", "is missing")])
    def test_with_up_alone_where_that_is_enough(self, field, difference):
        found = Drift(kind="container", name="cslr-dev-redis", field=field, difference=difference)
        assert "Undo: ws up -s dev" in printed(drift.Report(stack="dev", observation=Observation(drifts=(found,))))

    def test_what_is_not_deployed_yet_apart(self, session, compared):
        deployed(session)
        assert "not deployed yet (cslr-dev-health)" in printed(drift.find(session))

    def test_that_there_is_none(self):
        said = printed(drift.Report(stack="dev", observation=NOTHING))
        assert said == "No drift: the host is as the stack file says\n"


class TestExitCode:
    @pytest.fixture
    def reported(self, session, monkeypatch):
        def prepare(observation: Observation) -> None:
            monkeypatch.setattr(commands, "_session", lambda _: session)
            monkeypatch.setattr(drift, "find", lambda _: drift.Report(stack="dev", observation=observation))

        return prepare

    def test_is_0_without_3_with_drift_and_1_for_a_failure(self, reported, session, monkeypatch, capsys):
        reported(NOTHING)
        assert cli.main(["drift"]) == 0
        reported(FOUND)
        assert cli.main(["drift"]) == 3

        def fail(_session: Session) -> None:
            raise WsError("stack dev is not deployed.")

        monkeypatch.setattr(drift, "find", fail)
        assert cli.main(["drift"]) == 1

    def test_json_is_all_of_stdout(self, reported, capsys):
        reported(FOUND)
        assert cli.main(["drift", "--json"]) == 3
        found = json.loads(capsys.readouterr().out)
        assert found["drift"] == [
            {"kind": "container", "name": "cslr-dev-redis", "field": "memory", "difference": "512m → 1g"}
        ]
        assert found["pending"] == ["cslr-dev-health"]


class TestPage:
    """What the home page is told."""

    def test_is_what_differs_with_its_time_and_without_values(self, session, compared, monkeypatch):
        deployed(session)
        monkeypatch.setattr(drift, "MOST_TOLD", 1)
        other = Drift(kind="container", name="cslr-dev-redis", field="memory", difference="512m → 1g")
        found = drift.Report(stack="dev", observation=Observation(drifts=(*FOUND.drifts, other, other)))
        drift.tell(replace(drift.find(session), observation=found.observation), session.identity)
        text = (stack_folder(session.identity) / "facts/drift.json").read_text()
        told = load(DriftFact, text)
        assert told.differences == (Difference(kind="container", name="cslr-dev-redis", field="memory"),)
        assert (told.compared_with, told.left_out) == (1, 2)
        assert abs(told.time - time.time()) < 3600
        assert "512m" not in text

    def test_is_written_by_the_command(self, session, compared, monkeypatch):
        monkeypatch.setattr(commands, "_session", lambda _: session)
        with pytest.raises(typer.Exit):
            commands.drift("dev")
        assert (stack_folder(session.identity) / "facts/drift.json").is_file()
