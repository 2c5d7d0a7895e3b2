"""The command `ws client`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from ws.paths import there
from ws.terminal import Stack

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]*")  # with the domain, where a directory service gives it


def add_commands(app: typer.Typer) -> None:
    """Makes it part of `ws`."""
    app.command("client")(client)


def client(
    stack: Stack = "dev",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder to write to: a new or empty one, or an earlier bundle. Default: _build/client-<stack>.",
            metavar="FOLDER",
            callback=there,
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Name or address by which the person reaches this host. Default: the first of network.names, else its "
            "address.",
            metavar="NAME|ADDRESS",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="The person's login name on this host. Default: what their own ssh configuration says.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    notebooks: Annotated[
        str | None,
        typer.Option(
            help="Whose notebooks to include, where people have their own (ws user list). Default: those of --user.",
            metavar="PERSON",
            show_default=False,
        ),
    ] = None,
    tunnel: Annotated[
        bool,
        typer.Option("--tunnel", help="Use the tunnel also for ports that network.bind_address opens to the network."),
    ] = False,
    shift: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Add N to the ports on the person's computer, if other programs there use those of the stack.",
        ),
    ] = 0,
) -> None:
    """Write a folder with which a person uses the stack from their own computer: Linux, macOS, WSL2.

    It holds tokens, an ssh tunnel, a uv project with the cluster's versions of Python and Ray, environment variables, a
    first job, and a check that says what works. Run the command again to update a folder.
    """
    from config.project import FOLDER
    from preflight.host_facts import outside_addresses
    from ws.client import endpoints, folder, making
    from ws.errors import WsError
    from ws.generate.command import BUILD_FOLDER, show
    from ws.generate.files import Written, shown
    from ws.stack_settings import open_stack

    _check(host, HOST, "--host", "the name or IPv4 address of a host")
    _check(user, USER, "--user", "a login name")
    configured = open_stack(stack)
    if configured.matrix is not None:
        raise WsError(f"stack {stack} only builds images: there is nothing to use")
    own_addresses = outside_addresses()
    host = host or endpoints.default_host(configured.platform, own_addresses)
    if host is None:
        raise WsError("this host has neither a name nor an address that others know. Give one: ws client --host NAME")
    way = endpoints.Way(host=host, tunnel=tunnel, shift=shift, person=notebooks or user)
    if notebooks and not endpoints.has_own_notebooks(configured.platform, notebooks):
        raise WsError(f"{notebooks[:60]!r} has no notebooks of their own in stack {stack}: ws user list -s {stack}")
    path = output or FOLDER / BUILD_FOLDER / f"client-{stack}"
    folder.write(making.bundle_of(configured, way, user), path)
    show(
        Written(
            paths=(path,),
            notes=tuple(making.notes(configured, way, own_addresses)),
            next_step=f"Give it to the person, for example: scp -rp {shown(path)} THEIR-COMPUTER:    "
            "They begin with its README.md",
        )
    )


def _check(value: str | None, pattern: re.Pattern[str], option: str, what: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise typer.BadParameter(f"{value[:100]!r} is not {what}", param_hint=option)
