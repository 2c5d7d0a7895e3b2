"""`python -m docker_api.volume_owner VOLUME UID:GID TARGET`: makes a user the owner of a new volume.

Runs `chown` once, in a container of the image that CSLR_VOLUME_IMAGE names: without network, with no other
capability than to change owners. A volume with files, or with an owner other than root, stays unchanged. Whenever an
empty volume is mounted, Docker gives it the owner of the image's folder at its target; the option against that (NoCopy)
needs Docker 26 with Pulumi's provider, so such a target is refused.
Exit code: 0 the user can write to it, 1 otherwise, with the reason on standard error.
"""

import os
import sys
from contextlib import suppress

import docker
import requests

from docker_api.one_off import hardened, limits

IMAGE = "CSLR_VOLUME_IMAGE"  # environment variable: image ID, of which only a shell and coreutils are needed
TARGET = "/volume"
SECONDS = 60
MEMORY = 64 * 2**20
SCRIPT = f"""
owner=$(stat -c %u {TARGET})
if [ "$owner" = 0 ] && [ -z "$(ls -A {TARGET})" ]; then chown "$1:$2" {TARGET}; fi
stat -c '%u %g %a' {TARGET}
if [ -z "$(ls -A {TARGET})" ]; then stat -c %u "$3" 2>/dev/null || true; fi
"""


class VolumeError(Exception):
    """The user cannot write to the volume. The message says why, with the remedy."""


def give(client: docker.DockerClient, volume: str, user: str, target: str, image: str) -> None:
    """Makes the user the owner of a new volume; creates it if it is missing. Raises `VolumeError`."""
    uid, gid = user.split(":")
    container = client.containers.create(
        image,
        entrypoint=["sh", "-c", SCRIPT, "sh", uid, gid, target],
        network_mode="none",
        **limits(MEMORY),
        healthcheck={"test": ["NONE"]},
        mounts=[docker.types.Mount(TARGET, volume, type="volume", no_copy=True)],
        **hardened("CHOWN"),
    )
    try:
        container.start()
        code = container.wait(timeout=SECONDS)["StatusCode"]
        said = container.logs().decode(errors="replace").strip()
    finally:
        with suppress(docker.errors.APIError):
            container.remove(force=True)
    if code:
        raise VolumeError(f"the owner of the volume {volume} cannot be set: {said or f'exit code {code}'}")
    _check(volume, uid, gid, said.split()[:3])
    if said.split()[3:] not in ([], [uid]):
        raise VolumeError(
            f"user {uid} could not write to the volume {volume} at {target}: the image has a folder of another user "
            f"there, whose owner an empty volume gets.\n  Mount it at a path that the image does not have, such as "
            f"{target}/{volume}."
        )


def _check(volume: str, uid: str, gid: str, found: list[str]) -> None:
    owner, group, mode = found[0], found[1], int(found[2], 8)
    shift = 6 if owner == uid else 3 if group == gid else 0
    if (mode >> shift) & 0o7 != 0o7:
        raise VolumeError(
            f"user {uid} cannot write to the volume {volume}: it has files, or was given to user {owner} "
            f"(mode {mode & 0o7777:o}).\n  Use another volume, mount it with read_only: true, or run the service as "
            f"{owner}:{group}, with its key `user`."
        )


def main(arguments: list[str]) -> int:
    """The program."""
    volume, user, target = arguments
    try:
        give(docker.from_env(timeout=SECONDS), volume, user, target, os.environ[IMAGE])
    except (VolumeError, docker.errors.DockerException, requests.RequestException) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
