"""What `ws` prints of others' text: no terminal obeys it."""

import io

from rich.table import Table
from rich.text import Text

from ws.terminal import PlainConsole

HOSTILE = "a\x1b[2J\x9b\u202eb\ud800"
SHOWN = "a\\x1b[2J\\x9b\\u202eb\\ud800"


def printed(what: object, *, terminal: bool = False) -> str:
    file = io.TextIOWrapper(raw := io.BytesIO(), encoding="utf-8")
    console = PlainConsole(file=file, force_terminal=terminal, width=80, color_system="standard" if terminal else None)
    console.print(what, soft_wrap=True)
    file.flush()
    return raw.getvalue().decode()


def test_a_line_shows_escapes():
    assert printed(Text(HOSTILE)) == f"{SHOWN}\n"


def test_a_table_shows_escapes():
    table = Table("name")
    table.add_row(HOSTILE)
    shown = printed(table)
    assert "a\\x1b" in shown
    assert "\x1b" not in shown


def test_the_consoles_own_colours_stay():
    assert printed(Text(HOSTILE, style="red"), terminal=True) == f"\x1b[31m{SHOWN}\x1b[0m\n"
