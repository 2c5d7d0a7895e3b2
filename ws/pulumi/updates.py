"""Pulumi's own history of a stack: how plain runs of `pulumi up` ended, which the program cannot know."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from stack.history import Outcome, Record
from ws.pulumi.engine import STEPS

# Of an update: pkg/cmd/pulumi/stack/stack_history.go.
RESULTS = {"succeeded": Outcome.DONE, "failed": Outcome.FAILED}
SECONDS = 60


def updates(cli: Path, folder: Path, stack: str, most: int) -> list[dict[str, Any]]:
    """The last updates of a stack; none where Pulumi does not know it or does not answer."""
    command = [str(cli), "stack", "history", "--json", "--non-interactive", "--stack", stack, f"--page-size={most}"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True)
        return list(json.loads(done.stdout))
    return []


def completed(records: Iterable[Record], known: Sequence[dict[str, Any]]) -> list[Record]:
    """The records, with the outcome of those that only Pulumi knows."""
    return [_completed(record, known) if record.outcome is Outcome.UNKNOWN else record for record in records]


def _completed(record: Record, known: Sequence[dict[str, Any]]) -> Record:
    for update in known:
        outcome = RESULTS.get(update.get("result", ""))
        if outcome is None or update.get("kind") != "update" or "endTime" not in update:
            continue
        began, ended = _seconds(update["startTime"]), _seconds(update["endTime"])
        if int(began) <= record.started <= ended + 1:
            values = {"outcome": outcome, "seconds": ended - began, "counts": _counts(update)}
            return record.model_copy(update=values)
    return record


def _counts(update: dict[str, Any]) -> dict[str, int]:
    """Pulumi counts components and providers, too."""
    counts: dict[str, int] = {}
    for step, number in (update.get("resourceChanges") or {}).items():
        if step in STEPS:
            counts[STEPS[step].value] = counts.get(STEPS[step].value, 0) + number
    return counts


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
