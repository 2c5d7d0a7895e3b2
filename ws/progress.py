"""Shows what a command waits for: on a terminal in one changing line, elsewhere an occasional line."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.status import Status
from rich.text import Text

PLAIN_SECONDS = 10.0  # between two lines, where lines stay for ever
_shown: list[Status] = []  # the changing lines of this process


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows what is being waited for."""
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status("") as status:
            _shown.append(status)
            try:
                yield lambda text: status.update(Text(text))
            finally:
                _shown.remove(status)
        return
    last = [-PLAIN_SECONDS]

    def say(text: str) -> None:
        if time.monotonic() - last[0] >= PLAIN_SECONDS:
            last[0] = time.monotonic()
            console.print(Text(text), soft_wrap=True)

    yield say


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Removes the changing line while a question is asked: it would overwrite that."""
    hidden = list(_shown)
    for status in reversed(hidden):
        status.stop()
    try:
        yield
    finally:
        for status in hidden:
            status.start()


def wait_until(
    missing: Callable[[], str], seconds: float, say: Callable[[str], None] = lambda _: None, *, pause: float = 1.0
) -> bool:
    """Waits until nothing is `missing`, and says what is; whether that came within `seconds`."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if not (what := missing()):
            return True
        say(f"{what} ({passed:.0f} s)")
        time.sleep(pause)
    return False
