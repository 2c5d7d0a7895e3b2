"""The stream of a page that is open (server-sent events): each section that changed, and the page's version."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable

SECONDS = 5.0  # between two looks; all readers look at the same moment, so that they cost one round
MOST_READERS = 32


class TooManyReadersError(Exception):
    """As many pages are open as are served."""


class Readers:
    """The pages that are open, each with a stream; the ID of its events is the version that a page would have now."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._ending = asyncio.Event()
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether as many pages are open as are served."""
        return self.count >= MOST_READERS

    def end(self) -> None:
        """Ends all streams, and those that are opened from now on."""
        self._ending.set()

    async def follow(self, look: Callable[[], Awaitable[dict[str, str]]]) -> AsyncGenerator[bytes, None]:
        """The events for one reader, until the streams end; raises TooManyReadersError before the first."""
        if self.full:
            raise TooManyReadersError
        self.count += 1
        try:
            sent: dict[str, str] = {}
            while not self._ending.is_set():
                found = await look()
                changed = {name: text for name, text in found.items() if sent.get(name) != text}
                yield event(changed, self._version)
                sent = found
                await self._pause()
        finally:
            self.count -= 1

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(self._ending.wait(), SECONDS - now % SECONDS)
        except TimeoutError:
            return


def event(changed: dict[str, str], version: str) -> bytes:
    """One event; without changes it tells the reader, and whatever is between, that the stream lives."""
    return f"data: {json.dumps(changed)}\nid: {version}\n\n".encode()
