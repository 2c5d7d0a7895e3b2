"""Grafana: dashboards of the figures that Prometheus keeps, and the panels in Ray's own dashboard.

Owns the container and its data volume. Its image is pulled, since no package of Debian or PyPI brings it. Ray's head
writes Ray's dashboards when it starts, so that they are those of its version; Grafana reads them.
"""

from dataclasses import dataclass

import pulumi

from components import grafana_files
from components.docker import MEBIBYTE, ContainerSpec, answers
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from config.ports import GRAFANA
from config.services import GrafanaSettings
from stack.mount import Mount


@dataclass(frozen=True, kw_only=True)
class GrafanaArgs:
    """Plain values, already validated, and the host."""

    settings: GrafanaSettings
    host: Host
    image: pulumi.Input[str]
    url: str  # where people open it
    interval: int  # seconds between two collections of figures
    dashboards: str  # folder of this host to which Ray's head writes


class Grafana(Service):
    """**Pulumi type** ``cslr:grafana:Grafana``. Ready when its database is."""

    def __init__(self, name: str, args: GrafanaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:grafana:Grafana", name, deployed_on=args.host, port=GRAFANA, opts=opts)
        settings, host = args.settings, args.host
        documents = {
            grafana_files.SETTINGS: grafana_files.settings(args.url),
            f"{grafana_files.PROVISIONING}/datasources/stack.yaml": grafana_files.sources(args.interval),
            f"{grafana_files.PROVISIONING}/dashboards/stack.yaml": grafana_files.dashboards(),
        }
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=(
                    "grafana",
                    "server",
                    f"--config={grafana_files.SETTINGS}",
                    "--homepath=/usr/share/grafana",
                ),
                healthcheck=answers(GRAFANA, "/api/health"),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env, required=grafana_files.PATHS),
                ports=self._publish(GRAFANA, settings.port),
                mounts=(
                    *(
                        Mount(
                            source=host.files.document(f"grafana-{number}", text.encode()),
                            target=target,
                            read_only=True,
                        )
                        for number, (target, text) in enumerate(documents.items())
                    ),
                    Mount(source=args.dashboards, target=grafana_files.DASHBOARDS, read_only=True),
                    *(
                        host.secrets.mount(secret, user=settings.user)
                        for secret in (grafana_files.PASSWORD, grafana_files.SECRET_KEY)
                    ),
                    self._data(settings.data, "data", grafana_files.DATA),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
