"""Tables without borders, for all commands."""

from collections.abc import Collection, Sequence

from rich.table import Table


def plain_table(columns: Sequence[str], *, right: Collection[str] = (), header: str = "table.header") -> Table:
    """An empty table; columns whose names are in `right` hold numbers."""
    shown = Table(box=None, pad_edge=False, header_style=header)
    for column in columns:
        shown.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return shown
