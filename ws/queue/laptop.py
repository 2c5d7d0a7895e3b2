"""`ws` of a bundle (`ws client`): the commands of the queue alone, from a computer without this project."""

import sys

import typer

from ws.queue.commands import add_commands
from ws.running import run
from ws.terminal import HELP

app = typer.Typer(
    name="ws",
    help="The queue of the stack that this bundle is for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)
add_commands(app)


def main() -> int:
    """Runs one command."""
    return run(app, sys.argv[1:])
