"""PostgresExporter: figures of Postgres for Prometheus. Owns the container."""

from dataclasses import dataclass

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, answers
from components.environment import Environment
from components.go_program import go_limits
from components.service import Host, Service, extra_mounts
from config.ports import POSTGRES, POSTGRES_EXPORTER
from config.services import PostgresExporterSettings
from contracts import postgres
from stack.secrets import SECRETS_TARGET

CONNECTION = {
    "DATA_SOURCE_URI": f"postgres:{POSTGRES}/{postgres.MLFLOW}?sslmode=disable",
    "DATA_SOURCE_USER": postgres.MONITOR,
    "DATA_SOURCE_PASS_FILE": f"{SECRETS_TARGET}/postgres-{postgres.MONITOR}",
}


@dataclass(frozen=True, kw_only=True)
class PostgresExporterArgs:
    """Plain values, already validated, and the host."""

    settings: PostgresExporterSettings
    host: Host
    image: pulumi.Input[str]


class PostgresExporter(Service):
    """**Pulumi type** ``cslr:postgres_exporter:PostgresExporter``. Ready when it answers, whatever Postgres does."""

    def __init__(self, name: str, args: PostgresExporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "cslr:postgres_exporter:PostgresExporter", name, deployed_on=args.host, port=POSTGRES_EXPORTER, opts=opts
        )
        settings, host = args.settings, args.host
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("prometheus-postgres-exporter", f"--web.listen-address=0.0.0.0:{POSTGRES_EXPORTER}"),
                healthcheck=answers(POSTGRES_EXPORTER, "/"),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(defaults={**go_limits(settings.memory), **CONNECTION}, user=settings.env),
                mounts=(
                    host.secrets.postgres_role(postgres.MONITOR, user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
