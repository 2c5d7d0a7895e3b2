"""Shows the progress of a run: on a terminal the work in progress, elsewhere one line per event."""

import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from build_report.units import whole_duration
from embedded_engine.changes import Change
from ws.changes import WORDS, kind, title

PLAIN_SECONDS = 10.0  # between two lines on the same resource's progress, where lines stay for ever
FRAMES = 8  # a second
GAP = 2  # characters between the columns of a table without lines


class RunDisplay(Protocol):
    """A display of the engines, for the time of a `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def started(self, change: Change) -> None:
        """Work on a resource begins."""

    def progress(self, change: Change, text: str) -> None:
        """The current step of the work on it."""

    def ended(self, change: Change) -> None:
        """The work is done, failed or was skipped."""

    def interrupted(self) -> None:
        """The run waits for the work that is under way."""

    @property
    def begun(self) -> list[Change]:
        """What was begun, whether it has ended or not."""


def display_on(console: Console) -> RunDisplay:
    """The display for this console: a terminal or a file."""
    # On a dumb terminal rich draws nothing at all.
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)


def widths(lines: Iterable[Sequence[str]]) -> list[int]:
    """The characters that each column of a table of these lines takes, with the gap before the next."""
    return [max(map(cell_len, column)) + GAP for column in zip(*lines, strict=True)]


def outcome(change: Change, seconds: float) -> Text:
    """The line that remains of a resource."""
    took = f" {whole_duration(seconds)}" if seconds >= 1 else ""
    if change.error:
        return Text.assemble(("✗ ", "bold red"), (change.name, "bold"), (f" {kind(change)} failed{took}", "red"))
    return Text.assemble(title(change), f" {WORDS[change.action][3]}", (took, "dim"))


class _Work:
    """One resource in progress."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.began = time.monotonic()
        self.said = self.began  # when a line was last printed
        self.step = WORDS[change.action][2]
        self.spinner = Spinner("dots", style="cyan")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class _Display:
    """What is under way, and what was begun."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._work: dict[str, _Work] = {}
        self._begun: dict[str, Change] = {}

    @property
    def begun(self) -> list[Change]:
        """What was begun, whether it has ended or not."""
        with self._lock:
            return list(self._begun.values())

    def interrupted(self) -> None:
        """Says at once what the run waits for: a container has its time to stop, an image's step to finish."""
        with self._lock:
            waits = ", ".join(f"{work.change.name} ({work.step})" for work in self._work.values())
        text = f"Interrupted: waiting for what is under way: {waits}" if waits else "Interrupted"
        self._console.print(Text(text, style="yellow"), soft_wrap=True)

    def _begin(self, change: Change) -> _Work:
        self._begun[change.urn] = change
        self._work[change.urn] = work = _Work(change)
        return work


class LiveDisplay(_Display):
    """A terminal: finished resources above, and below them a line for each that is under way, with its current step."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(
            get_renderable=self._render,
            console=console,
            transient=True,
            refresh_per_second=FRAMES,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, change: Change) -> None:
        """Adds its line."""
        with self._lock:
            self._begin(change)

    def progress(self, change: Change, text: str) -> None:
        """Replaces the step in its line."""
        with self._lock:
            if change.urn in self._work:
                self._work[change.urn].step = text

    def ended(self, change: Change) -> None:
        """Moves its line up to the finished ones. A resource that never started was up to date."""
        with self._lock:
            work = self._work.pop(change.urn, None)
        if work or change.error:
            self._live.console.print(outcome(change, work.seconds if work else 0), soft_wrap=True)

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        for options in ({"width": 1}, {}, {"justify": "right"}, {"ratio": 1, "style": "dim"}):
            table.add_column(no_wrap=True, overflow="ellipsis", **options)
        with self._lock:
            for work in self._work.values():
                table.add_row(work.spinner, title(work.change), whole_duration(work.seconds), Text(work.step))
        return Group(table)


class PlainDisplay(_Display):
    """A file or a pipe: a line when work starts and ends, and occasional lines on progress."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def started(self, change: Change) -> None:
        """Prints a line."""
        with self._lock:
            self._say(title(change), f": {self._begin(change).step}")

    def progress(self, change: Change, text: str) -> None:
        """Prints the step, unless it has printed a line on this resource within some seconds."""
        with self._lock:
            work = self._work.get(change.urn)
            if work:
                work.step = text
            if work and time.monotonic() - work.said >= PLAIN_SECONDS:
                work.said = time.monotonic()
                self._say(f"  {change.name}: {text} ({whole_duration(work.seconds)})")

    def ended(self, change: Change) -> None:
        """Prints the outcome. A resource that never started was up to date."""
        with self._lock:
            work = self._work.pop(change.urn, None)
            if work or change.error:
                self._say(outcome(change, work.seconds if work else 0))

    def _say(self, *parts: str | Text) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True)
