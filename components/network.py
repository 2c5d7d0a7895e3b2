"""The bridge network of one host's containers.

Owns the Docker network. Ray nodes get fixed addresses from the lower half of the subnet; Docker assigns addresses from
the upper half to all others, so that a restarted head finds its own address free. Not used between hosts.
"""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from config.platform import NetworkSettings
from stack.identity import StackIdentity

FIRST_FIXED_HOST = 10


@dataclass(frozen=True, kw_only=True)
class RayNetworkArgs:
    """Plain values only: names and addresses must be known in a preview."""

    identity: StackIdentity
    settings: NetworkSettings


class RayNetwork(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:network:RayNetwork``. Produces a `docker.Network`."""

    network_name: str
    gateway: str  # the host's own address on it
    resource: docker.Network

    def __init__(self, name: str, args: RayNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:network:RayNetwork", name, None, opts)
        settings = args.settings
        self.network_name = settings.name
        self._settings = settings
        lower, upper = settings.ipv4.subnets()
        self.gateway = str(lower[1])
        self.resource = docker.Network(
            name,
            name=settings.name,
            driver="bridge",
            ipam_configs=[
                docker.NetworkIpamConfigArgs(subnet=settings.subnet, ip_range=str(upper), gateway=self.gateway)
            ],
            labels=[
                docker.NetworkLabelArgs(label=key, value=value)
                for key, value in sorted(args.identity.labels("network").items())
            ],
            # A change of any field replaces the network, and names must be unique.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.register_outputs({"name": self.network_name})

    def fixed_address(self, index: int) -> str:
        """The address of the `index`-th Ray node (from 0), outside the range that Docker assigns."""
        return fixed_address(self._settings, index)


def fixed_address(settings: NetworkSettings, index: int) -> str:
    """The address of the `index`-th Ray node (from 0) in a network with these settings."""
    return str(settings.ipv4[FIRST_FIXED_HOST + index])
