"""`ws mlflow`: occasional maintenance of MLflow's data."""

from pathlib import Path
from shlex import join
from typing import Annotated

import typer
from rich.text import Text

from ws.paths import there
from ws.terminal import HELP, Stack, Yes, confirm, out

mlflow = typer.Typer(help="MLflow's stored runs and artifacts.", no_args_is_help=True, context_settings=HELP)


@mlflow.command("gc", context_settings={**HELP, "allow_extra_args": True, "ignore_unknown_options": True})
def collect(
    context: typer.Context,
    older_than: Annotated[
        str | None, typer.Option(help="Only what was deleted at least this long ago: 30d, 1d12h.", metavar="TIME")
    ] = None,
    stack: Stack = "dev",
    yes: Yes = False,
) -> None:
    """Remove for good what people deleted in MLflow: runs, experiments and models, with their artifacts.

    Asks first; without a terminal it removes nothing unless --yes is given. Other options are those of `mlflow gc`,
    such as --run-ids and --experiment-ids.
    """
    from ws.mlflow.maintenance import garbage_collection
    from ws.stack_settings import open_stack

    which = f" {older_than} ago or earlier" if older_than else ""
    options = [*([f"--older-than={older_than}"] if older_than else []), *context.args]
    confirm(
        f"What was deleted in MLflow of stack {stack}{which} will be removed for good, with its artifacts.",
        yes=yes,
        confirmed=join(["ws", "mlflow", "gc", "-s", stack, *options, "--yes"]),
    )
    garbage_collection(open_stack(stack).identity, options, out)


@mlflow.command("dump")
def dump(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Output file; - is stdout.", callback=there)],
    stack: Stack = "dev",
) -> None:
    """Write MLflow's database to a file, as `pg_dump` does, while it is in use. Artifacts are not in it.

    Restore it with `ws mlflow restore`.
    """
    from ws.mlflow.maintenance import database_dump
    from ws.stack_settings import open_stack

    written = database_dump(open_stack(stack).identity, None if file.name == "-" else file)
    if file.name != "-":
        out.print(Text(f"{written / 10**6:.1f} MB in {file}", style="bold green"), soft_wrap=True)


@mlflow.command("restore")
def restore(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `ws mlflow dump`, or an `up`, has written.", callback=there),
    ],
    stack: Stack = "dev",
    yes: Yes = False,
) -> None:
    """Make MLflow's database what a dump says. MLflow restarts; the database before is kept as a dump as well.

    Asks first; without a terminal it changes nothing unless --yes is given.
    """
    from ws.mlflow.maintenance import database_restore
    from ws.stack_settings import open_stack

    identity = open_stack(stack).identity
    confirm(
        f"MLflow's runs and models of stack {stack} will be those of {file}.",
        yes=yes,
        confirmed=join(["ws", "mlflow", "restore", str(file), "-s", stack, "--yes"]),
    )
    before = database_restore(identity, file)
    out.print(Text(f"Restored {file}", style="bold green"), soft_wrap=True)
    out.print(Text(f"As it was before: {before}", style="dim"), soft_wrap=True)
