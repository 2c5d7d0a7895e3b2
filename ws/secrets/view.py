"""What `ws secrets list` shows: no value, and nothing that a value could be guessed from."""

import time
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from stack.running_words import age
from ws.secrets.listing import Listed, Origin
from ws.tables import plain_table

STYLES = {Origin.PLAIN: "yellow", Origin.NOWHERE: "dim"}


def table(found: Iterable[Listed], now: float | None = None) -> Table:
    """One line for each secret."""
    shown = plain_table(("Secret", "From", "Used by", "Age"), right=("Age",))
    now = time.time() if now is None else now
    for one in found:
        place = Text(one.origin, style=STYLES.get(one.origin, ""))
        since = age(now - one.since) if one.since is not None else ""
        shown.add_row(
            one.secret.name, place, *(("", "") if one.origin is Origin.NOWHERE else (", ".join(one.services), since))
        )
    return shown


def rows(found: Iterable[Listed]) -> list[dict[str, Any]]:
    """The same for programs, with the key and the file."""
    return [
        {
            "name": one.secret.name,
            "key": one.secret.key or None,
            "from": one.origin.value,
            "file": str(one.file) if one.file else None,
            "services": list(one.services),
            "since": one.since,
        }
        for one in found
    ]
