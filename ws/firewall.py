"""Finds the rules that a killed firewall left behind, and removes them with its own image.

The kernel holds the rules, and only a container with the right capability sees them. That also works if `ws` runs as
root, since the host need not have ``nft``.
"""

import json

import docker
import requests

from config.project import NAME
from docker_api.one_off import hardened, limits
from stack.identity import StackIdentity

FAMILY = "inet"
IMAGE_LABEL = "org.opencontainers.image.title=cslr firewall"
SERVICE_LABEL = "cslr.component=firewall"
SECONDS = 30
MEMORY = 64 * 2**20  # bytes


def left() -> tuple[str, ...]:
    """The stacks on this host whose rules are still set without a firewall; none if that is unknown."""
    try:
        client = docker.from_env(timeout=SECONDS)
        running = {one.labels.get("cslr.stack") for one in client.containers.list(filters={"label": SERVICE_LABEL})}
        said = _nft(client, "--json", "list", "tables")
    except (docker.errors.DockerException, requests.RequestException):
        return ()
    tables = [entry["table"] for entry in json.loads(said or "{}").get("nftables", ()) if "table" in entry]
    prefix = StackIdentity(project=NAME, stack="").prefix
    stacks = {
        table["name"].removeprefix(prefix)
        for table in tables
        if table["family"] == FAMILY and table["name"].startswith(prefix)
    }
    return tuple(sorted(stacks - running))


def clear(identity: StackIdentity) -> bool:
    """Removes the rules of a stack that is down; returns whether there were any."""
    if identity.stack not in left():
        return False
    try:
        _nft(docker.from_env(timeout=SECONDS), "delete", "table", FAMILY, identity.prefix)
    except (docker.errors.DockerException, requests.RequestException):
        return False
    return True


def removal(stack: str) -> str:
    """The command that removes the rules of a stack that has no file here."""
    image = f'"$(docker image ls -q -f label={IMAGE_LABEL!r} | head -1)"'
    table = StackIdentity(project=NAME, stack=stack).prefix
    options = "--rm --network host --user 0 --cap-add NET_ADMIN --entrypoint nft"
    return f"docker run {options} {image} delete table {FAMILY} {table}"


def _nft(client: docker.DockerClient, *arguments: str) -> str:
    """The output of ``nft`` on this host's network; empty if no image has it."""
    image = next(iter(client.images.list(filters={"label": IMAGE_LABEL})), None)
    if image is None:
        return ""
    said: bytes = client.containers.run(
        image,
        entrypoint=["nft", *arguments],
        network_mode="host",
        remove=True,
        **hardened("CAP_NET_ADMIN"),
        **limits(MEMORY),
    )
    return said.decode()
