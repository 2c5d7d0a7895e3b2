"""Keeps the databases of MLflow and of the queue before an image changes that uses them: a way back from an upgrade.

Owns the command that the container waits for; docker_api/database_dump.py does the work.
"""

import pulumi
import pulumi_command as command

from components.service import Host
from docker_api import database_dump
from stack.state import DUMPS

IMAGE = "CSLR_NEXT_IMAGE"  # environment variable: with another image, the command runs again


def dump_before(what: str, *, image: pulumi.Input[str], host: Host, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """Declares that the databases of a service are kept before the container of a service gets an image."""
    container = host.identity.object_name("postgres")
    return command.local.Command(
        f"{what}-dump",
        create=database_dump.command(host.python, container, host.files.folder / DUMPS, what),
        environment={IMAGE: image},
        add_previous_output_in_env=False,
        opts=opts,
    )
