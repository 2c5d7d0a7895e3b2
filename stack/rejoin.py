"""Reconnects containers that were cut from the stack's network (``docker network disconnect``), and unpauses them.

Needed with the genuine Pulumi, whose provider checks neither a container's networks nor whether it is paused: no
refresh sees it. The embedded engine checks both itself.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from docker_api.api import DockerApi, DockerError, Json
from stack.identity import StackIdentity


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A container that is paused, or not in the network that it was made for."""

    name: str
    identifier: str
    service: str
    paused: bool
    outside: bool  # of the network

    def __str__(self) -> str:
        return f"{self.name} is {'paused' if self.paused else 'cut from its network'}"


def cut_off(identity: StackIdentity, network: str, known: Collection[str]) -> list[Cut]:
    """Those of a stack, among the containers with `known` IDs: one that is being made joins in a moment."""
    try:
        found = DockerApi().labelled("/containers/json", "", identity.label_filters)
    except DockerError:
        return []
    return [
        Cut(
            name=one["Names"][0].removeprefix("/"),
            identifier=one["Id"],
            service=one["Labels"].get("cslr.component", ""),
            paused=one["State"] == "paused",
            outside=_is_outside(one, network),
        )
        for one in found
        if one["Id"] in known
        and (one["State"] == "paused" or (one["State"] == "running" and _is_outside(one, network)))
    ]


def _is_outside(one: Json, network: str) -> bool:
    made_there = one["HostConfig"].get("NetworkMode") in ("bridge", "default")  # and moved from there
    return made_there and network not in one["NetworkSettings"]["Networks"]


def rejoin(containers: Collection[Cut], network: str, addresses: Mapping[str, str]) -> None:
    """Lets them go on, and connects them; `addresses` has the fixed ones by service."""
    for one in containers:
        api = DockerApi()
        if one.paused:
            with suppress(DockerError):  # something else was faster
                api.call("POST", f"/containers/{one.identifier}/unpause")
        if not one.outside:
            continue
        ipam = {"IPv4Address": addresses[one.service]} if one.service in addresses else {}
        endpoint = {"Aliases": [one.service], "IPAMConfig": ipam}
        with suppress(DockerError):  # it is being replaced
            body = {"Container": one.identifier, "EndpointConfig": endpoint}
            api.call("POST", f"/networks/{network}/connect", body=body)
