"""Reads the history for the commands that rest on it, and says what of it cannot be read."""

from shlex import join
from typing import TYPE_CHECKING

from stack.history import History, Record

if TYPE_CHECKING:
    from ws.deploy import Session


def read(session: "Session") -> list[Record]:
    """All records that can be read, the oldest first. The others are said: the command would else pass over them."""
    history = History(session.identity)
    if damaged := history.unreadable():
        number = f"{len(damaged)} record{'s' if len(damaged) > 1 else ''}"
        session.say(
            f"{number} of the history cannot be read: damaged, or of another version. To go on without: "
            f"{join(['rm', *map(str, damaged)])}",
            "yellow",
        )
    history.tell()  # of a run that was killed nobody has told the end
    return history.records()
