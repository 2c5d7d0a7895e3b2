"""The command `ws generate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws.paths import there
from ws.terminal import Stack, err, out

if TYPE_CHECKING:
    from ws.generate.files import Written

BUILD_FOLDER = "_build"


def add_commands(app: typer.Typer) -> None:
    """Makes it part of `ws`."""
    app.command("generate")(generate)


def generate(
    stack: Stack = "dev",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder to write to. Default: _build.",
            metavar="FOLDER",
            callback=there,
            show_default=False,
        ),
    ] = None,
    build: Annotated[bool, typer.Option("--build", help="Build or pull the images that are missing.")] = False,
) -> None:
    """Write the stack as a file for Docker Compose: _build/compose.yaml.

    The same containers as `ws up` makes: images, limits, health checks, order, secrets as files. Deploys nothing.
    """
    from config.project import FOLDER
    from ws.deploy import Session
    from ws.generate import files
    from ws.stack_settings import open_stack

    session = Session(open_stack(stack), out)
    show(files.write(session, output or FOLDER / BUILD_FOLDER, build=build))


def show(written: "Written") -> None:
    """Names the files, what to know of them, and the next commands."""
    for path in written.paths:
        out.print(Text(str(path), style="bold"), soft_wrap=True)
    for line in written.notes:
        err.print(Text(line, style="yellow"), soft_wrap=True)
    out.print(written.next_step, markup=False, soft_wrap=True)
