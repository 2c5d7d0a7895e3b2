"""Prometheus: collects the figures of the stack's services, keeps them, and fires alerts.

Owns the container and its data volume. Does not own the rules (entrypoints/prometheus/alerts.yaml), nor who is told of
an alert (components/alertmanager.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components import scrape_config
from components.docker import MEBIBYTE, ContainerSpec, answers
from components.environment import Environment
from components.go_program import go_limits
from components.service import Host, Service, extra_mounts
from config.ports import PROMETHEUS
from config.services import MetricsSettings
from stack.mount import Mount
from stack.programs import ENTRYPOINTS, PROGRAMS_TARGET

CONFIGURATION, RULES = f"{PROGRAMS_TARGET}/prometheus.yaml", f"{PROGRAMS_TARGET}/alerts.yaml"
DATA = "/prometheus"


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    """Plain values, already validated, and the host."""

    settings: MetricsSettings
    host: Host
    image: pulumi.Input[str]
    hostname: str  # of this host, on its series
    services: Sequence[str]  # those of this host that are enabled


class Prometheus(Service):
    """**Pulumi type** ``cslr:prometheus:Prometheus``. Ready when it has read its data and its configuration."""

    def __init__(self, name: str, args: PrometheusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:prometheus:Prometheus", name, deployed_on=args.host, port=PROMETHEUS, opts=opts)
        settings, host = args.settings, args.host
        scraping = scrape_config.Scraping(
            stack=host.identity.stack,
            host=host.topology.host or args.hostname,
            interval=settings.interval,
            services=args.services,
            rules=(RULES,),
        )
        written = host.files.document("prometheus.yaml", scrape_config.configuration(scraping).encode())
        rules = host.files.program(ENTRYPOINTS / "prometheus" / "alerts.yaml")
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=(
                    "prometheus",
                    f"--config.file={CONFIGURATION}",
                    f"--storage.tsdb.path={DATA}",
                    f"--storage.tsdb.retention.time={settings.retention.days}d",
                    f"--storage.tsdb.retention.size={settings.retention.size}B",
                    f"--web.listen-address=0.0.0.0:{PROMETHEUS}",
                    "--web.console.templates=/etc/prometheus/consoles",
                    "--web.console.libraries=/etc/prometheus/console_libraries",
                ),
                healthcheck=answers(PROMETHEUS, "/-/ready"),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(defaults=go_limits(settings.memory), user=settings.env),
                ports=self._publish(PROMETHEUS, settings.port),
                mounts=(
                    Mount(source=written, target=CONFIGURATION, read_only=True),
                    Mount(source=rules, target=RULES, read_only=True),
                    self._data(settings.data, "data", DATA),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
