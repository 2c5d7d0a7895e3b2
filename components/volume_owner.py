"""Named volumes that a stack file mounts besides the platform's own: each belongs to who writes to it.

Docker makes a volume root's, unless the image has something at its target. Owns the command that gives one that is new
to the user of its service, before that starts. What it does is docker_api/volume_owner.py.
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
    """Declares that a volume belongs to a user (``uid:gid``). An image of the service does it, which is here anyway."""
    return command.local.Command(
        name,
        create=shlex.join([python, "-m", "docker_api.volume_owner", volume, user, target]),
        environment={IMAGE: image},
        add_previous_output_in_env=False,
        opts=opts,
    )
