"""Sections of the page that cannot be shown: their traces are for the log, and cost nobody the other sections."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AGAIN_SECONDS = 300.0  # the same fault is logged again after this long, not with every look of every reader

Broken = Callable[[str, Exception], None]  # is told the section and its fault


def reraised(_: str, error: Exception) -> None:
    """For callers who want a fault as it is."""
    raise error


@contextmanager
def noted(faults: dict[str, Exception], section: str) -> Iterator[None]:
    """Notes what the block raises as the section's fault, and goes on after the block."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - one section's surprise must not be the whole page's
        faults[section] = error


class FaultLog:
    """Says each fault with its trace, once in a while."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._said: dict[tuple[str, str], float] = {}

    def tell(self, section: str, error: Exception) -> None:
        """Logs a section's fault unless it was logged a short time ago."""
        trace, now = "".join(traceback.format_exception(error)), time.monotonic()
        self._said = {fault: at for fault, at in self._said.items() if now - at < AGAIN_SECONDS}
        if (section, trace) not in self._said:
            self._said[section, trace] = now
            self._say(section, trace)
