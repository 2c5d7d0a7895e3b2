"""MLflow: the tracking server.

Owns the container and the artifact volume. Runs' parameters and metrics are in Postgres; artifacts go through the
server, so clients need no access to the volume.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.ports import MLFLOW
from components.postgres import Postgres
from components.service import Host, Service, extra_mounts, run_python
from components.service_settings import MLflowSettings


@dataclass(frozen=True, kw_only=True)
class MLflowArgs:
    """Plain values, already validated, and what it depends on."""

    settings: MLflowSettings
    host: Host
    image: pulumi.Input[str]
    postgres: Postgres


class MLflow(Service):
    """**Pulumi type** ``cslr:mlflow:MLflow``. Ready when its health endpoint answers."""

    url: str  # inside the network

    def __init__(self, name: str, args: MLflowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:mlflow:MLflow", name, deployed_on=args.host, port=MLFLOW, opts=opts)
        settings, host = args.settings, args.host
        self.url = f"http://{name}:{MLFLOW}"
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_python("mlflow_server.py"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{MLFLOW}/health"), start_period=120
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env={**settings.env, **allowed_hosts(settings.env, host)},
                ports=self._publish(MLFLOW, settings.port),
                mounts=(
                    self._data(settings.artifacts, "artifacts", "/mlflow/artifacts"),
                    *host.programs("with_python.sh", "mlflow_server.py", "http_health.py"),
                    host.secrets.mount("postgres-password", user=settings.user),
                    *extra_mounts(settings.volumes),
                ),
                wait_seconds=300,
            ),
            after=[args.postgres],
        )


def allowed_hosts(env: Mapping[str, str], host: Host) -> Mapping[str, str]:
    """The address by which other hosts' tasks call the server, which by itself answers to private ones alone."""
    if host.place is None:
        return {}
    address = host.place.address
    known = env.get("MLFLOW_ALLOWED_HOSTS", "")
    return {"MLFLOW_ALLOWED_HOSTS": ",".join(filter(None, (known, address, f"{address}:*")))}
