"""Makes each additional named volume of a stack file the property of the user that writes to it.

A new Docker volume belongs to root, unless the image has a folder at its target. Owns the command that gives it to the
service's user before the service starts; docker_api/volume_owner.py does the work.
"""

import shlex

import pulumi
import pulumi_command as command

from docker_api.volume_owner import IMAGE


def give_volume(
    name: str,
    volume: str,
    *,
    target: str,
    image: pulumi.Input[str],
    user: str,
    python: str,
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """Declares that a volume belongs to a user (``uid:gid``). Runs in the service's image, which is present anyway."""
    return command.local.Command(
        name,
        create=shlex.join([python, "-m", "docker_api.volume_owner", volume, user, target]),
        environment={IMAGE: image},
        add_previous_output_in_env=False,
        opts=opts,
    )
