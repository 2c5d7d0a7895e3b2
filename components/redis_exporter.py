"""RedisExporter: figures of Redis for Prometheus.

Owns the container. It is the Redis user who may only read, and asks for nothing that this user may not.
"""

import json
from dataclasses import dataclass

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, answers
from components.environment import Environment
from components.go_program import go_limits
from components.service import Host, Service, extra_mounts
from config.ports import REDIS, REDIS_EXPORTER
from config.services import RedisExporterSettings
from coordination import redis_users
from stack.secrets import REDIS_EXPORTER as PASSWORDS
from stack.secrets import SECRETS_TARGET

ADDRESS = f"redis:{REDIS}"


@dataclass(frozen=True, kw_only=True)
class RedisExporterArgs:
    """Plain values, already validated, and the host."""

    settings: RedisExporterSettings
    host: Host
    image: pulumi.Input[str]


class RedisExporter(Service):
    """**Pulumi type** ``cslr:redis_exporter:RedisExporter``. Ready when it answers, whatever the state of Redis."""

    def __init__(self, name: str, args: RedisExporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "cslr:redis_exporter:RedisExporter", name, deployed_on=args.host, port=REDIS_EXPORTER, opts=opts
        )
        settings, host = args.settings, args.host
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=(
                    "prometheus-redis-exporter",
                    f"--redis.addr=redis://{ADDRESS}",
                    f"--redis.user={redis_users.READER}",
                    f"--redis.password-file={SECRETS_TARGET}/{PASSWORDS}",
                    f"--web.listen-address=0.0.0.0:{REDIS_EXPORTER}",
                    "--config-command=-",  # which the user may not
                    "--exclude-latency-histogram-metrics",  # nor that
                ),
                healthcheck=answers(REDIS_EXPORTER, "/health"),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(defaults=go_limits(settings.memory), user=settings.env),
                mounts=(
                    host.secrets.document(
                        PASSWORDS, passwords(host.secrets.values["redis-password"]), user=settings.user
                    ),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )


def passwords(secret: str) -> str:
    """The exporter's file of passwords: address, with and without the user as its releases look it up → password."""
    password = redis_users.password(secret, redis_users.READER)
    return json.dumps({f"redis://{login}{ADDRESS}": password for login in ("", f"{redis_users.READER}@")})
