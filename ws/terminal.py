"""Common parts of all commands: consoles, options, confirmation prompts."""

import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from coordination.printable import printable
from ws import completion
from ws.errors import WsError

FAILED = 1  # exit code
WIDE = 200  # columns, if the output is not a terminal
HELP = {"help_option_names": ["-h", "--help"]}


class PlainConsole(Console):
    """A console on which quoted text is text: what a terminal would obey is shown as an escape."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed; the console's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


out = PlainConsole(highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = PlainConsole(stderr=True, highlight=False)

Stack = Annotated[
    str,
    typer.Option(
        "--stack", "-s", help="Stack name, as in Pulumi.<stack>.yaml.", metavar="NAME", autocompletion=completion.stacks
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation prompts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Drain = Annotated[
    str | None,
    typer.Option(
        metavar="[TIME]",
        help="Wait up to TIME (600, 30m, 2h; default 1h) for work that would end; if it has not ended, change nothing.",
        show_default=False,
    ),
]


def ask(warning: str, *, yes: bool) -> None:
    """Asks for confirmation of what cannot be undone; without a terminal, the command itself is the confirmation."""
    out.print(Text(warning, style="yellow"), soft_wrap=True)
    if not yes and can_ask() and not typer.confirm("Continue?"):
        raise typer.Exit(FAILED)


def confirm(warning: str, *, yes: bool, confirmed: str) -> None:
    """Asks for confirmation; without a terminal, only `--yes` is one. `confirmed`: the command with it.

    Raises:
        WsError: there is no terminal to ask on.
    """
    if not (yes or can_ask()):
        raise WsError(
            f"Nothing was changed: {warning} There is no terminal to ask on.\n  Do it without a question:  {confirmed}"
        )
    ask(warning, yes=yes)


def can_ask() -> bool:
    """Whether a person reads and types."""
    return sys.stdin.isatty() and out.is_terminal
