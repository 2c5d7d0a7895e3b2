"""An answer that is kept for some seconds, and a reader who waits only briefly for a new one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")
FAILURE_SECONDS = 10.0


class Kept(Generic[Result]):
    """Asks when somebody wants the answer and the last one is old; many readers cost one question.

    An answer that says a failure is old after FAILURE_SECONDS at the latest: what failed may work again soon.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Result]],
        seconds: float,
        is_failure: Callable[[Result], bool] = lambda _: False,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._is_failure = is_failure
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
            if question.done():
                question.result()
        return self._answer

    async def _renew(self) -> None:
        try:
            self._answer = answer = await self._ask()
            self._answered = time.monotonic()
            self._kept = min(self._seconds, FAILURE_SECONDS) if self._is_failure(answer) else self._seconds
        finally:
            self._question = None
