"""Lines that stay together, and times of lines that have none."""

import pytest

from tests.unit.ws.logs.ray_sessions import CLOCK
from ws.logs import grouping
from ws.logs.entry import Entry
from ws.logs.grouping import Grouper
from ws.logs.kinds import CONTAINER_KIND, KINDS

TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "a.py", line 1, in f',
    "KeyError: 'a'",
    "",
    "During handling of the above exception, another exception occurred:",
    "",
    "Traceback (most recent call last):",
    '  File "a.py", line 2, in f',
    "ValueError: b",
)


def entries(*lines: str, joined: bool = False, stamps: bool = False) -> list[Entry]:
    kind = KINDS[-1] if joined else CONTAINER_KIND
    grouper = Grouper(Entry(0.0, "s", "n", "f", "", "", "", ""), kind, undated=99.0)
    found: list[Entry] = []
    for number, line in enumerate(lines):
        found += grouper.feed(line, float(number) if stamps else None)
    return [*found, *grouper.flush()]


def texts(found: list[Entry]) -> list[str]:
    return [entry.text for entry in found]


class TestTogether:
    def test_a_chained_traceback_is_one_entry(self):
        found = entries("before", *TRACEBACK, "after", stamps=True)
        assert texts(found) == ["before", "\n".join(TRACEBACK), "after"]
        assert [entry.level for entry in found] == ["", "error", ""]
        assert found[1].time == 1.0

    @pytest.mark.parametrize("logged", ["2026-11-28 03:00:00,000 INFO failed", "ERROR:root:failed"])
    def test_a_traceback_belongs_to_the_line_that_logged_it(self, logged):
        assert texts(entries(logged, *TRACEBACK, "printed")) == ["\n".join([logged, *TRACEBACK]), "printed"]

    def test_printed_lines_are_entries_of_their_own(self):
        assert texts(entries("a", "b", "  indented", "c")) == ["a", "b\n  indented", "c"]

    def test_in_a_log_of_ray_only_a_time_begins_an_entry(self):
        first, second = "2026-11-28 03:00:00,000 I", "2026-11-28 03:00:01,000 I"
        assert texts(entries(first, "a", "", "b", second, joined=True)) == [f"{first}\na\n\nb", second]

    def test_an_entry_has_a_largest_size(self, monkeypatch):
        monkeypatch.setattr(grouping, "MOST_LINES", 3)
        assert [entry.lines for entry in entries("2026-11-28 03:00:00,000", *"abcde", joined=True)] == [3, 3]


class TestTimes:
    def test_without_one_a_line_has_that_before_it(self):
        found = entries("early", "2026-11-28 03:00:00,000 x", "later")
        assert [entry.time for entry in found] == [CLOCK, CLOCK, CLOCK]

    def test_without_any_it_has_the_files(self):
        assert [entry.time for entry in entries("a", "b")] == [99.0, 99.0]

    def test_never_go_back(self):
        found = entries("2026-11-28 03:00:05,000 x", "2026-11-28 03:00:00,000 x")
        assert [entry.time for entry in found] == [CLOCK + 5, CLOCK + 5]

    def test_waiting_lines_are_few(self, monkeypatch):
        monkeypatch.setattr(grouping, "MOST_UNDATED", 2)
        assert len(entries(*"abcdef")) == 6


class TestMarks:
    def test_of_an_actor_are_its_name(self):
        found = entries(":job_id:02000000", ":actor_name:Counter", "one")
        assert [(entry.job, entry.task, entry.text) for entry in found] == [("02000000", "Counter", "one")]

    @pytest.mark.parametrize("line", [":smile:", "a:job_id:1", ":job_id"])
    def test_others_are_text(self, line):
        assert texts(entries(line)) == [line]
