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
        self._said: dict[tuple[str, ...], float] = {}

    def tell(self, section: str, error: Exception) -> None:
        """Logs a section's fault unless it was logged a short time ago."""
        # Readers share the answer's exception, and each adds its own steps to the trace.
        origin = traceback.extract_tb(error.__traceback__)[-1:]
        fault = (section, *traceback.format_exception_only(error), *map(str, origin))
        now = time.monotonic()
        self._said = {said: at for said, at in self._said.items() if now - at < AGAIN_SECONDS}
        if fault not in self._said:
            self._said[fault] = now
            self._say(section, "".join(traceback.format_exception(error)))
