"""`ws user`: people, with notebooks and accounts in MLflow. Implementations are imported when called: quick help."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws.terminal import HELP, AsJson, Stack, err, out

if TYPE_CHECKING:
    from ws.users.everywhere import Done

users = typer.Typer(
    help="People: notebooks of their own (a container, a volume, a token), and an account where MLflow has logins.",
    no_args_is_help=True,
    context_settings=HELP,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and '-'.", show_default=False)]


@users.command()
def add(
    name: Name,
    cpus: Annotated[
        float | None, typer.Option(help="Limit of CPU cores. Default: marimo.cpus.", metavar="N", show_default=False)
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Limit of memory. Default: marimo.memory.", metavar="8g", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Host port. Default: the next free one from marimo.port on.", metavar="N", show_default=False
        ),
    ] = None,
    own_notebooks: Annotated[
        bool,
        typer.Option(
            "--notebooks/--no-notebooks",
            help="Notebooks of their own, or only an account in MLflow: the shared notebooks stay.",
        ),
    ] = True,
    stack: Stack = "dev",
) -> None:
    """Give a person notebooks of their own: an entry in the stack file, and a token. `ws up` starts them.

    Where MLflow has logins, also an account there, at once; its password is printed on stdout, this once. If it was
    interrupted, run it again.
    """
    from ws.users import everywhere

    limits = {"cpus": cpus, "memory": memory, "port": port}
    if not own_notebooks and any(each is not None for each in limits.values()):
        raise typer.BadParameter("--cpus, --memory and --port are those of notebooks; leave out --no-notebooks")
    done = everywhere.add(stack, name, limits, own_notebooks=own_notebooks)
    _say(done, stack)
    if done.password:
        out.print(Text("The password in MLflow, which is shown only once:"), soft_wrap=True)
        print(done.password, flush=True)
        everywhere.told(stack, name)


@users.command()
def remove(name: Name, stack: Stack = "dev") -> None:
    """Remove a person's notebook server and token, and the account in MLflow. Notebooks and runs stay."""
    from ws.users import everywhere

    _say(everywhere.remove(stack, name), stack)


@users.command()
def password(
    name: Name,
    typed: Annotated[bool, typer.Option("--ask", help="Ask for the password, or read it from standard input.")] = False,
    stack: Stack = "dev",
) -> None:
    """Give a person's account in MLflow another password, which is printed on stdout if it is made here."""
    from ws.config.commands import asked
    from ws.users import everywhere

    made = everywhere.password(stack, name, asked(f"password of {name}") if typed else None)
    if made:
        print(made)
    err.print(Text(f"{name} has another password now; the former one works for at most 60 s more."), soft_wrap=True)


@users.command("list")
def show(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """List the people: address, state, limits, and where token and notebooks are; also those who were removed."""
    from ws.users import everywhere, view

    found, problem = everywhere.found(stack)
    if problem:
        err.print(Text(problem, style="yellow"), soft_wrap=True)
    if as_json:
        print(json.dumps(view.rows(found), indent=2))
    elif found:
        out.print(view.table(found))
    else:
        out.print(
            Text(f"Everyone shares one notebook server. Give a person their own with: ws user add NAME -s {stack}"),
            soft_wrap=True,
        )


@users.command()
def token(
    name: Name,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new one; the old one works until `ws up`.")] = False,
    stack: Stack = "dev",
) -> None:
    """Print the token that opens a person's notebooks, on stdout, and nothing else."""
    from ws.users import people

    print(people.token(stack, name, renew=renew))
    if renew:
        err.print(Text(f"The new token takes effect with: ws up -s {stack}", style="bold"), soft_wrap=True)


def _say(done: "Done", stack: str) -> None:
    for line in done.lines:
        out.print(Text(line), soft_wrap=True)
    if done.deploy:
        out.print(Text(f"To apply it: ws up -s {stack}", style="bold"))
