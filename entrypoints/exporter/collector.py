"""One source of figures, asked again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

from entrypoints.log import logger

say = logger("exporter")


class Collector:
    """One source of figures: when it was asked last, how long that took, and whether it went well."""

    def __init__(self, name: str, collect: Callable[[], None]) -> None:
        self.name = name
        self.collected = 0.0  # by the clock of the host; 0: never
        self.tried = False
        self.seconds = 0.0
        self.error = ""
        self._collect = collect
        self._last_success: float | None = None  # of the monotonic clock

    def run(self) -> None:
        """Collect once; never raises."""
        began = time.monotonic()
        try:
            self._collect()
        except Exception as error:  # noqa: BLE001 - one source's surprise must not end the others
            if str(error) != self.error:
                say(f"{self.name}: {error}")
            self.error = str(error) or type(error).__name__
        else:
            if self.error:
                say(f"{self.name}: answers again")
            self.error = ""
            self.collected, self._last_success = time.time(), time.monotonic()
        self.seconds = time.monotonic() - began
        self.tried = True

    def age(self) -> float | None:
        """Seconds since the last collection that went well; None: there was none."""
        return None if self._last_success is None else time.monotonic() - self._last_success
