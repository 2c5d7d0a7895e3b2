"""Tls: nginx, which publishes the ports of the stack's web services with TLS in their place.

Owns the container. Keeps no state: certificate and key are in a folder that each deployment writes (stack/tls.py), and
nginx takes up a new certificate without a restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, PublishedPort, answers
from components.environment import Environment
from components.nginx_conf import FOLDER, PEM, FrontEnd, configuration
from components.service import Host, Service, extra_mounts
from config.ports import TLS_PING
from config.tls import TlsSettings
from stack.mount import Mount
from stack.programs import PROGRAMS_TARGET, program_path

PROGRAM = "nginx.sh"
CONFIGURATION = "nginx.conf"


@dataclass(frozen=True, kw_only=True)
class TlsArgs:
    """Plain values, already validated, and the services in whose place it publishes."""

    settings: TlsSettings
    host: Host
    image: pulumi.Input[str]
    front_ends: tuple[FrontEnd, ...]
    certificate: str  # folder of this host with certificate and key
    after: Sequence[pulumi.Resource]  # they must have given up their ports


class Tls(Service):
    """**Pulumi type** ``cslr:tls:Tls``. Ready when nginx answers; it starts without the services behind it."""

    def __init__(self, name: str, args: TlsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings, host = args.settings, args.host
        used = {one.published for one in args.front_ends}
        ping = next(port for port in range(TLS_PING, TLS_PING + len(used) + 1) if port not in used)
        super().__init__("cslr:tls:Tls", name, deployed_on=host, port=ping, opts=opts)
        conf = host.files.document(CONFIGURATION, configuration(args.front_ends, ping=ping).encode())
        inside = f"{PROGRAMS_TARGET}/{CONFIGURATION}"
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("sh", program_path(PROGRAM), inside, PEM),
                healthcheck=answers(ping, "/ping", start_period=30),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env),
                ports=tuple(
                    PublishedPort(internal=one.published, external=one.published, ip=host.bind_address(one.service))
                    for one in args.front_ends
                ),
                mounts=(
                    host.program(PROGRAM),
                    Mount(source=conf, target=inside, read_only=True),
                    # The folder, since a file that is replaced would stay the old one in the container.
                    Mount(source=args.certificate, target=FOLDER, read_only=True),
                    *extra_mounts(settings.volumes),
                ),
            ),
            after=args.after,
        )
