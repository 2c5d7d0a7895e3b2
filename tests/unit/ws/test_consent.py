"""Asking, refusing and waiting before running work is ended."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import typer
from rich.console import Console

from stack.running_work import Kind, Work
from ws import cli, consent
from ws.consent import Command, Consent, DeclinedError
from ws.cost import Cost, End
from ws.drain_option import parse_duration, with_time
from ws.progress import progress

JOB = Work(kind=Kind.JOB, identifier="raysubmit_x", what="python train.py")
LATER = Work(kind=Kind.JOB, identifier="raysubmit_later", what="python eval.py")
DETACHED = Work(kind=Kind.ACTOR, identifier="1", what="counter")
TASK = Work(kind=Kind.TASK, identifier="2", what="train", part=True)
NOTEBOOK = Work(kind=Kind.NOTEBOOK, identifier="s_1", what="foo.py")
NOTHING = Cost()


def costs(*works: Work, notices: tuple[str, ...] = ()) -> Cost:
    return Cost(ends=(End(works=works, because="ray-cpu is replaced"),) if works else (), notices=notices)


UNKNOWN = Cost(ends=(End(works=(), because="ray-cpu is replaced", not_asked="Ray's dashboard does not answer"),))


class Person:
    """A user at a terminal, or no terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[bool] = []
        self.questions: list[str] = []
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=200)
        self._patch = monkeypatch
        monkeypatch.setattr(consent, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(consent, "SETTLE_SECONDS", 0.05)

    def sits_there(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.console = Console(file=self.output, width=200, force_terminal=True)
        self._patch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        self._patch.setattr(typer, "confirm", self._confirm)

    def _confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.answers.pop(0)

    def run(self, *seen: Cost, yes: bool = False, drain: float | None = None, words: str = "ws up") -> Consent:
        """A run that finds these costs one after the other; the last one stays."""
        views: Iterator[Cost] = iter(seen)
        last: list[Cost] = []

        def look() -> Cost:
            last[:] = [next(views, last[0] if last else NOTHING)]
            return last[0]

        asking = Consent(command=Command(words=words, stack="lab"), console=self.console, yes=yes, drain=drain)
        asking.obtain(look)
        return asking

    @property
    def told(self) -> str:
        return self.output.getvalue()


@pytest.fixture
def person(monkeypatch) -> Person:
    return Person(monkeypatch)


class TestWithoutATerminal:
    def test_nothing_that_runs_is_no_question(self, person):
        person.run(NOTHING)
        assert person.told == ""

    def test_what_runs_is_named_and_nothing_is_changed(self, person):
        with pytest.raises(DeclinedError) as refused:
            person.run(costs(JOB, NOTEBOOK))
        assert "1 running job, 1 notebook session would end: ray-cpu is replaced" in person.told
        assert "raysubmit_x: python train.py" in person.told
        assert str(refused.value).splitlines() == [
            "Nothing was changed: 1 running job, 1 notebook session would end, and there is no terminal to ask on.",
            "  Wait for its end:   ws up -s lab --drain 2h",
            "  End it:             ws up -s lab --yes",
        ]

    def test_a_driver_that_is_just_ending_is_no_reason(self, person):
        person.run(costs(JOB), NOTHING)
        assert person.told == ""

    def test_the_remedy_keeps_the_engine_that_was_given(self):
        command = Command(words="ws up", stack="lab", engine="pulumi")
        assert command.with_option("--yes") == "ws up -s lab --engine pulumi --yes"

    def test_tasks_alone_are_not_ended_either(self, person):
        with pytest.raises(DeclinedError, match="1 running task would end"):
            person.run(costs(TASK))

    def test_yes_ends_it_and_names_it(self, person):
        person.run(costs(JOB), yes=True)
        assert "raysubmit_x" in person.told

    def test_what_nobody_knows_is_not_ended(self, person):
        with pytest.raises(DeclinedError, match="running work may end"):
            person.run(UNKNOWN)

    def test_what_cannot_be_asked_is_ended_by_yes(self, person):
        person.run(UNKNOWN, yes=True)

    def test_a_remark_is_said_and_is_no_question(self, person):
        person.run(costs(notices=("redis is replaced; running work continues",)))
        assert "running work continues" in person.told

    def test_only_a_detached_actor_is_not_worth_waiting_for(self, person):
        with pytest.raises(DeclinedError) as refused:
            person.run(costs(DETACHED))
        assert "--drain" not in str(refused.value)


class TestOnATerminal:
    def test_no_ends_nothing(self, person):
        person.sits_there(False)
        with pytest.raises(DeclinedError, match=r"Nothing was changed\."):
            person.run(costs(JOB))

    def test_an_interrupt_of_the_question_is_a_no(self, person, monkeypatch):
        """A rolling replacement may have replaced nodes before, which it must tell and record."""

        def interrupted(_question: str) -> bool:
            raise typer.Abort

        person.sits_there()
        monkeypatch.setattr(typer, "confirm", interrupted)
        with pytest.raises(DeclinedError, match=r"Nothing was changed\."):
            person.run(costs(JOB))

    def test_no_line_of_progress_overwrites_the_question(self, person, monkeypatch):
        person.sits_there()
        person.console = Console(file=person.output, force_terminal=True, _environ={"TERM": "xterm"})
        hidden, shown = "\x1b[?25l", "\x1b[?25h"  # the cursor, while such a line changes and after it

        def confirm(_question: str) -> bool:
            assert person.told.rfind(hidden) < person.told.rfind(shown)
            return True

        monkeypatch.setattr(typer, "confirm", confirm)
        with progress(person.console):
            person.run(costs(JOB))
            assert person.told.rfind(shown) < person.told.rfind(hidden), "it goes on"
        assert person.told.rfind(hidden) < person.told.rfind(shown)

    def test_yes_goes_on(self, person):
        person.sits_there(True)
        person.run(costs(JOB))
        assert person.questions == ["End it and continue?"]

    def test_a_job_that_begins_while_the_question_stands_is_asked_for_as_well(self, person):
        person.sits_there(True, False)
        with pytest.raises(DeclinedError):
            person.run(costs(JOB), costs(JOB, LATER))
        assert "raysubmit_later" in person.told

    def test_until_nothing_new_is_there(self, person):
        person.sits_there(True, True)
        agreed = person.run(costs(JOB), costs(JOB, LATER)).agreed
        assert {identifier for _, identifier in agreed} == {"raysubmit_x", "raysubmit_later"}

    def test_one_that_ends_meanwhile_is_no_new_question(self, person):
        person.sits_there(True)
        person.run(costs(JOB, LATER), costs(JOB))


class TestWhenItComesToIt:
    def test_what_was_agreed_to_may_end(self, person):
        person.sits_there(True)
        assert person.run(costs(JOB)).objection(costs(JOB)) == ""

    def test_what_began_since_may_not(self, person):
        person.sits_there(True)
        objection = person.run(costs(JOB)).objection(costs(JOB, LATER))
        assert "1 running job began meanwhile (raysubmit_later: python eval.py)" in objection
        assert objection.endswith("Run it again: ws up -s lab")

    def test_what_began_where_nothing_ran_may_not_either(self, person):
        assert person.run(NOTHING).objection(costs(LATER))

    def test_a_new_task_of_an_old_job_may(self, person):
        person.sits_there(True)
        assert person.run(costs(JOB)).objection(costs(JOB, TASK)) == ""

    def test_a_task_where_nothing_ran_may_not(self, person):
        assert person.run(NOTHING).objection(costs(TASK))

    def test_yes_means_all(self, person):
        assert person.run(NOTHING, yes=True).objection(costs(LATER)) == ""


class TestDrain:
    def test_goes_on_once_all_has_ended(self, person):
        person.run(costs(JOB, NOTEBOOK), costs(JOB), NOTHING, drain=60)
        assert (
            "Waiting for 1 running job, 1 notebook session (raysubmit_x: python train.py; notebook foo.py)"
            in person.told
        )
        assert "All work has ended" in person.told

    def test_takes_those_that_begin_meanwhile_as_well(self, person):
        person.run(costs(JOB), costs(LATER), NOTHING, drain=60)
        assert "All work has ended" in person.told

    @pytest.mark.parametrize("yes", [False, True])
    def test_that_takes_too_long_changes_nothing(self, person, yes):
        with pytest.raises(DeclinedError) as refused:
            person.run(costs(JOB), drain=0.05, yes=yes)
        assert "Nothing was changed: not ended after 0 s: 1 running job" in str(refused.value)
        assert "raysubmit_x: python train.py" in str(refused.value)

    def test_that_is_interrupted_changes_nothing(self, person, monkeypatch):
        def interrupt(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("ws.consent.time.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            person.run(costs(JOB), drain=60)
        assert "Nothing was changed." in person.told

    def test_of_what_never_ends_says_so_at_once(self, person):
        with pytest.raises(DeclinedError, match="1 detached actor will not end by itself"):
            person.run(costs(JOB, DETACHED), drain=60)

    def test_with_yes_ends_that_after_the_rest(self, person):
        person.run(costs(JOB, DETACHED), costs(DETACHED), drain=60, yes=True)

    def test_a_person_is_asked_for_that_before_the_waiting(self, person):
        person.sits_there(True)
        person.run(costs(JOB, DETACHED), costs(DETACHED), drain=60)
        assert person.questions == ["Wait for the rest, then end it?"]

    def test_waits_for_one_that_cannot_be_asked(self, person):
        person.run(UNKNOWN, costs(JOB), NOTHING, drain=60)

    def test_names_few_of_many(self, person):
        many = [replace(JOB, identifier=f"j{number}") for number in range(50)]
        person.run(costs(*many), NOTHING, drain=60)
        assert "… 47 more" in person.told

    def test_of_nothing_is_no_waiting(self, person):
        person.run(NOTHING, drain=60)
        assert person.told == ""


class TestOption:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("600", 600),
            ("90s", 90),
            ("30m", 1800),
            ("2h", 7200),
            ("1h30m", 5400),
            ("1d", 86400),
            ("0", 0),
            (" 5 M ", 300),
        ],
    )
    def test_a_time(self, text, seconds):
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "soon", "2 weeks", "-5", "h", "1.5h", "1h or so"])
    def test_what_is_no_time(self, text):
        with pytest.raises(typer.BadParameter, match="write for example"):
            parse_duration(text)

    @pytest.mark.parametrize(
        ("given", "read"),
        [
            (["up", "--drain"], ["up", "--drain=1h"]),
            (["up", "--drain", "-s", "lab"], ["up", "--drain=1h", "-s", "lab"]),
            (["up", "--drain", "30m", "-y"], ["up", "--drain", "30m", "-y"]),
            (["up", "--drain=5"], ["up", "--drain=5"]),
            (["ps"], ["ps"]),
            ([], []),
        ],
    )
    def test_may_stand_alone(self, given, read):
        assert with_time(given) == read

    @pytest.mark.parametrize("command", ["up", "down"])
    def test_a_wrong_one_is_a_wrong_call_before_anything_is_looked_at(self, command, monkeypatch, capsys):
        monkeypatch.setattr("stack.running_work.look", lambda *_: pytest.fail("it looked"))
        assert cli.main([command, "--drain=soon"]) == 2
        assert "write for example" in capsys.readouterr().err


def test_everything_has_a_word() -> Any:
    for work in (JOB, DETACHED, TASK, NOTEBOOK):
        assert str(End(works=(work,), because="x")).startswith("1 ")
