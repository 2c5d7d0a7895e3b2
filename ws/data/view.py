"""Datasets as tables, sentences and JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from build_report.units import NOTHING, moment, size
from ws.data.datasets import Dataset, Datasets
from ws.data.files import Difference, Record, Size
from ws.tables import plain_table

COLUMNS = ("Name", "Source", "Hosts", "Access", "Files", "Size", "Mounted at")
MOST_PATHS = 20  # of each kind that are shown
KINDS = ("missing", "extra", "changed", "unreadable")


def datasets_table(datasets: Datasets) -> Table:
    """One line for each dataset."""
    table = plain_table(COLUMNS, right=("Files", "Size"))
    for name, dataset in datasets.found.items():
        files, count = _amount(dataset, datasets.size(name))
        table.add_row(
            Text(name, style="bold"),
            Text(dataset.settings.source),
            Text(", ".join(dataset.hosts) or "this host"),
            "read-only" if dataset.settings.read_only else Text("writable", style="yellow"),
            files,
            count,
            Text("\n".join(f"{place} ({', '.join(users)})" for place, users in dataset.targets.items()) or NOTHING),
        )
    return table


def _amount(dataset: Dataset, found: Size | None) -> tuple[Text, Text]:
    if found is None:
        return Text("no folder", style="red") if dataset.here else Text(NOTHING), Text(NOTHING)
    more = "" if found.complete else "> "
    return Text(f"{more}{found.files}"), Text(f"{more}{size(found.bytes)}")


def datasets_json(datasets: Datasets) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "name": name,
            "source": dataset.settings.source,
            "read_only": dataset.settings.read_only,
            "hosts": list(dataset.hosts),
            "here": dataset.here,
            "targets": {place: list(users) for place, users in dataset.targets.items()},
            "size": asdict(found) if (found := datasets.size(name)) else None,
        }
        for name, dataset in datasets.found.items()
    ]


def recorded(name: str, record: Record, again: str, *, asked: bool) -> Text:
    """That a dataset was recorded, as asked or because there was nothing to compare it with."""
    why = "" if asked else f"Nothing was compared, since there was no record of {record.source}. "
    return Text(
        f"Recorded {name}: {len(record.sums)} files, {size(record.size)}. {why}"
        f"To see what changes from now on: {again}",
        style="" if asked else "yellow",
    )


def verified(name: str, record: Record) -> Text:
    """That a dataset is as recorded."""
    return Text(
        f"{name} is as recorded on {moment(record.moment)}: {len(record.sums)} files, {size(record.size)}.",
        style="green",
    )


def difference_lines(difference: Difference) -> Iterator[Text]:
    """What differs, each kind with its first paths."""
    for kind in KINDS:
        paths: tuple[str, ...] = getattr(difference, kind)
        for path in paths[:MOST_PATHS]:
            yield Text(f"{kind:10}  {_printable(path)}")
        if len(paths) > MOST_PATHS:
            yield Text(f"{kind:10}  … and {len(paths) - MOST_PATHS} more; all of them: --json", style="dim")


def summary(difference: Difference) -> str:
    """``2 missing, 1 changed``."""
    return ", ".join(f"{len(paths)} {kind}" for kind in KINDS if (paths := getattr(difference, kind)))


def difference_json(difference: Difference) -> dict[str, list[str]]:
    """All paths, by kind."""
    return {kind: [_printable(path) for path in getattr(difference, kind)] for kind in KINDS}


def _printable(path: str) -> str:
    """A name as text that every terminal and encoder takes: names of files may be any bytes."""
    return path if path.isprintable() else path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
