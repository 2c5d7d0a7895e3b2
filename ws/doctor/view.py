"""How `ws doctor` shows what it found."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from ws.doctor.checks import Row, State

MARKS = {State.OK: ("✓", "green"), State.WARN: ("!", "yellow"), State.FAIL: ("✗", "bold red")}


def table(found: Iterable[Row]) -> Table:
    """`ws doctor`."""
    shown = Table(box=None, pad_edge=False)
    for column in ("", "Check", "State"):
        shown.add_column(column, overflow="fold")
    for row in found:
        mark, style = MARKS[row.state]
        detail = Text(row.detail)
        if row.remedy:
            detail.append(f"\n{row.remedy}", style="yellow")
        shown.add_row(Text(mark, style=style), row.name, detail)
    return shown
