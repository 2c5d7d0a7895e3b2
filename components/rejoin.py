"""Containers that were cut from the stack's network (``docker network disconnect``): joins them again, as they run.

For the genuine Pulumi, whose provider compares neither a container's networks nor its aliases with what there is: no
refresh sees it. The embedded engine looks for itself.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from components.identity import StackIdentity
from docker_engine.api import DockerApi, DockerError


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A running container that is not in the network that it was made for."""

    name: str
    identifier: str
    service: str


def cut_off(identity: StackIdentity, network: str, known: Collection[str]) -> list[Cut]:
    """Those of a stack, among the containers with `known` IDs: one that is being made joins in a moment."""
    labels = [f"cslr.project={identity.project}", f"cslr.stack={identity.stack}"]
    try:
        found = DockerApi().labelled("/containers/json", "", labels)
    except DockerError:
        return []
    return [
        Cut(
            name=one["Names"][0].removeprefix("/"),
            identifier=one["Id"],
            service=one["Labels"].get("cslr.component", ""),
        )
        for one in found
        if one["Id"] in known
        and one["State"] == "running"
        and one["HostConfig"].get("NetworkMode") in ("bridge", "default")  # they are made there, and moved
        and network not in one["NetworkSettings"]["Networks"]
    ]


def rejoin(containers: Collection[Cut], network: str, addresses: Mapping[str, str]) -> list[str]:
    """Connects them; `addresses` has the fixed ones by service. Returns the names of those that are in it again."""
    api, joined = DockerApi(), []
    for one in containers:
        ipam = {"IPv4Address": addresses[one.service]} if one.service in addresses else {}
        endpoint = {"Aliases": [one.service], "IPAMConfig": ipam}
        with suppress(DockerError):  # it is being replaced
            body = {"Container": one.identifier, "EndpointConfig": endpoint}
            api.call("POST", f"/networks/{network}/connect", body=body)
            joined.append(one.name)
    return joined
