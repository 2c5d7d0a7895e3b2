"""Redis: the store of the Ray cluster's GCS state, and its replica on another host of a cluster.

Owns the containers and their data volumes (append-only file, synced each second). Does not own the head's lease
(coordination/lease.py), the roles of a Redis pair (coordination/redis_pair.py), or users' uploads, which are kept
elsewhere (entrypoints/hooks/package_store.py).
"""

from dataclasses import dataclass

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from config.ports import REDIS
from config.services import RedisReplicaSettings, RedisSettings
from coordination.redis_users import HEAD_RIGHTS
from stack.programs import program_path
from stack.secrets import SECRETS_TARGET

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
# A server of a pair must not act as primary merely because it started: it starts as a replica of nothing and refuses
# writes until it is assigned a role.
PAIR_CONFIGURATION = """\
replicaof 127.0.0.1 1
# By default the first one is made to wait for others.
repl-diskless-sync-delay 0
"""
# Share of the container's memory. While the append-only file is rewritten, changed pages exist twice: with 297 of
# 320 MiB in use, overwritten as fast as possible, a container of 512 MiB reached 498 MiB
# (docs/decisions/0022-uploads-beside-redis.md).
MAXMEMORY_SHARE = 0.625
BACKLOG = 64 * MEBIBYTE
FORMER_NAMES = ("ray-redis",)  # of this platform's predecessor, which notebooks and scripts may still have
# Given as an argument or a variable, the password would be in `ps` or in the environment.
PING = f"redis-cli --askpass ping <{SECRETS_TARGET}/redis-password | grep -q PONG"


@dataclass(frozen=True, kw_only=True)
class RedisArgs:
    """Plain values, already validated, and the host."""

    settings: RedisSettings | RedisReplicaSettings
    host: Host
    image: pulumi.Input[str]


class _RedisServer(Service):
    """One Redis server, alone or in a pair."""

    def _serve(self, args: RedisArgs) -> None:
        settings, host = args.settings, args.host
        paired = len(host.topology.redis_addresses) > 1
        self._run(
            ContainerSpec(
                service=self.host,
                image=args.image,
                command=(
                    *("sh", program_path("redis/server.sh")),
                    *(f"{SECRETS_TARGET}/redis.conf", f"{SECRETS_TARGET}/redis-password"),
                    host.topology.namespace,
                    *(right for right, _ in HEAD_RIGHTS),
                ),
                healthcheck=Healthcheck(command=("sh", "-c", PING), interval=3, start_period=30),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env),
                aliases=FORMER_NAMES if self.host == "redis" else (),
                ports=self._publish(REDIS, settings.port),
                mounts=(
                    *host.programs("redis/server.sh", "redis/users.sh", "redis/users.lua"),
                    self._data(settings.data, "data", "/data"),
                    host.secrets.redis_conf(
                        configuration(settings.memory, paired=paired),
                        user=settings.user,
                        replicated=paired,
                        namespace=host.topology.namespace,
                    ),
                    host.secrets.mount("redis-password", user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
            )
        )


def configuration(memory: int, *, paired: bool) -> str:
    """The configuration of a server in a container with this much memory, without its password.

    A write that does not fit is refused; otherwise the kernel would kill the server, and again after each start.
    """
    lines = f"{CONFIGURATION}maxmemory {int(memory * MAXMEMORY_SHARE)}\n"
    # The backlog for the replica counts as used memory.
    return f"{lines}{PAIR_CONFIGURATION}repl-backlog-size {min(BACKLOG, memory // 8)}\n" if paired else lines


class Redis(_RedisServer):
    """**Pulumi type** ``cslr:redis:Redis``. Ready when it answers PING with the password."""

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:redis:Redis", name, deployed_on=args.host, port=REDIS, opts=opts)
        self._serve(args)


class RedisReplica(_RedisServer):
    """**Pulumi type** ``cslr:redis:RedisReplica``. Ready when it answers PING, even before it finds the primary.

    Configured like the primary: the roles are assigned while both run.
    """

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:redis:RedisReplica", name, deployed_on=args.host, port=REDIS, opts=opts)
        self._serve(args)
