"""Redis: the store of the Ray cluster's GCS state.

Owns the container and its data volume (append-only file, synced each second). Does not own who is head
(entrypoints/ray_node.py).
"""

from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.ports import REDIS
from components.secrets import SECRETS_TARGET
from components.service import Host, Service, extra_mounts
from components.service_settings import RedisSettings

CONFIGURATION = f"""\
bind * -::*
port {REDIS}
dir /data
appendonly yes
appendfsync everysec
# The append-only file is the persistence; a second copy by snapshots would double the writes.
save ""
# Ray's state must never be evicted.
maxmemory-policy noeviction
"""


@dataclass(frozen=True, kw_only=True)
class RedisArgs:
    """Plain values, already validated, and what it runs on."""

    settings: RedisSettings
    host: Host
    image: pulumi.Input[str]


class Redis(Service):
    """**Pulumi type** ``cslr:redis:Redis``. Ready when it answers PING with the password."""

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:redis:Redis", name, deployed_on=args.host, port=REDIS, opts=opts)
        settings, host = args.settings, args.host
        ping = f'REDISCLI_AUTH="$(cat {SECRETS_TARGET}/redis-password)" redis-cli ping | grep -q PONG'
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("redis-server", f"{SECRETS_TARGET}/redis.conf"),
                healthcheck=Healthcheck(command=("sh", "-c", ping), interval=3, start_period=30),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=settings.env,
                ports=host.publish(REDIS, settings.port),
                mounts=(
                    self._data(settings.data, "data", "/data"),
                    host.secrets.redis_conf(CONFIGURATION, user=settings.user),
                    host.secrets.mount("redis-password", user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
            )
        )
