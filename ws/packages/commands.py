"""The commands on a stack's own packages. Implementations are imported when called, so that help appears at once."""

import json
from typing import Annotated

import typer
from rich.text import Text

from ws.terminal import HELP, AsJson, Stack, err, out

packages = typer.Typer(
    help="Python and Debian packages that a stack has beside those of the images.",
    no_args_is_help=True,
    context_settings=HELP,
)

Requirements = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REQUIREMENT]…", help="'transformers>=5', pympi-ling.", show_default=False),
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", show_default=False)]
Debian = Annotated[
    list[str] | None,
    typer.Option("--apt", help="A Debian package, such as ffmpeg.", metavar="NAME", show_default=False),
]


@packages.command()
def add(requirements: Requirements = None, apt: Debian = None, stack: Stack = "dev") -> None:
    """Add packages, in versions that leave what the images hold as it is. `ws up` then builds them in."""
    from ws.errors import WsError
    from ws.packages import packages as own
    from ws.packages.requirements import checked

    if not requirements and not apt:
        raise WsError("name a package, for example: ws packages add 'transformers>=5'")
    configured = own.stack_with_packages(stack)
    wanted = own.wanted_by(configured.platform)
    new = checked(requirements or [], apt or [])
    _say(own.change(configured, wanted.with_more(new.packages, new.apt)), stack)


@packages.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="NAME…")], stack: Stack = "dev") -> None:
    """Remove packages, and what only they needed."""
    from ws.packages import packages as own

    configured = own.stack_with_packages(stack)
    _say(own.change(configured, own.wanted_by(configured.platform).without(names)), stack)


@packages.command("list")
def show(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show what the stack asks for, what that needs, and whether the lock is in order."""
    from ws.packages import packages as own

    settings = own.stack_with_packages(stack).platform
    lock, problem = own.present_lock(stack), own.problem_of(stack, settings)
    if as_json:
        print(json.dumps({"packages": own.rows(settings, lock), "in_order": not problem, "problem": problem}, indent=2))
        return
    if not settings.images.packages and not settings.images.apt:
        out.print(f"Stack {stack} has the packages of the images alone. Add one with: ws packages add NAME -s {stack}")
        return
    out.print(own.table(settings, lock))
    if problem:
        err.print(Text(problem, style="yellow"), soft_wrap=True)


@packages.command()
def upgrade(names: Names = None, stack: Stack = "dev") -> None:
    """Take the newest versions that fit: of the packages named, or of all."""
    from ws.packages import packages as own

    configured = own.stack_with_packages(stack)
    _say(own.change(configured, own.wanted_by(configured.platform), forget=names or None), stack)


@packages.command()
def lock(stack: Stack = "dev") -> None:
    """Make the lock fit the stack file and the images again. Versions stay where they can."""
    from ws.packages import packages as own

    configured = own.stack_with_packages(stack)
    _say(own.change(configured, own.wanted_by(configured.platform)), stack)


def _say(changes: str, stack: str) -> None:
    out.print(Text(changes), soft_wrap=True)
    out.print(Text(f"ws up -s {stack} builds this into the images of the Ray nodes and Marimo.", style="bold"))
