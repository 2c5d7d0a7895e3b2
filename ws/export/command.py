"""The commands of `ws export`."""

from pathlib import Path
from typing import Annotated

import typer

from ws.generate.command import show
from ws.paths import there
from ws.terminal import Stack, out

FILE = "_build/kuberay.yaml"
export = typer.Typer(help="Write a stack in the form of other systems, for groups that outgrow plain hosts.")


def add_commands(app: typer.Typer) -> None:
    """Makes them part of `ws`."""
    app.add_typer(export, name="export")


@export.callback()
def _group() -> None:
    """Keeps the name of a command of which there is only one."""


@export.command()
def kuberay(
    stack: Stack = "dev",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"File to write. Default: {FILE}.",
            metavar="FILE",
            callback=there,
            show_default=False,
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            help="Prefix of the image names, such as registry.example.org/cslr. Default: images.registry of the stack.",
            metavar="PREFIX",
            show_default=False,
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Pods of each group of workers. Default: one for each host.", show_default=False),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs of a pod of ray-gpu. Default: as many as this host's.", show_default=False),
    ] = None,
) -> None:
    """Write the stack's Ray cluster as manifests for Kubernetes with KubeRay: _build/kuberay.yaml.

    The same images, resources, ports, tokens and fault tolerance of the GCS. Deploys nothing. Secrets are not in the
    file: the command that takes them from this host is shown.
    """
    from config.project import FOLDER
    from ws.deploy import Session
    from ws.export.files import write
    from ws.stack_settings import open_stack

    session = Session(open_stack(stack), out)
    show(write(session, output or FOLDER / FILE, registry=registry, replicas=replicas, gpus=gpus))
