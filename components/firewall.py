"""Firewall: lets other machines reach only the ports that the stack publishes to them (entrypoints/firewall.py).

Owns the only container with a capability, CAP_NET_ADMIN, on the host's network. It has no secret and no volume.
"""

from dataclasses import dataclass

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from components.topology import RESOLVER_OPTIONS
from config.services import FirewallSettings
from contracts import firewall
from contracts.document import SETTINGS_VARIABLE, dump
from stack.programs import run_module


@dataclass(frozen=True, kw_only=True)
class FirewallArgs:
    """Plain values, already validated, and the host."""

    settings: FirewallSettings
    host: Host
    image: pulumi.Input[str]
    guarded: firewall.Guarded


class Firewall(Service):
    """**Pulumi type** ``cslr:firewall:Firewall``. Ready when its rules are in place."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:firewall:Firewall", name, deployed_on=args.host, port=0, opts=opts)
        settings, host = args.settings, args.host
        program = firewall.FirewallSettings(
            table=host.identity.prefix,
            gateway=host.network.gateway,
            allow=settings.allow,
            hosts=args.guarded.hosts,
            ports=args.guarded.ports,
            forwarded=args.guarded.forwarded,
            scraped=args.guarded.scraped,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.firewall"),
                healthcheck=Healthcheck(
                    command=run_module("entrypoints.firewall", "health"), interval=3, start_period=30
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                # The kernel gives the capability to root alone; without any other, this root may do nothing more.
                user=settings.user,
                capabilities=("CAP_NET_ADMIN",),
                env=Environment(
                    defaults=RESOLVER_OPTIONS if args.guarded.hosts else {},
                    user=settings.env,
                    required={SETTINGS_VARIABLE: dump(program)},
                ),
                network="host",
                mounts=(*host.module("entrypoints.firewall"), *extra_mounts(settings.volumes)),
                tmp_bytes=16 * MEBIBYTE,
            ),
            after=[host.network.resource],
        )
