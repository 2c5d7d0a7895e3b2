"""Consent to ending running work: asks the user, refuses without a terminal, or waits until the work ends."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import typer
from rich.console import Console
from rich.text import Text

from build_report.units import whole_duration
from stack.running_words import in_words, line, listed
from stack.running_work import Kind, Work
from ws.cost import DOES_NOT_END, Cost
from ws.errors import WsError
from ws.progress import paused, progress

POLL_SECONDS = 2.0
SETTLE_SECONDS = 3.0  # in which a driver that has just ended, such as the last verification's, leaves the list
SHOWN_WAITING = 3


class DeclinedError(WsError):
    """The user did not consent to ending running work."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that would end work, as users type it."""

    words: str  # ws up
    stack: str
    engine: str = ""  # where it was given
    drains: bool = True

    def with_option(self, option: str) -> str:
        """The command with one more option."""
        engine = f" --engine {self.engine}" if self.engine else ""
        return f"{self.words} -s {self.stack}{engine} {option}"


@dataclass(kw_only=True)
class Consent:
    """The consent of one run: the work that may be ended, and how to obtain consent."""

    command: Command
    console: Console
    yes: bool = False
    drain: float | None = None  # seconds
    unchanged: str = "Nothing was changed"  # how a refusal begins
    agreed: set[tuple[Kind, str]] = field(default_factory=set)

    def obtain(self, look: Callable[[], Cost]) -> None:
        """Returns once nothing would end, or only what the user agreed to. `look` finds out what would end now.

        Raises:
            DeclinedError: the user declined, or could not be asked; nothing was changed.
        """
        found = self._settled(look)
        show_cost(found, self.console)
        if not found:
            return
        if self.drain is not None:
            try:
                found = self._drained(found, look)
            except KeyboardInterrupt:
                self.console.print(f"\n{self.unchanged}.")
                raise
        if self.yes or not (self._new(found) or not found.known):
            self._agree(found)
            return
        self._ask(found)
        self._agree(found)
        while self._new(again := look()):  # it began while the question was open
            show_ends(again, self.console)
            self._ask(again)
            self._agree(again)

    def unasked(self, found: Cost) -> Cost:
        """What of it no one has agreed to yet."""
        new = set(self._new(found))
        ends = (replace(end, works=tuple(work for work in end.works if work in new)) for end in found.ends)
        return replace(found, ends=tuple(end for end in ends if end.works or end.not_asked))

    def objection(self, found: Cost) -> str:
        """Why this work must not be ended; empty if it may. Called right before the change."""
        new = self._new(found)
        if self.yes or not new:
            return ""
        begun = "; ".join(line(work, time.time()) for work in new[:SHOWN_WAITING])
        return (
            f"was left as it is: {in_words(new)} began meanwhile ({begun}).\n"
            f"  Run it again: {self.command.with_option('').rstrip()}"
        )

    def _new(self, found: Cost) -> list[Work]:
        """Work without consent. Tasks and actors of jobs keep changing: they are new only if nothing was agreed to."""
        unknown = [work for work in found.works if (work.kind, work.identifier) not in self.agreed]
        return [work for work in unknown if not (work.part and self.agreed)]

    def _agree(self, found: Cost) -> None:
        self.agreed.update((work.kind, work.identifier) for work in found.works)

    # --- asking ---

    def _settled(self, look: Callable[[], Cost]) -> Cost:
        """The work that would end. Before a refusal, waits a moment for work that is about to end anyway."""
        deadline = time.monotonic() + SETTLE_SECONDS
        found = look()
        while found and not (self.yes or self.drain is not None or self._asks()) and time.monotonic() < deadline:
            time.sleep(min(POLL_SECONDS, 1.0))
            found = look()
        return found

    def _asks(self) -> bool:
        """Whether a user can be asked."""
        return sys.stdin.isatty() and self.console.is_terminal

    def _ask(self, found: Cost) -> None:
        if not self._asks():
            raise DeclinedError(self._refusal(found))
        if not self._confirmed("End it and continue?"):
            raise DeclinedError(f"{self.unchanged}.")

    def _confirmed(self, question: str) -> bool:
        """The answer; an interrupt is a no, so that the command can say what it has changed before."""
        with paused():
            try:
                return typer.confirm(question)
            except typer.Abort:
                self.console.print()
                return False

    def _refusal(self, found: Cost) -> str:
        what = in_words(found.works) if found.works else "running work"
        verb = "would end" if found.known else "may end"
        remedies = [f"  End it:             {self.command.with_option('--yes')}"]
        waits = [work for work in found.works if work.kind not in DOES_NOT_END]
        if self.command.drains and (waits or not found.known):
            remedies.insert(0, f"  Wait for its end:   {self.command.with_option('--drain 2h')}")
        return "\n".join([f"{self.unchanged}: {what} {verb}, and there is no terminal to ask on.", *remedies])

    # --- draining ---

    def _drained(self, found: Cost, look: Callable[[], Cost]) -> Cost:
        """Waits for all work that ends by itself; returns the rest."""
        stays = [work for work in found.works if work.kind in DOES_NOT_END and not work.part]
        if stays and not self.yes:
            self._ask_for(stays)
        began = time.monotonic()
        seconds = self.drain or 0.0
        with progress(self.console) as say:
            while (left := _waited_for(found)) or not found.known:
                passed = time.monotonic() - began
                if passed >= seconds:
                    raise DeclinedError(f"{self.unchanged}: {_too_long(found, left, passed)}")
                say(f"Waiting for {_in_short(left) or found.ends[-1]}; {whole_duration(seconds - passed)} left")
                time.sleep(min(POLL_SECONDS, seconds - passed))
                found = look()
        self.console.print(Text(f"All work has ended, after {whole_duration(time.monotonic() - began)}", style="green"))
        return found

    def _ask_for(self, stays: list[Work]) -> None:
        """Asks about work that never ends by itself, before waiting for the rest."""
        itself = "itself" if len(stays) == 1 else "themselves"
        sentence = f"{in_words(stays)} will not end by {itself}, and would be ended"
        if not self._asks():
            raise DeclinedError(
                f"{self.unchanged}: {sentence}.\n  End it as well:     {self.command.with_option('--drain 2h --yes')}"
            )
        self.console.print(Text(sentence, style="yellow"))
        if not self._confirmed("Wait for the rest, then end it?"):
            raise DeclinedError(f"{self.unchanged}.")
        self.agreed.update((work.kind, work.identifier) for work in stays)


def show_cost(found: Cost, console: Console) -> None:
    """Shows the work that ends, and notices about work that does not."""
    for notice in found.notices:
        console.print(Text(notice, style="dim"), soft_wrap=True)
    show_ends(found, console)


def show_ends(found: Cost, console: Console) -> None:
    """Shows the work that ends: one sentence for each cause, with the first ten items."""
    for end in found.ends:
        console.print(Text(str(end), style="bold yellow"), soft_wrap=True)
        for text in listed(end.works):
            console.print(Text(f"    {text}", style="yellow"), soft_wrap=True)


def _waited_for(found: Cost) -> list[Work]:
    """The work that ends by itself."""
    return [work for work in found.works if work.kind not in DOES_NOT_END or work.part]


def _in_short(works: list[Work]) -> str:
    if not works:
        return ""
    shown = [line(work, time.time()) for work in works[:SHOWN_WAITING]]
    more = [f"… {len(works) - SHOWN_WAITING} more"] if len(works) > SHOWN_WAITING else []
    return f"{in_words(works)} ({'; '.join(shown + more)})"


def _too_long(found: Cost, left: list[Work], seconds: float) -> str:
    if not left:
        return f"after {whole_duration(seconds)} {found.ends[-1]}."
    lines = "".join(f"\n    {text}" for text in listed(left))
    return f"not ended after {whole_duration(seconds)}: {in_words(left)}{lines}"
