"""Health: the health service, which reports whether the platform works.

Owns the container. Watches the other services from inside the network (entrypoints/health/server.py); it needs
none of them to start, since Ray nodes ask it for an existing head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.keeper import LOOK, TOLD_TARGET
from components.service import Host, Service, extra_mounts
from components.workspace import SCRATCH
from config.notation import person_of
from config.ports import HEALTH
from config.services import HealthSettings
from contracts import health, postgres
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.health import WatchedService
from stack import facts
from stack.mount import Mount
from stack.programs import run_module, run_python
from stack.secrets import NOTEBOOK_TOKEN


@dataclass(frozen=True, kw_only=True)
class HealthArgs:
    """Plain values, already validated."""

    settings: HealthSettings
    host: Host
    image: pulumi.Input[str]
    watched: tuple[WatchedService, ...]
    told: str | None  # folder of this host with what the keeper sees; None: there is no keeper
    ray_nodes: tuple[str, ...]  # expected nodes of this host as Ray calls them, those that may be head first
    scratch_reports: Mapping[str, str]  # node → its guard's report on the scratch folder
    hostname: str  # of this host, on series
    ray_metrics: Mapping[str, int]  # end of a Ray node's name → port of its figures
    peers: Mapping[str, int]  # job of Prometheus → its port on each host of the cluster
    alertmanager: str | None  # host:port; None: this host has none


class Health(Service):
    """**Pulumi type** ``cslr:health:Health``. Ready when it answers, whatever the state of the other services."""

    def __init__(self, name: str, args: HealthArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:health:Health", name, deployed_on=args.host, port=HEALTH, opts=opts)
        settings, host = args.settings, args.host
        # Those of single people are theirs: their notebooks are asked for what needs none.
        notebooks = () if any(person_of(one.name) for one in args.watched) else (NOTEBOOK_TOKEN,)
        program = health.HealthSettings(
            stack=host.identity.stack,
            services=args.watched,
            ray_nodes=args.ray_nodes,
            ray_dashboard=host.topology.dashboard,
            election=host.topology.election,
            scratch_reports={node: Path(report) for node, report in args.scratch_reports.items()},
            look=LOOK if args.told else None,
            port=HEALTH,
            host=host.topology.host or args.hostname,
            ray_metrics=args.ray_metrics,
            peers=args.peers,
            disks={"scratch": Path(SCRATCH)},
            facts=facts.TARGETS,
            alertmanager=args.alertmanager,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.health.server"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{HEALTH}/ping"), interval=3, start_period=30
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env, required={SETTINGS_VARIABLE: dump(program)}),
                ports=self._publish(HEALTH, settings.port),
                mounts=(
                    *host.module("entrypoints.health.server"),
                    host.program("http_health.py"),
                    host.workspace.watched,
                    *facts.mounts(host.files),
                    *((Mount(source=args.told, target=str(TOLD_TARGET), read_only=True),) if args.told else ()),
                    *(host.secrets.mount(secret, user=settings.user) for secret in ("ray-token", *notebooks)),
                    host.secrets.postgres_role(postgres.MONITOR, user=settings.user),
                    *host.mlflow_login(settings.user),
                    host.secrets.redis_user("redis-reader", user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
            )
        )
