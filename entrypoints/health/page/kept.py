"""An answer that is kept for some seconds, and a reader who waits only briefly for a new one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")
FAILURE_SECONDS = 10.0


class Kept(Generic[Result]):
    """Asks when somebody wants the answer and the last one is old; many readers cost one question.

    An answer that says a failure is old after FAILURE_SECONDS at the latest: what failed may work again soon. One is
    kept for at least `ease` times as long as it took, so that a question that takes long is not asked all the time.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Result]],
        seconds: float,
        is_failure: Callable[[Result], bool] = lambda _: False,
        ease: float = 0.0,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._is_failure = is_failure
        self._ease = ease
        self._kept = seconds
        self._question: asyncio.Task[None] | None = None
        self._answer: Result | None = None
        self._answered = float("-inf")

    async def get(self, patience: float | None = None) -> Result | None:
        """Return the answer; the last one, or None, where a new one takes longer than patience in seconds.

        The question goes on meanwhile. Raises whatever the question raises.
        """
        if self._question is None and time.monotonic() - self._answered >= self._kept:
            self._question = asyncio.create_task(self._renew())
        if (question := self._question) is not None:
            await asyncio.wait({question}, timeout=patience)
            if question.done() and (error := question.exception()):
                raise error  # unlike result(), keeps its trace where several readers wait
        return self._answer

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            self._answer = answer = await self._ask()
            self._answered = time.monotonic()
            kept = min(self._seconds, FAILURE_SECONDS) if self._is_failure(answer) else self._seconds
            self._kept = max(kept, self._ease * (self._answered - began))
        finally:
            self._question = None
