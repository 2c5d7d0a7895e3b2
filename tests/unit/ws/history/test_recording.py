"""What a command leaves in the history, however it ends."""

import io
from typing import NoReturn

import pytest
import typer
from rich.console import Console

from embedded_engine.changes import Action, Change, Display, Result
from stack import new_record
from stack.history import History, Operation, Outcome, RunImage
from testing.stack_files import configured
from ws.consent import DeclinedError
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.errors import WsError
from ws.history import recording
from ws.history.recording import recorded

CONTAINER = "docker:index/container:Container"


def change(name: str, action: Action, error: str | None = None) -> Change:
    return Change(urn=name, type=CONTAINER, name=name, action=action, error=error)


@pytest.fixture
def session(tmp_path, monkeypatch) -> Session:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(new_record, "commit", lambda: "abc")
    monkeypatch.setattr(new_record, "FOLDER", tmp_path)
    monkeypatch.setattr(
        recording, "running_images", lambda _: {"redis": RunImage(identifier="sha256:1", tags=("r:1",))}
    )
    text = "config:\n  cslr:platform: {}\n  cslr:redisPassword: hunter2\n"
    return Session(configured(text, environment={"SUDO_USER": "anna"}), Console(file=io.StringIO()))


def records(session: Session):
    return History(session.identity).records()


def run(session: Session, error: BaseException | None = None, result: Result | None = None, operation=Operation.UP):
    with recorded(session, operation, "embedded") as kept:
        kept.result = result
        if error:
            raise error


class TestDone:
    def test_keeps_who_what_changed_files_and_images(self, session):
        result = Result(changes=[change("redis", Action.REPLACE), change("health", Action.SAME)])
        run(session, result=result)
        (record,) = records(session)
        assert record.who.startswith("anna")
        assert record.outcome is Outcome.DONE
        assert record.counts == {"replace": 1, "same": 1}
        assert [(one.name, one.kind, one.action) for one in record.changed] == [("redis", "container", "replace")]
        assert record.images["redis"].tags == ("r:1",)
        assert record.masked == ("cslr:redisPassword",)
        assert "hunter2" not in record.model_dump_json()
        assert record.process is None

    def test_runs_meanwhile(self, session):
        with recorded(session, Operation.UP, "embedded"):
            assert records(session)[0].outcome is Outcome.RUNNING

    def test_of_a_down_keeps_no_files(self, session):
        run(session, result=Result(changes=[change("redis", Action.DELETE)]), operation=Operation.DOWN)
        assert (records(session)[0].files, records(session)[0].images) == ({}, {})

    def test_names_no_more_resources_than_a_record_holds(self, session, monkeypatch):
        monkeypatch.setattr(recording, "MOST_CHANGES", 2)
        run(session, result=Result(changes=[change(str(n), Action.CREATE) for n in range(5)]))
        assert len(records(session)[0].changed) == 2
        assert records(session)[0].counts == {"create": 5}


class TestNotDone:
    def test_a_failure_is_kept_with_the_first_line_of_its_reason(self, session):
        result = Result(changes=[change("redis", Action.CREATE, "is not healthy\nlog: PASSWORD=x")])
        with pytest.raises(WsError):
            run(session, WsError("1 failed"), result)
        (record,) = records(session)
        assert (record.outcome, record.error) == (Outcome.FAILED, "redis: is not healthy")
        assert record.changed[0].failed

    def test_so_is_an_error_before_anything_was_changed(self, session):
        with pytest.raises(WsError):
            run(session, WsError("no such thing"))
        assert (records(session)[0].outcome, records(session)[0].error) == (Outcome.FAILED, "no such thing")

    def test_an_interrupt_is_kept(self, session):
        with pytest.raises(KeyboardInterrupt):
            run(session, KeyboardInterrupt())
        assert records(session)[0].outcome is Outcome.INTERRUPTED

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), WsError("the engine was killed")])
    def test_a_run_without_a_result_keeps_what_it_had_begun(self, session, error):
        class Broken:
            def __init__(self, display: Display) -> None:
                self._display = display

            def up(self) -> NoReturn:
                for one in (change("redis", Action.REPLACE), change("health", Action.CREATE, "was interrupted")):
                    self._display.started(one)
                    self._display.ended(one)
                raise error

        session._engine = lambda _choice, display, *_: Broken(display)
        with pytest.raises(type(error)), recorded(session, Operation.UP, "embedded"):
            session.run(Choice(name=EngineName.EMBEDDED), lambda engine: engine.up())
        (record,) = records(session)
        assert [(one.name, one.action, one.failed) for one in record.changed] == [
            ("redis", "replace", False), ("health", "create", True),
        ]  # fmt: skip
        assert record.counts == {"replace": 1}

    @pytest.mark.parametrize("error", [DeclinedError("Nothing was changed."), typer.Exit(1), typer.Abort()])
    def test_what_the_user_declines_leaves_no_record(self, session, error):
        with pytest.raises(type(error)):
            run(session, error)
        assert records(session) == []

    def test_a_state_folder_that_takes_no_record_does_not_stop_the_run(self, session, monkeypatch):
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(History, "begin", full)
        run(session, result=Result(changes=[]))
        assert "not in the history" in session.console.file.getvalue()
