"""Alertmanager: tells people of alerts, and keeps what they silenced.

Owns the container and its data volume. Its configuration is a secret, since it holds addresses that anyone may post to.
"""

from dataclasses import dataclass

import pulumi

from components import alert_routes
from components.alert_routes import AlertSecrets
from components.docker import MEBIBYTE, ContainerSpec, answers
from components.environment import Environment
from components.go_program import go_limits
from components.service import Host, Service, extra_mounts
from config.ports import ALERTMANAGER
from config.services import AlertmanagerSettings
from stack.secrets import ALERT_ROUTES, SECRETS_TARGET

DATA = "/alertmanager"


@dataclass(frozen=True, kw_only=True)
class AlertmanagerArgs:
    """Plain values, already validated, and the host."""

    settings: AlertmanagerSettings
    host: Host
    image: pulumi.Input[str]
    secrets: AlertSecrets


class Alertmanager(Service):
    """**Pulumi type** ``cslr:alertmanager:Alertmanager``. Ready when it has read its configuration."""

    def __init__(self, name: str, args: AlertmanagerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:alertmanager:Alertmanager", name, deployed_on=args.host, port=ALERTMANAGER, opts=opts)
        settings, host = args.settings, args.host
        env = Environment(defaults=go_limits(settings.memory), user=settings.env)
        proxied = host.proxy.serves(name, env.merged())
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=(
                    "prometheus-alertmanager",
                    f"--config.file={SECRETS_TARGET}/{ALERT_ROUTES}",
                    f"--storage.path={DATA}",
                    f"--web.listen-address=0.0.0.0:{ALERTMANAGER}",
                    "--cluster.listen-address=",  # it has no peers
                ),
                healthcheck=answers(ALERTMANAGER, "/-/ready"),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=env,
                ports=self._publish(ALERTMANAGER, settings.port),
                mounts=(
                    host.secrets.document(
                        ALERT_ROUTES,
                        alert_routes.configuration(settings, args.secrets, proxied=proxied),
                        user=settings.user,
                    ),
                    self._data(settings.data, "data", DATA),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
