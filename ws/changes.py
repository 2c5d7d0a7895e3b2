"""Renders changes for people and programs: one line for each resource, with reasons; counts; failures in full."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.text import Text

from embedded_engine.changes import COMMAND, IMAGE, PULLED_IMAGE, Action, Change, Result

# action → symbol, style, what is being done, what was done, what would be done
WORDS = {
    Action.CREATE: ("+", "green", "creating", "created", "to create"),
    Action.UPDATE: ("~", "yellow", "updating", "updated", "to update"),
    Action.REPLACE: ("±", "magenta", "replacing", "replaced", "to replace"),
    Action.REPAIR: ("⟳", "cyan", "repairing", "repaired", "to repair"),
    Action.DELETE: ("-", "red", "deleting", "deleted", "to delete"),
    Action.SAME: (" ", "dim", "checking", "unchanged", "unchanged"),
}
MOST_ITEMS = 4  # of a list that are shown individually
KINDS = {
    PULLED_IMAGE: "pulled image",
    IMAGE: "image",
    COMMAND: "command",
}


def kind(change: Change) -> str:
    """A resource type in a word: ``container``."""
    return KINDS.get(change.type, change.type.rpartition(":")[2].lower())


def title(change: Change) -> Text:
    """Symbol, name and kind of a changing resource."""
    symbol, style, *_ = WORDS[change.action]
    return Text.assemble((f"{symbol} ", style), (change.name, "bold"), " ", (kind(change), "dim"))


def show_preview(result: Result, console: Console) -> None:
    """The diff, one resource after the other, then the counts."""
    for change in result.changes:
        if change.action is Action.SAME or change.error or change.skipped:
            continue
        console.print(title(change), soft_wrap=True)
        for reason in condensed(change.reasons):
            console.print(Text(f"    {reason}", style=WORDS[change.action][1]), soft_wrap=True)
    console.print(Text(counts(result, planned=True), style="bold"))


def condensed(reasons: list[str]) -> list[str]:
    """The reasons; many items of one list are only counted: ``triggers: 6 removed, 6 added``."""
    items = Counter(tuple(reason.split(" ", 2)[:2]) for reason in reasons)
    lines: dict[str, None] = {}  # in order, each once
    for reason in reasons:
        key, sign, *_ = (*reason.split(" ", 2), "")
        removed, added = items[key, "-"], items[key, "+"]
        if sign in ("-", "+") and removed + added > MOST_ITEMS:
            lines[f"{key} {removed} removed, {added} added"] = None
        else:
            lines[reason] = None
    return list(lines)


def counts(result: Result, *, planned: bool) -> str:
    """``2 to create, 1 to replace, 11 unchanged``; in the past tense unless `planned`."""
    column = 4 if planned else 3
    done = Counter(change.action for change in result.changes if not (change.error or change.skipped))
    parts = [f"{done[action]} {words[column]}" for action, words in WORDS.items() if done[action]]
    skipped = sum(change.skipped for change in result.changes)
    parts += [f"{len(result.failed)} failed"] if result.failed else []
    parts += [f"{skipped} not reached"] if skipped else []
    return ", ".join(parts) or "nothing there"


def show_failures(result: Result, console: Console) -> None:
    """Every error in full, with the resource that it belongs to."""
    for change in result.failed:
        console.print(Text(f"\n✗ {change.name} ({kind(change)}) failed:", style="bold red"), soft_wrap=True)
        console.print(Text(change.error or "", style="red"), soft_wrap=True)


def as_json(result: Result) -> dict[str, Any]:
    """The changes for programs; unchanged resources are only counted."""
    return {
        "changes": [
            {
                "name": change.name,
                "type": change.type,
                "action": change.action.value,
                "reasons": change.reasons,
                "error": change.error,
            }
            for change in result.changes
            if change.action is not Action.SAME or change.error
        ],
        "counts": Counter(change.action.value for change in result.changes if not change.error),
        "ok": result.ok,
    }
