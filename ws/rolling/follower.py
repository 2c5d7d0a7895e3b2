"""Whoever follows a run from another host, by the run's standard input: once nobody does, the run ends in good order.

`ws cluster up` sends a line every few seconds. So the run notices a connection that was closed, and one that was lost.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

BEAT_SECONDS = 15.0
SILENCE_SECONDS = 90.0  # without a line: the connection is lost


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)  # ws takes it for an interrupt; SIGINT may be ignored


class Follower:
    """Interrupts the run once nobody follows it, but never in the middle of what must be whole."""

    def __init__(
        self, source: int, interrupt: Callable[[], None] = _interrupt, silence: float = SILENCE_SECONDS
    ) -> None:
        """`source`: a file descriptor."""
        self._source, self._interrupt, self._silence = source, interrupt, silence
        self._lock = threading.Lock()
        self._inside = self._gone = False
        threading.Thread(target=self._watch, daemon=True).start()

    @classmethod
    def of_this_run(cls) -> "Follower":
        """By stdin. What this process prints is lost from then on, and no reason to fail."""
        sys.stdout, sys.stderr = (cast("TextIO", _Unread(stream)) for stream in (sys.stdout, sys.stderr))
        return cls(sys.stdin.fileno())

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The block ends before the run does. Raises `KeyboardInterrupt` after it, if nobody follows any more."""
        with self._lock:
            self._inside = True
        try:
            yield
        finally:
            with self._lock:
                self._inside = False
        if self._gone:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while select.select([self._source], [], [], self._silence)[0] and os.read(self._source, 1024):
            pass
        with self._lock:
            self._gone = True
            if not self._inside:
                self._interrupt()


class _Unread:
    """A stream whose reader may go away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a stream has)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (BrokenPipeError, ConnectionResetError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (BrokenPipeError, ConnectionResetError):
            self._give_up()

    def _give_up(self) -> None:
        """What is left in its buffer must go somewhere, at the latest when Python ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
