"""Figures and times in words for people."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup, escape

from contracts.status import NodeStatus

# What was done to resources → its word.
DONE = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "repair": "repaired",
    "delete": "deleted",
}
MINUTE, HOUR, DAY = 60, 3600, 86400
GIB = 2**30


def clock(time_in_utc: str) -> str:
    """``2026-11-28T03:21:55Z`` for people."""
    return time_in_utc.replace("T", " ").replace("Z", " UTC")


def code(text: str) -> Markup:
    """A text whose `commands` are set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def counted(counts: Mapping[str, int]) -> str:
    """``2 created, 1 replaced``; what stayed the same is not told."""
    return ", ".join(f"{counts[action]} {word}" for action, word in DONE.items() if counts.get(action))


def iso(seconds: float) -> str:
    """Seconds since 1970 as ``2026-11-28T03:21:55Z``; empty for what is no time, such as milliseconds given as seconds.

    Clients of MLflow and programs that leave facts set times as they like, which must not cost the whole page.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def duration(seconds: float) -> str:
    """``42 s``, ``3 min``, ``5 h``, ``2 d``."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def gigabytes(size: float) -> str:
    """``4.0 GiB``; large sizes without a fraction."""
    return f"{size / GIB:.0f} GiB" if size >= 100 * GIB else f"{size / GIB:.1f} GiB"


def node_state(node: NodeStatus) -> str:
    """Whether a node is there, lacks, or belongs to the past."""
    return "alive" if node.alive else "missing" if node.expected else "old"


def sentence(clause: str) -> str:
    """A clause with a capital letter."""
    return clause[:1].upper() + clause[1:]
