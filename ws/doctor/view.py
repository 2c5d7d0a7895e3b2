"""Output of `ws doctor`."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from ws.doctor.checks import Row, State
from ws.tables import plain_table

MARKS = {State.OK: ("✓", "green"), State.WARN: ("!", "yellow"), State.FAIL: ("✗", "bold red")}


def table(found: Iterable[Row]) -> Table:
    """`ws doctor`."""
    shown = plain_table(("", "Check", "State"))
    for row in found:
        mark, style = MARKS[row.state]
        detail = Text(row.detail)
        if row.remedy:
            detail.append(f"\n{row.remedy}", style="yellow")
        shown.add_row(Text(mark, style=style), row.name, detail)
    return shown
