"""Quoted text is printed as text."""

import pytest

from coordination.printable import printable


@pytest.mark.parametrize("text", ["", "a\tb\nc", "Ä 日本 🤟", "\\x1b", "a\u200db"])
def test_what_a_terminal_shows_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"), ("\x9b1m", "\\x9b1m"), ("a\rb", "a\\rb"), ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
        ("\u202eexe", "\\u202eexe"), ("\u2028", "\\u2028"), ("\ud800", "\\ud800"), ("\udcff", "\\udcff"),
    ],
)  # fmt: skip
def test_what_it_would_obey_is_an_escape(text, shown):
    assert printable(text) == shown
    printable(text).encode()
