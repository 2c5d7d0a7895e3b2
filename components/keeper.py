"""Keeper: restarts unhealthy containers of its stack, which Docker itself does not (entrypoints/keeper.py).

Owns the only container that has the Docker socket, and therefore no network and no secret.
"""

import platform as machine
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service
from config.services import KeeperSettings
from contracts import keeper
from contracts.document import SETTINGS_VARIABLE, dump
from docker_api.address import socket_path
from stack.mount import Mount
from stack.programs import run_module
from stack.secrets import user_id

SOCKET_TARGET = Path("/run/docker.sock")
# What the keeper tells others, which must not have the socket: a folder on the host, and where they mount it.
TOLD, TOLD_TARGET = "containers", Path("/run/containers")
CONTAINERS, LOOK = TOLD_TARGET / "containers.json", TOLD_TARGET / "look.json"


@dataclass(frozen=True, kw_only=True)
class DockerSocket:
    """The Docker Engine's socket on this host."""

    path: str
    group: int  # its members may use the socket


def docker_socket() -> DockerSocket | None:
    """The socket that ``DOCKER_HOST`` names, else the default; None if the Engine is not reached through a socket."""
    path = socket_path()
    try:
        return DockerSocket(path=str(path), group=path.stat().st_gid) if path else None
    except OSError:
        return None


def engine_hostname(socket: DockerSocket | None) -> str:
    """The name of this host; empty where the Docker Engine is on another."""
    return machine.node() if socket else ""


@dataclass(frozen=True, kw_only=True)
class KeeperArgs:
    """Plain values, already validated, and the host."""

    settings: KeeperSettings
    host: Host
    image: pulumi.Input[str]
    socket: DockerSocket
    told: str | None = None  # folder of this host in which it lists the stack's containers; None: nobody reads that


class Keeper(Service):
    """**Pulumi type** ``cslr:keeper:Keeper``. Ready when it has seen the stack's containers."""

    def __init__(self, name: str, args: KeeperArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:keeper:Keeper", name, deployed_on=args.host, port=0, opts=opts)
        settings, identity = args.settings, args.host.identity
        program = keeper.KeeperSettings(
            project=identity.project,
            stack=identity.stack,
            service=name,
            socket=SOCKET_TARGET,
            containers=CONTAINERS if args.told else None,
            look=LOOK if args.told else None,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.keeper"),
                healthcheck=Healthcheck(command=run_module("entrypoints.keeper", "health"), start_period=30),
                cpus=settings.cpus,
                memory=settings.memory,
                user=f"{user_id(settings.user)}:{args.socket.group}",
                env=Environment(user=settings.env, required={SETTINGS_VARIABLE: dump(program)}),
                network="none",
                mounts=(
                    *args.host.module("entrypoints.keeper"),
                    Mount(source=args.socket.path, target=str(SOCKET_TARGET)),
                    *((Mount(source=args.told, target=str(TOLD_TARGET)),) if args.told else ()),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
