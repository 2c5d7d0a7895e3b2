"""`ws secrets`. Implementations are imported when called, so that help appears at once."""

import json
import time
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws.errors import WsError
from ws.paths import there
from ws.terminal import HELP, AsJson, Drain, Stack, Yes, out

if TYPE_CHECKING:
    from ws.secrets.catalogue import Secret

secrets = typer.Typer(
    help="Passwords, tokens and addresses of a stack: where they are, and other values for them.",
    no_args_is_help=True,
    context_settings=HELP,
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help="As `ws secrets list` names them.", show_default=False)
]


@secrets.command("list")
def list_secrets(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """List the secrets of a stack: where each comes from, which services use it, how old it is. Never a value."""
    from ws.secrets import view
    from ws.secrets.rotating import deployed, found
    from ws.stack_settings import open_stack

    configured = open_stack(stack)
    listed = found(configured, deployed(configured))
    if as_json:
        print(json.dumps(view.rows(listed), indent=2))
    else:
        out.print(view.table(listed))


@secrets.command()
def rotate(
    names: Names = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that the platform generates, except those that a cluster shares.")
    ] = False,
    value_file: Annotated[
        Path | None,
        typer.Option(
            help="Take the value from a file instead of making one.", metavar="FILE", callback=there, show_default=False
        ),
    ] = None,
    typed: Annotated[bool, typer.Option("--ask", help="Ask for the value, or read it from standard input.")] = False,
    stack: Stack = "dev",
    yes: Yes = False,
    drain: Drain = None,
) -> None:
    """Give secrets other values, and replace exactly the services that use them. The former values stop working.

    First says what would end, and asks. Without a terminal it changes nothing, unless --yes is given.
    """
    from ws.consent import Command, Consent
    from ws.deploy import Session
    from ws.drain_option import parse_duration
    from ws.secrets import rotating
    from ws.stack_settings import open_stack
    from ws.turn import turn

    began = time.monotonic()
    configured = open_stack(stack)
    session = Session(configured, out)
    session.refuse_half_restored()
    chosen = rotating.choose(configured, names or (), everything=everything)
    value = _given(chosen, value_file, typed=typed)
    if value is not None:
        rotating.check(chosen[0], value, configured)
    words = join(["ws", "secrets", "rotate", *(["--all"] if everything else names or ())])
    if value_file:
        words += f" {join(['--value-file', str(value_file)])}"
    command = Command(words=words, stack=stack)
    consent = Consent(command=command, console=out, yes=yes, drain=None if drain is None else parse_duration(drain))
    with turn(session.identity, "ws secrets rotate"):
        done = rotating.rotate(session, chosen, value, consent, yes=yes)
    if done:
        done[0].show_end(done[1], time.monotonic() - began)
    else:
        out.print(Text("Done. No container on this host had to be replaced.", style="bold green"))


def _given(chosen: "list[Secret]", file: Path | None, *, typed: bool) -> str | None:
    """The value of the one secret that is given one; None where values are made. Raises `WsError`."""
    from coordination.regular_file import read_text
    from ws.config.commands import asked

    ungenerated = [one.name for one in chosen if not one.generated]
    if not (file or typed or ungenerated):
        return None
    if len(chosen) > 1:
        one_by_one = f"{', '.join(ungenerated)} cannot be made here" if ungenerated else "a value is for one secret"
        raise WsError(f"{one_by_one}: rotate them one by one. Nothing was changed.")
    if file is None:
        return asked(chosen[0].name)
    try:
        value = read_text(file).rstrip("\r\n")
    except UnicodeDecodeError:
        raise WsError(f"--value-file {file}: is not text in UTF-8. Nothing was changed.") from None
    if not value:
        raise WsError(f"--value-file {file}: is empty. Write the value into it. Nothing was changed.")
    return value
