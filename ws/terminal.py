"""What all commands have in common: where they write to, their usual options, how they ask a person."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ws import completion

FAILED = 1  # exit code
WIDE = 200  # columns of what no terminal shows
HELP = {"help_option_names": ["-h", "--help"]}

out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False)

Stack = Annotated[
    str,
    typer.Option("--stack", "-s", help="Which Pulumi.<stack>.yaml.", metavar="NAME", autocompletion=completion.stacks),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation prompts.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else.")]


def ask(warning: str, *, yes: bool) -> None:
    """Asks a person before something that cannot be undone; where there is none, the command itself was the answer."""
    out.print(Text(warning, style="yellow"), soft_wrap=True)
    if not yes and sys.stdin.isatty() and out.is_terminal and not typer.confirm("Continue?"):
        raise typer.Exit(FAILED)
