"""Queue: takes jobs of several users and starts them on the Ray cluster when their turn comes.

Owns the container and the volume with the folders that were sent with jobs. Its jobs are in Postgres, in a database of
its own (entrypoints/postgres.sh), so the container can be replaced at any time.
"""

from dataclasses import dataclass

import pulumi

from components.database_dump import dump_before
from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.postgres import Postgres
from components.service import Host, Service, extra_mounts
from config.ports import POSTGRES, QUEUE
from config.queue import QueueChannelSettings, QueueSettings
from contracts import postgres, queue
from contracts.document import SETTINGS_VARIABLE, dump
from stack.programs import run_module, run_python

PROGRAM = "entrypoints.queue.server"
DAY, HOUR = 86400.0, 3600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class QueueArgs:
    """Plain values, already validated, and dependencies."""

    settings: QueueSettings
    host: Host
    image: pulumi.Input[str]
    postgres: Postgres
    tracking_uri: str | None  # MLflow
    dashboards: tuple[str, ...]  # of Ray, as host:port


class Queue(Service):
    """**Pulumi type** ``cslr:queue:Queue``. Ready when it answers; it waits for Ray by itself."""

    def __init__(self, name: str, args: QueueArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:queue:Queue", name, deployed_on=args.host, port=QUEUE, opts=opts)
        settings, host = args.settings, args.host
        # Once Postgres is healthy, as MLflow's.
        ready = pulumi.ResourceOptions(parent=self, depends_on=[args.postgres])
        kept = dump_before(name, image=args.image, host=host, opts=ready)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module(PROGRAM),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{QUEUE}/ping"), interval=3, start_period=60
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env, required={SETTINGS_VARIABLE: dump(_program(args))}),
                ports=self._publish(QUEUE, settings.port),
                mounts=(
                    self._data(settings.data, "data", "/data"),
                    *host.module(PROGRAM),
                    host.program("http_health.py"),
                    host.secrets.mount("ray-token", user=settings.user),
                    host.secrets.postgres_role(postgres.QUEUE, user=settings.user),
                    *host.mlflow_login(settings.user),
                    *host.env_secrets(name),
                    *extra_mounts(settings.volumes),
                ),
            ),
            after=[args.postgres, kept],
        )


def _program(args: QueueArgs) -> queue.QueueSettings:
    """What the program is told."""
    settings = args.settings
    mail = settings.mail
    return queue.QueueSettings(
        stack=args.host.identity.stack,
        database=f"host={args.postgres.host} port={POSTGRES} dbname={postgres.QUEUE} user={postgres.QUEUE}",
        dashboards=args.dashboards,
        users={
            name: queue.QueueUser(
                shares=user.shares, jobs=user.jobs, limits=user.limits, tell=tuple(map(_channel, user.tell))
            )
            for name, user in settings.users.items()
        },
        jobs_per_user=settings.jobs_per_user,
        limits=settings.limits,
        backfill=settings.backfill,
        borrowing=settings.borrowing,
        half_life=settings.half_life_days * DAY,
        preempting=settings.preempting,
        long_wait=settings.long_wait_hours * HOUR,
        checkpoints=args.host.workspace.storage_path,
        tracking_uri=args.tracking_uri,
        largest_package=settings.largest_package,
        packages_size=settings.packages_size,
        waiting=settings.waiting,
        waiting_per_user=settings.waiting_per_user,
        smtp=mail.server if mail else None,
        mail_from=mail.sender if mail else None,
        smtp_user=mail.user if mail else None,
        smtp_password=mail.password if mail else None,
        port=QUEUE,
    )


def _channel(channel: QueueChannelSettings) -> queue.Channel:
    return queue.Channel(kind=channel.kind, target=channel.address or channel.variable or "", events=channel.events)
