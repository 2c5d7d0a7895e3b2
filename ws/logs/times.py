"""Points in time as people write them: `10m`, `2026-11-28T03:00`."""

import time
from datetime import datetime

import typer

from ws.drain_option import parse_duration


def moment(text: str | None) -> float | None:
    """Seconds since 1970 of a duration before now or a time, which is local without a zone.

    Raises `typer.BadParameter`.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(text)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is neither a duration nor a time; write for example 90s, 10m, 2h or 2026-11-28T03:00."
        ) from None
