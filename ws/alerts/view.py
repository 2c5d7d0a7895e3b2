"""Alerts and silences for people."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from contracts.alerts import Alert, Silence
from ws.tables import plain_table

STYLES = {"critical": "bold red", "warning": "yellow"}
SHORT = 8  # characters of a silence's ID, which tell it from others


def alerts_table(alerts: Iterable[Alert], now: datetime) -> Table:
    """The alerts that fire, with what helps."""
    shown = plain_table(("Alert", "Severity", "Since", "Where", "Summary", "Remedy"))
    for one in alerts:
        severity = Text(one.severity, style=STYLES.get(one.severity, ""))
        state = Text(" (silenced)", style="dim") if one.silenced_by else Text()
        about = Text.assemble(one.summary, (f"\n{one.description}" if one.description else "", "dim"))
        shown.add_row(one.name, severity + state, ago(one.since, now), one.where, about, Text(one.remedy))
    return shown


def silences_table(silences: Iterable[Silence], now: datetime) -> Table:
    """The silences, with their IDs for `ws alert unsilence`."""
    shown = plain_table(("Silence", "Of", "Ends in", "By", "Comment"))
    for one in silences:
        row = (one.identifier[:SHORT], ", ".join(one.matchers), ahead(one.until, now), one.author, one.comment)
        shown.add_row(*map(Text, row))
    return shown


def lines(alerts: Iterable[Alert]) -> Iterable[Text]:
    """One line for each alert that nobody silenced, for `ws ps`."""
    for one in alerts:
        if not one.silenced_by:
            yield Text.assemble((one.severity, STYLES.get(one.severity, "")), f" {one.name}: {one.summary}")


def as_json(alerts: Iterable[Alert], silences: Iterable[Silence], doubt: str) -> dict[str, Any]:
    """Both for programs, and why the alerts may no longer be true (null: they are)."""
    return {
        "doubt": doubt or None,
        "alerts": [
            {
                "name": one.name,
                "severity": one.severity,
                "since": one.since,
                "where": one.where,
                "summary": one.summary,
                "description": one.description,
                "remedy": one.remedy,
                "labels": dict(one.labels),
                "silenced_by": list(one.silenced_by),
            }
            for one in alerts
        ],
        "silences": [
            {
                "id": one.identifier,
                "state": one.state,
                "matchers": list(one.matchers),
                "until": one.until,
                "by": one.author,
                "comment": one.comment,
            }
            for one in silences
        ],
    }


def ago(time: str, now: datetime) -> str:
    """How long ago a time was, in at most two units: ``3 min``, ``2 h 5 min``, ``4 d 2 h``."""
    return _in_words((now - datetime.fromisoformat(time)).total_seconds())


def ahead(time: str, now: datetime) -> str:
    """How far away a time is."""
    return _in_words((datetime.fromisoformat(time) - now).total_seconds())


def _in_words(seconds: float) -> str:
    minutes = max(0, int(seconds)) // 60
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    units = ((hours, "h"), (minutes, "min")) if hours < 24 else ((hours // 24, "d"), (hours % 24, "h"))
    return " ".join(f"{number} {unit}" for number, unit in units if number)


def utc_now() -> datetime:
    """Now, as Alertmanager counts."""
    return datetime.now(UTC)
