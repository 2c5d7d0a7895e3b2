"""The display of a run: one line per event in a log, and the work in progress on a terminal."""

import io

import pytest
from rich.console import Console

from build_report.units import whole_duration
from embedded_engine.deployment import Action, Change
from embedded_engine.run import Result
from ws import changes, display


def change(action: Action = Action.CREATE, name: str = "redis-container", **fields) -> Change:
    return Change(urn=f"urn::{name}", type="docker:index/container:Container", name=name, action=action, **fields)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestPlainDisplay:
    def test_start_and_end_are_a_line_each(self, console):
        shown, created = display.PlainDisplay(console), change()
        shown.started(created)
        shown.ended(created)
        assert text_of(console).splitlines() == [
            "+ redis-container container: creating",
            "+ redis-container container created",
        ]

    def test_what_stays_as_it_is_says_nothing(self, console):
        display.PlainDisplay(console).ended(change(Action.SAME))
        assert text_of(console) == ""

    def test_progress_is_a_line_at_most_every_ten_seconds(self, console, monkeypatch):
        now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        shown, built = display.PlainDisplay(console), change()
        shown.started(built)
        for now in (101.0, 105.0, 111.0, 112.0, 122.0):
            shown.progress(built, f"step at {now:.0f}")
        assert text_of(console).splitlines()[1:] == [
            "  redis-container: step at 111 (11 s)",
            "  redis-container: step at 122 (22 s)",
        ]

    def test_an_interrupt_says_what_it_waits_for(self, console):
        shown, built, done = display.PlainDisplay(console), change(), change(name="mlflow-container")
        shown.started(built)
        shown.started(done)
        shown.progress(built, "stopping")
        shown.ended(done)
        shown.interrupted()
        assert text_of(console).splitlines()[-1] == (
            "Interrupted: waiting for what is under way: redis-container (stopping)"
        )
        assert [one.name for one in shown.begun] == ["redis-container", "mlflow-container"]

    def test_an_interrupt_before_anything_was_begun_waits_for_nothing(self, console):
        shown = display.PlainDisplay(console)
        shown.interrupted()
        assert (text_of(console), shown.begun) == ("Interrupted\n", [])

    def test_failure_is_said_even_where_nothing_started(self, console):
        display.PlainDisplay(console).ended(change(error="no such image"))
        assert "✗ redis-container container failed" in text_of(console)

    def test_output_of_programs_is_no_markup(self, console):
        shown, built = display.PlainDisplay(console), change(name="[red]x[/nonsense]")
        shown.started(built)
        assert "[red]x[/nonsense]" in text_of(console)


class TestLiveDisplay:
    def test_finished_resources_stay_above_those_under_way(self):
        terminal = {"TERM": "xterm"}
        console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, _environ=terminal)
        first, second = change(), change(name="mlflow-container")
        with display.LiveDisplay(console) as shown:
            shown.started(first)
            shown.started(second)
            shown.progress(second, "waiting until it is healthy, 3 s")
            shown.ended(first)
            shown._live.refresh()
        assert "redis-container container created" in text_of(console)
        assert "waiting until it is healthy, 3 s" in text_of(console)

    def test_a_terminal_gets_it_and_a_pipe_does_not(self):
        for kind, shown in (("xterm", display.LiveDisplay), ("dumb", display.PlainDisplay)):
            terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": kind})
            assert isinstance(display.display_on(terminal), shown)
        assert isinstance(display.display_on(Console(file=io.StringIO())), display.PlainDisplay)

    def test_no_color_is_honoured(self, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        console = Console(file=io.StringIO(), force_terminal=True)
        console.print(display.outcome(change(error="x"), 2))
        assert "\x1b[31m" not in text_of(console)


@pytest.mark.parametrize(("seconds", "text"), [(1, "1 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s")])
def test_durations_are_in_words(seconds, text):
    assert whole_duration(seconds) == text


class TestPreview:
    RESULT = Result(
        changes=[
            change(Action.REPLACE, reasons=["memory: 512 → 1024"]),
            change(Action.SAME, "health-container"),
            change(Action.REPAIR, "mlflow-container", reasons=["is not running"]),
            change(Action.DELETE, "old-container", reasons=["is no longer in the program"]),
        ]
    )

    def test_each_change_has_symbol_and_reason_and_the_rest_only_counts(self, console):
        changes.show_preview(self.RESULT, console)
        assert text_of(console).splitlines() == [
            "± redis-container container",
            "    memory: 512 → 1024",
            "⟳ mlflow-container container",
            "    is not running",
            "- old-container container",
            "    is no longer in the program",
            "1 to replace, 1 to repair, 1 to delete, 1 unchanged",
        ]

    def test_many_items_of_one_list_are_counted(self):
        reasons = [f"triggers: {sign} {number}" for sign in "-+" for number in range(3)]
        assert changes.condensed(["memory: 1 → 2", *reasons]) == ["memory: 1 → 2", "triggers: 3 removed, 3 added"]
        assert changes.condensed(reasons[:3]) == reasons[:3]

    def test_json_has_the_changes_and_the_counts(self):
        told = changes.as_json(self.RESULT)
        assert [entry["action"] for entry in told["changes"]] == ["replace", "repair", "delete"]
        assert told["counts"] == {"replace": 1, "same": 1, "repair": 1, "delete": 1}
        assert told["ok"] is True

    def test_failures_are_counted_and_shown_in_full(self, console):
        result = Result(changes=[change(error="line 1\nline 2"), change(name="later-container", skipped=True)])
        changes.show_failures(result, console)
        assert text_of(console).strip() == "✗ redis-container (container) failed:\nline 1\nline 2"
        assert changes.counts(result, planned=False) == "1 failed, 1 not reached"
