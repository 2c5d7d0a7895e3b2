"""What people and programs see of an entry."""

import io
import json

import pytest
from rich.console import Console

from ws.logs.entry import Entry
from ws.logs.printing import harmless, printer, short


def shown(*entries: Entry, terminal: bool = False, as_json: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, color_system="standard" if terminal else None, width=80)
    show = printer(console, ["redis", "ray-cpu"], as_json=as_json)
    for entry in entries:
        show(entry)
    return file.getvalue()


def entry(text: str, *, service: str = "redis", source: str = "container") -> Entry:
    return Entry(1.5, service, service, source, "", "", "info", text)


class TestHarmless:
    @pytest.mark.parametrize(
        ("line", "seen"),
        [
            ("\x1b[2J\x1b[Hgone", "\\x1b[2J\\x1b[Hgone"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("a\x08b\x00", "a\\x08b\\x00"),
            ("\x9b31m", "\\x9b31m"),
            ("evil\u202egpj", "evil\\u202egpj"),
            ("\x1b[31mred\x1b[0m\tand ü", "\x1b[31mred\x1b[0m\tand ü"),
            ("10 %\r50 %\r100 %\r", "100 %"),
            ("", ""),
        ],
    )
    def test_control_characters_are_written_out_and_colours_stay(self, line, seen):
        assert harmless(line) == seen


class TestPeople:
    def test_in_a_pipe_there_are_no_colours(self):
        assert shown(entry("\x1b[31mred\x1b[0m")) == "redis   │ red\n"

    def test_on_a_terminal_there_are(self):
        assert "\x1b[31mred" in shown(entry("\x1b[31mred\x1b[0m"), terminal=True)

    def test_each_line_says_where_it_is_from(self):
        text = shown(entry("a\nb", service="ray-cpu", source="worker-" + "ab" * 28 + "-01000000-12.out"))
        assert text == "ray-cpu │ worker-12.out: a\nray-cpu │ worker-12.out: b\n"

    @pytest.mark.parametrize(
        ("source", "seen"),
        [
            ("raylet.out", "raylet.out"),
            ("old/worker-abcd-01000000-12.err", "old/worker-12.err"),
            ("python-core-worker-abcd_12.log", "python-core-worker-12.log"),
            ("job-driver-raysubmit_A.log", "job-driver-raysubmit_A.log"),
        ],
    )
    def test_long_names_are_short(self, source, seen):
        assert short(source) == seen

    @pytest.mark.parametrize("terminal", [False, True])
    def test_a_files_name_cannot_change_the_terminal(self, terminal):
        text = shown(entry("x", service="ray-cpu", source="\x1b[2J\x1b]0;title\x07.log"), terminal=terminal)
        assert "\\x1b[2J\\x1b]0;title\\x07.log: " in text


class TestJson:
    def test_is_one_object_a_line(self):
        lines = shown(entry("a\nb\x1b[0m\x07"), entry("c"), as_json=True).splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["a\nb\x07", "c"]
        assert json.loads(lines[0]) == {
            "time": "1970-01-01T00:00:01.500Z", "service": "redis", "node": "redis", "source": "container", "job": "",
            "task": "", "level": "info", "text": "a\nb\x07",
        }  # fmt: skip
        assert "\x07" not in lines[0]
