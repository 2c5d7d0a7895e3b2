"""Postgres: the store of MLflow and of the queue.

Owns the container and its data volume; the entry script creates roles and databases. Does not own their schemas.
"""

from dataclasses import dataclass

import pulumi

from components.database_dump import dump_before
from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from config.ports import POSTGRES
from config.services import PostgresSettings
from contracts.postgres import ROLES
from stack.programs import program_path

RESTORE_SECONDS = 6 * 3600  # until it answers, after `ws postgres upgrade`; one that fails is not waited for as long
FORMER_NAMES = ("mlflow-postgres",)  # of this platform's predecessor, which notebooks and scripts may still have


@dataclass(frozen=True, kw_only=True)
class PostgresArgs:
    """Plain values, already validated, and the host."""

    settings: PostgresSettings
    host: Host
    image: pulumi.Input[str]


class Postgres(Service):
    """**Pulumi type** ``cslr:postgres:Postgres``. Ready when it accepts connections."""

    def __init__(self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:postgres:Postgres", name, deployed_on=args.host, port=POSTGRES, opts=opts)
        settings, host = args.settings, args.host
        kept = dump_before(name, image=args.image, host=host, opts=pulumi.ResourceOptions(parent=self))
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("sh", program_path("postgres.sh")),
                healthcheck=Healthcheck(command=("sh", program_path("postgres.sh"), "health"), interval=3),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env),
                aliases=FORMER_NAMES,
                ports=self._publish(POSTGRES, settings.port),
                mounts=(
                    self._data(settings.data, "data", "/var/lib/postgresql/data"),
                    host.program("postgres.sh"),
                    host.secrets.mount("postgres-password", user=settings.user),
                    # Also the queue's without a queue, so that enabling one does not restart Postgres under MLflow.
                    *(host.secrets.postgres_role(role, user=settings.user) for role in ROLES),
                    *extra_mounts(settings.volumes),
                ),
                shm_bytes=128 * MEBIBYTE,
                # Postgres' fast shutdown; SIGTERM would wait for every client to leave.
                stop_signal="SIGINT",
                stop_seconds=30,
                wait_seconds=RESTORE_SECONDS,
            ),
            after=[kept],
        )
