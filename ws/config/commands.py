"""`ws set`, `unset`, `get`. Implementations are imported when called, so that help appears at once."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws import completion
from ws.errors import WsError
from ws.paths import there
from ws.terminal import FAILED, AsJson, Stack, err, out

if TYPE_CHECKING:
    from ws.config.values import Outcome

LONGEST_SECRET = 10_000  # characters

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY VALUE…",
        help="redis.memory 1g, or KEY alone for a secret.",
        show_default=False,
        autocompletion=completion.keys,
    ),
]
Keys = Annotated[list[str], typer.Argument(metavar="KEY…", show_default=False, autocompletion=completion.keys)]
OneKey = Annotated[str | None, typer.Argument(metavar="[KEY]", show_default=False, autocompletion=completion.keys)]


def add_commands(app: typer.Typer) -> None:
    """Adds them to `ws`."""
    app.command("set")(set_values)
    app.command()(unset)
    app.command()(get)
    app.command("import")(import_former)


def set_values(words: Words, stack: Stack = "dev") -> None:
    """Set keys of a stack file and leave the rest of it alone. Values are checked first; `ws up` applies them.

    A secret (rayToken, redisPassword, …) is asked for, or read from standard input, and kept encrypted.
    """
    from ws.config import values as stack_config
    from ws.config.keys import Key

    if len(words) == 1 and Key.parse(words[0]).is_secret:
        _show(stack_config.set_secret(stack, words[0], asked(words[0])), stack)
        return
    if len(words) % 2:
        raise WsError(f"{words[-1]} has no value: ws set KEY VALUE [KEY VALUE]…")
    values = dict(zip(words[::2], words[1::2], strict=True))
    if len(values) < len(words) // 2:
        raise WsError("a key is given twice.")
    _show(stack_config.set_values(stack, values), stack)


def unset(keys: Keys, stack: Stack = "dev") -> None:
    """Remove keys from a stack file, so that their defaults apply."""
    from ws.config import values as stack_config

    _show(stack_config.unset(stack, keys), stack)


def get(key: OneKey = None, stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show a key's value; without KEY, all that the stack file sets. Secrets are not shown."""
    from ws.config import values as stack_config

    value, is_default = stack_config.value_of(stack, key)
    if as_json:
        print(json.dumps(value, indent=2, default=str))
        return
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, default=str)
    out.print(Text("not set" if value is None else shown), Text("(default)" if is_default else "", style="dim"))


def import_former(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The former config.yaml.", exists=False, callback=there)
    ],
    nodes: Annotated[
        Path | None,
        typer.Argument(
            metavar="[NODES]", help="The former nodes.yaml; by default the one beside CONFIG.", callback=there
        ),
    ] = None,
    stack: Annotated[str, typer.Option("--stack", "-s", metavar="NAME", help="Name of the stack to make.")] = "mine",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the report, and write nothing.")] = False,
) -> None:
    """Make a stack file from the config.yaml and nodes.yaml of the platform's predecessor.

    Reports what became of each key, and which have no counterpart and why. Overwrites nothing.
    """
    from ws.config.importing import import_files, show

    imported = import_files(config, nodes, stack, dry_run=dry_run)
    show(imported, out, stack=stack, dry_run=dry_run)
    if imported.problems:
        raise typer.Exit(FAILED)


def asked(key: str) -> str:
    """A secret that a person types, or that is piped in, without the end of its line."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"{key} (not shown)", hide_input=True, confirmation_prompt=True, err=True))
    value = sys.stdin.read(LONGEST_SECRET + 1).rstrip("\r\n")
    if not value or len(value) > LONGEST_SECRET:
        raise WsError(f"{key}: standard input holds no secret of 1 to {LONGEST_SECRET} characters.")
    return value


def _show(outcome: "Outcome", stack: str) -> None:
    for line in outcome.changes:
        out.print(Text(line), soft_wrap=True)
    for problem in outcome.left:
        err.print(Text(problem, style="yellow"), soft_wrap=True)
    if not outcome.left:
        out.print(Text(f"ws preview -s {stack} shows what this changes.", style="dim"))
