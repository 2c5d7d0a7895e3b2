"""Shows the history of a stack: a table of runs, and one run in full with its config diff."""

from collections.abc import Sequence
from datetime import datetime
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from build_report.units import whole_duration
from config.masking import comparable
from config.yaml_file import InvalidYamlError, parse_yaml
from embedded_engine.changes import Action
from embedded_engine.differences import differences
from stack.history import Changed, Operation, Outcome, Record, before
from ws.changes import WORDS
from ws.containers import short
from ws.tables import plain_table

STYLES = {
    Outcome.DONE: "green",
    Outcome.FAILED: "bold red",
    Outcome.INTERRUPTED: "yellow",
    Outcome.RUNNING: "cyan",
    Outcome.UNKNOWN: "dim",
}
MOST_CAUSE = 45  # characters of an error in the table
COLUMNS = ("No.", "When", "Who", "What", "Engine", "Version", "Took", "Changes", "Config", "Verification", "Outcome")


def config_diff(earlier: Record, record: Record) -> list[str]:
    """What a record's files have otherwise than an earlier one's, a line for each key."""
    lines = []
    for name in sorted({*earlier.files, *record.files}):
        old, new = earlier.files.get(name), record.files.get(name)
        if name.endswith(".yaml"):
            lines += differences(_config(old), _config(new))
        elif old != new:
            lines.append(f"{name}: {'is new' if old is None else 'is gone' if new is None else 'is another'}")
    return lines


def table(records: Sequence[Record], shown: Sequence[Record]) -> Table:
    """The `shown` ones of all `records`, one line each."""
    rows = plain_table(COLUMNS, right=("No.",))
    for record in shown:
        rows.add_row(
            str(record.number),
            when(record),
            record.who,
            what(record),
            record.engine,
            _version(record),
            _took(record),
            _counts(record),
            _config_in_short(records, record),
            record.verification,
            Text(_outcome(record), style=STYLES[record.outcome]),
        )
    return rows


def show(records: Sequence[Record], record: Record, console: Console) -> None:
    """One record in full."""
    earlier = before(records, record.number)
    facts = {
        "When": when(record),
        "Who": record.who,
        "What": what(record),
        "Engine": record.engine,
        "Version": _version(record),
        "Took": _took(record),
        "Changes": _counts(record),
        "Verification": record.verification,
        "Outcome": record.outcome.value,
        "Error": record.error,
    }
    grid = plain_table(("", ""))
    grid.show_header = False
    for title, text in facts.items():
        if text:
            grid.add_row(Text(title, style="bold"), Text(text, style=STYLES[record.outcome] * (title == "Outcome")))
    console.print(grid)
    for changed in record.changed:
        console.print(_line(changed), soft_wrap=True)
    if record.files and earlier:
        lines = config_diff(earlier, record)
        console.print(Text(f"Config, compared with {earlier.number}:{'' if lines else ' the same'}", style="bold"))
        for line in lines:
            console.print(Text(f"    {line}", style="yellow"), soft_wrap=True)
    if record.images:
        console.print(Text("Images:", style="bold"))
    for service, image in sorted(record.images.items()):
        console.print(Text(f"    {service}: {', '.join(image.tags) or 'no name'} ({short(image.identifier)})"))


def as_json(records: Sequence[Record], record: Record, *, files: bool) -> dict[str, Any]:
    """A record for programs, with its config diff; its files only where they are asked for."""
    earlier = before(records, record.number)
    shown = record.model_dump(mode="json", exclude=None if files else {"files"})
    if not (earlier and record.files):
        return {**shown, "config_diff": None}
    return {**shown, "config_diff": {"compared_with": earlier.number, "lines": config_diff(earlier, record)}}


def when(record: Record) -> str:
    """Its beginning, in the local time."""
    return f"{datetime.fromtimestamp(record.started):%Y-%m-%d %H:%M}"


def what(record: Record) -> str:
    """The operation: ``rollback to 3``."""
    to = f" to {record.returned_to}" if record.returned_to else ""
    return f"{record.operation}{to}"


def _line(changed: Changed) -> Text:
    symbol, style, *_ = WORDS[Action(changed.action)]
    failed = Text(" failed", style="bold red") if changed.failed else Text()
    return Text.assemble((f"    {symbol} ", style), changed.name, " ", (changed.kind, "dim"), failed)


def _counts(record: Record) -> str:
    failed = sum(one.failed for one in record.changed)
    parts = [f"{record.counts[action]} {words[3]}" for action, words in WORDS.items() if record.counts.get(action)]
    return ", ".join([*parts, *([f"{failed} failed"] if failed else [])])


def _config_in_short(records: Sequence[Record], record: Record) -> str:
    earlier = before(records, record.number)
    if record.operation is Operation.DOWN or not record.files:
        return ""
    if earlier is None:
        return "first"
    number = len(config_diff(earlier, record))
    return f"{number} changed since {earlier.number}" if number else f"as {earlier.number}"


def _outcome(record: Record) -> str:
    """How it ended, with the beginning of the reason."""
    cause = shorten(record.error, MOST_CAUSE, placeholder=" …") if record.error else ""
    return f"{record.outcome}: {cause}" if cause else record.outcome.value


def _version(record: Record) -> str:
    return f"{record.version}{f' ({record.commit})' if record.commit else ''}"


def _took(record: Record) -> str:
    return "" if record.seconds is None else whole_duration(record.seconds)


def _config(text: str | None) -> dict[str, Any]:
    """The config in a stack file, to be compared."""
    try:
        content = parse_yaml(text or "") or {}
    except InvalidYamlError:  # it was refused, and is in the history all the same
        return {}
    config = content.get("config") if isinstance(content, dict) else None
    found = comparable(config)
    return found if isinstance(found, dict) else {}
