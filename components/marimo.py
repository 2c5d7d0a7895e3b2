"""Marimo: notebooks beside the cluster, with the same Python and Ray.

Owns the container and the notebook volume, of one person or of all. A notebook reaches Ray by ``ray.init()`` and MLflow
by its default tracking URI, with nothing to set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.ray import NO_TELEMETRY, QUIET_GIT
from components.service import Host, Service, dataset_mounts, distinct, extra_mounts
from config.addresses import prefix_of
from config.datasets import DatasetSettings
from config.ports import MARIMO
from config.services import MarimoSettings
from stack.mount import Mount
from stack.programs import HOOKS_PATH, run_module, run_python

# Share of the container's memory for DataLoaders in notebooks: Docker's default, 64 MB, holds not even one batch.
SHARED_MEMORY = 0.25

NOTEBOOK_FOLDER = "/workspace/notebooks"
# Of a person, in the volume of the notebooks: preferences and packages. Hidden, so Marimo lists no notebooks there.
OWN_FOLDER = f"{NOTEBOOK_FOLDER}/.own"
PROCESS_GUARD = "entrypoints.ray.process_guard"  # the server starts it beside itself


@dataclass(frozen=True, kw_only=True)
class MarimoArgs:
    """Plain values, already validated, and dependencies."""

    settings: MarimoSettings
    host: Host
    image: pulumi.Input[str]
    person: str | None = None  # whose notebooks they are; None: everybody's
    ray_address: str | None  # ray://host:port
    tracking_uri: str | None  # MLflow
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    after: Sequence[pulumi.Resource] = ()


class Marimo(Service):
    """**Pulumi type** ``cslr:marimo:Marimo``. Ready when its health endpoint answers."""

    notebooks: Mount

    def __init__(self, name: str, args: MarimoArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:marimo:Marimo", name, deployed_on=args.host, port=MARIMO, opts=opts)
        settings, host = args.settings, args.host
        prefix = prefix_of(settings.base_url)
        links = {"RAY_ADDRESS": args.ray_address, "MLFLOW_TRACKING_URI": args.tracking_uri}
        own = _of_person(args.person) if args.person else {}
        self.notebooks = self._data(settings.notebooks, "notebooks", NOTEBOOK_FOLDER)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.marimo.server"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{MARIMO}{prefix}/health"),
                    start_period=120,
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    defaults={**NO_TELEMETRY, **QUIET_GIT, **host.workspace.environment(name), **own},
                    user=settings.env,
                    required={
                        **host.ray_access_environment,
                        **{key: value for key, value in links.items() if value},
                        # A DataLoader in a notebook starts its workers in the same way as one in a Ray task.
                        "PYTHONPATH": HOOKS_PATH,
                        **({"MARIMO_BASE_URL": prefix} if prefix else {}),
                        **({"CSLR_MARIMO_LINKS": f"{host.links.target}/{name}.json"} if args.person else {}),
                        **({"CSLR_MARIMO_IDLE": str(settings.idle)} if settings.idle else {}),
                    },
                ),
                ports=self._publish(MARIMO, settings.port),
                mounts=(
                    self.notebooks,
                    *distinct(*host.module("entrypoints.marimo.server", PROCESS_GUARD), *host.ray_hooks()),
                    *host.programs("http_health.py"),
                    host.examples(),
                    *host.workspace.mounts,
                    host.secrets.notebook_token(args.person, user=settings.user),
                    *host.ray_access(settings.user),
                    *host.mlflow_login(settings.user),
                    *host.env_secrets(name),
                    *dataset_mounts(name, args.datasets),
                    *extra_mounts(settings.volumes),
                ),
                shm_bytes=settings.shm or int(settings.memory * SHARED_MEMORY),
                programs_in_tmp=True,
                wait_seconds=300,
            ),
            after=args.after,
        )


def _of_person(person: str) -> dict[str, str]:
    """What keeps people apart who share the home folder of all nodes, and names them to MLflow and the queue."""
    return {
        "CSLR_USER": person,
        "LOGNAME": person,  # whose runs they are in MLflow
        "MARIMO_OWN_FOLDER": OWN_FOLDER,
        "XDG_CONFIG_HOME": f"{OWN_FOLDER}/config",
        "XDG_STATE_HOME": f"{OWN_FOLDER}/state",
        "GIT_CONFIG_GLOBAL": f"{OWN_FOLDER}/gitconfig",
    }
