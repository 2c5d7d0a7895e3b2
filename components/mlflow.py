"""MLflow: the tracking server.

Owns the container and the artifact volume. Runs' parameters and metrics are in Postgres; artifacts go through the
server, so clients need no access to the volume.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pulumi

from components.database_dump import dump_before
from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.postgres import Postgres
from components.service import Host, Service, extra_mounts
from config.addresses import LOOPBACK, Reach, env_names, prefix_of
from config.ports import MLFLOW
from config.services import MLflowSettings
from contracts import mlflow_login, postgres
from stack.mount import Mount
from stack.programs import run_python


@dataclass(frozen=True, kw_only=True)
class MLflowArgs:
    """Plain values, already validated, and dependencies."""

    settings: MLflowSettings
    host: Host
    image: pulumi.Input[str]
    postgres: Postgres
    reach: Reach | None  # from outside the network; None where it is not published


class MLflow(Service):
    """**Pulumi type** ``cslr:mlflow:MLflow``. Ready when its health endpoint answers."""

    url: str  # inside the network

    def __init__(self, name: str, args: MLflowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:mlflow:MLflow", name, deployed_on=args.host, port=MLFLOW, opts=opts)
        settings, host = args.settings, args.host
        prefix = prefix_of(settings.base_url)
        self.url = f"http://{name}:{MLFLOW}{prefix}"
        # Once Postgres is healthy: after a `down`, too, the database is then kept before a newer MLflow changes it.
        ready = pulumi.ResourceOptions(parent=self, depends_on=[args.postgres])
        kept = dump_before(name, image=args.image, host=host, opts=ready)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_python("mlflow_server.py"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{MLFLOW}{prefix}/health"), start_period=120
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    user=settings.env,
                    required={
                        **request_rules(settings, host, args.reach),
                        **({"MLFLOW_STATIC_PREFIX": prefix} if prefix else {}),
                    },
                ),
                ports=self._publish(MLFLOW, settings.port),
                mounts=(
                    self._data(settings.artifacts, "artifacts", "/mlflow/artifacts"),
                    *host.programs(
                        "with_python.sh", "mlflow_server.py", "mlflow_http.py", "mlflow_gateway.py", "http_health.py"
                    ),
                    host.secrets.postgres_role(postgres.MLFLOW, user=settings.user),
                    host.secrets.gateway_key(user=settings.user),
                    *self._accounts(settings, host),
                    *host.env_secrets(name),
                    *extra_mounts(settings.volumes),
                ),
                wait_seconds=300,
            ),
            after=[args.postgres, kept],
        )

    @staticmethod
    def _accounts(settings: MLflowSettings, host: Host) -> Iterator[Mount]:
        """The passwords of the platform's accounts: with them, MLflow asks for logins; and its cache of rights."""
        if host.mlflow_logins:
            yield host.program("mlflow_rights.py")
            yield host.secrets.mount(mlflow_login.ADMIN_SECRET, user=settings.user)
            yield from host.mlflow_login(settings.user)


def request_rules(settings: MLflowSettings, host: Host, reach: Reach | None) -> Mapping[str, str]:
    """MLflow's lists of allowed hosts and origins: against DNS rebinding, and against pages of other servers.

    Host must be a name or an address of the server, and the Origin of a change must be its own. Lists that stack files
    set for MLflow itself are added.
    """
    more = env_names(settings.env)
    if more and reach:
        reach = replace(reach, names=(*reach.names, *more))
    inside = ("mlflow", host.identity.object_name("mlflow"))
    hosts = [*LOOPBACK, *(f"{name}:{MLFLOW}" for name in inside), *(reach.hosts if reach else ())]
    origins = [*(f"http://{name}:{MLFLOW}" for name in inside), *(reach.origins if reach else ())]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }
