"""Lines of containers' logs."""

import pytest

from entrypoints.log import logger


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a user named \x1b]0;pwned\x07", r"[queue] a user named \x1b]0;pwned\x07"),
        ("overwritten\rby this \x9b2J\x7f", r"[queue] overwritten\x0dby this \x9b2J\x7f"),
        ("Übung\t1\nat line 2", "[queue] Übung\t1\nat line 2"),
    ],
)
def test_control_characters_do_not_reach_a_terminal(capsys, message, line):
    logger("queue")(message)
    assert capsys.readouterr().out == f"{line}\n"
