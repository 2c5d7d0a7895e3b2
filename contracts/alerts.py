"""Alertmanager's lists of alerts and silences, as its API (version 2) gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ALERTS_PATH, SILENCES_PATH, SILENCE_PATH = "/api/v2/alerts", "/api/v2/silences", "/api/v2/silence"
NAME = "alertname"  # the label that names an alert
# Labels of where an alert is, the most telling first.
PLACES = (
    *("service", "node", "member", "gpu", "UUID", "image"),
    *("disk", "mountpoint", "backup", "certificate", "fact", "integration"),
)


class AnswerError(ValueError):
    """The answer is not Alertmanager's."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert that fires. Times are UTC, in ISO 8601."""

    name: str
    severity: str
    since: str
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
    remedy: str = ""
    silenced_by: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """What it is about, and its host."""
        place = next((self.labels[label] for label in PLACES if label in self.labels), "")
        return " on ".join(filter(None, (place, self.labels.get("host", ""))))


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Alerts of which nobody is told until a time."""

    identifier: str
    state: str  # active, pending, expired
    matchers: tuple[str, ...]  # alertname="DiskLow"
    until: str
    author: str
    comment: str


def alerts_in(answer: Any) -> tuple[Alert, ...]:  # noqa: ANN401 - JSON
    """Return the alerts of an answer, the worst and oldest first; raises AnswerError."""
    try:
        found = [_alert(entry) for entry in answer]
    except (TypeError, LookupError, AttributeError):
        raise AnswerError("not a list of Alertmanager's alerts") from None
    return tuple(sorted(found, key=lambda alert: (alert.severity != "critical", alert.since, alert.name, alert.where)))


def silences_in(answer: Any) -> tuple[Silence, ...]:  # noqa: ANN401 - JSON
    """Return the silences of an answer that have not expired; raises AnswerError."""
    try:
        found = [_silence(entry) for entry in answer]
    except (TypeError, LookupError, AttributeError):
        raise AnswerError("not a list of Alertmanager's silences") from None
    return tuple(silence for silence in found if silence.state != "expired")


def _alert(entry: Mapping[str, Any]) -> Alert:
    labels, notes = entry["labels"], entry["annotations"]
    return Alert(
        name=str(labels[NAME]),
        severity=str(labels.get("severity", "")),
        since=_seconds(entry["startsAt"]),
        labels={str(name): str(value) for name, value in labels.items()},
        summary=str(notes.get("summary", "")),
        description=str(notes.get("description", "")),
        remedy=str(notes.get("remedy", "")),
        silenced_by=tuple(map(str, entry["status"]["silencedBy"])),
    )


def _silence(entry: Mapping[str, Any]) -> Silence:
    return Silence(
        identifier=str(entry["id"]),
        state=str(entry["status"]["state"]),
        matchers=tuple(map(_matcher, entry["matchers"])),
        until=_seconds(entry["endsAt"]),
        author=str(entry["createdBy"]),
        comment=str(entry["comment"]),
    )


def _matcher(entry: Mapping[str, Any]) -> str:
    """As Alertmanager writes it: ``alertname="DiskLow"``, ``instance=~"exporter.*"``."""
    equal = entry.get("isEqual", True)
    sign = ("=~" if equal else "!~") if entry["isRegex"] else ("=" if equal else "!=")
    return f'{entry["name"]}{sign}"{entry["value"]}"'


def _seconds(time: str) -> str:
    """``2026-11-28T03:21:55.123Z`` without its fraction."""
    return f"{time[:19]}Z"
