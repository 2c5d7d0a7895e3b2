"""Connections between whose requests there are pauses, as those of a program that asks again and again."""

from types import SimpleNamespace
from typing import Any, cast

from entrypoints.bounded_http import BoundedProtocol


class Kept(BoundedProtocol):
    """A connection without a network, at which a clock looks when it is told to."""

    def __init__(self) -> None:
        self.closed = False
        self.loop = cast("Any", SimpleNamespace(call_later=lambda seconds, look: None, time=lambda: 0.0))
        self.transport = cast("Any", SimpleNamespace(close=self._close, write=lambda data: None))
        self.flow = cast("Any", SimpleNamespace(read_paused=False))
        self.cycle = cast("Any", None)

    def _close(self) -> None:
        self.closed = True

    def is_answered(self) -> None:
        """A request comes, and is answered at once."""
        self.cycle = cast("Any", SimpleNamespace(response_complete=True, response_started=True, more_body=False))

    def is_looked_at(self) -> bool:
        """Whether it is open after that."""
        self._close_if_idle()
        return not self.closed


def test_one_that_asks_between_all_looks_stays():
    kept = Kept()
    for _ in range(5):
        kept.is_answered()
        assert kept.is_looked_at()


def test_one_without_a_further_request_is_let_go():
    kept = Kept()
    kept.is_answered()
    assert kept.is_looked_at()
    assert not kept.is_looked_at()


def test_one_without_a_first_request_is_let_go():
    assert not Kept().is_looked_at()
