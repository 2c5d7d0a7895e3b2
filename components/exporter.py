"""Exporter: figures of this host's GPUs, of the stack's containers and of the host itself, for Prometheus.

Owns the container. It sees the host's processes, since NVML names the users of a GPU by the host's PIDs, and the host's
/sys; so its user is nobody else's, it has no capability and not the Docker socket: the keeper tells it which containers
there are. Its program is in its image, which also runs by itself (exporter.Dockerfile).
"""

from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.docker import MEBIBYTE, ContainerSpec, Healthcheck
from components.environment import Environment
from components.keeper import CONTAINERS, TOLD_TARGET
from components.service import Host, Service, extra_mounts
from config.ports import EXPORTER
from config.services import ExporterSettings
from contracts import exporter
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.gpus import Gpus
from stack.mount import Mount
from stack.programs import run_python
from stack.secrets import SECRETS_TARGET

SYS_TARGET = "/host/sys"
PROGRAM_TARGET = "/opt/cslr"  # in the image


@dataclass(frozen=True, kw_only=True)
class ExporterArgs:
    """Plain values, already validated."""

    settings: ExporterSettings
    host: Host
    image: pulumi.Input[str]
    gpus: Gpus
    hostname: str
    told: str | None  # folder of this host with the keeper's list; None: there is no keeper
    dashboards: tuple[str, ...]  # of Ray, as host:port; none where there is nothing to attribute
    nodes: dict[str, str]  # service → what Ray calls its node


class Exporter(Service):
    """**Pulumi type** ``cslr:exporter:Exporter``. Ready when each source of figures has been asked once."""

    def __init__(self, name: str, args: ExporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:exporter:Exporter", name, deployed_on=args.host, port=EXPORTER, opts=opts)
        settings, host = args.settings, args.host
        asks_ray = bool(args.dashboards and args.gpus)
        program = exporter.ExporterSettings(
            hostname=args.hostname or None,
            gpus_expected=args.gpus.count if args.gpus else None,
            demo_gpus=settings.demo_gpus,
            containers=CONTAINERS if args.told else None,
            ray=exporter.RayDashboard(
                addresses=args.dashboards, token=Path(SECRETS_TARGET) / "ray-token", nodes=args.nodes
            )
            if asks_ray
            else None,
            sys=Path(SYS_TARGET),
            port=EXPORTER,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("python3", "-m", "entrypoints.exporter.server"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{EXPORTER}/-/ready"),
                    interval=3,
                    start_period=30,
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    user=settings.env, required={SETTINGS_VARIABLE: dump(program), "PYTHONPATH": PROGRAM_TARGET}
                ),
                host_pids=True,
                gpus=args.gpus,
                ports=self._publish(EXPORTER, settings.port),
                mounts=(
                    *host.programs("with_python.sh", "http_health.py"),
                    Mount(source="/sys", target=SYS_TARGET, read_only=True),
                    # Its disk is that of Docker's data, which node_exporter then shows by this name.
                    host.workspace.watched,
                    *((Mount(source=args.told, target=str(TOLD_TARGET), read_only=True),) if args.told else ()),
                    *((host.secrets.mount("ray-token", user=settings.user),) if asks_ray else ()),
                    *extra_mounts(settings.volumes),
                ),
                tmp_bytes=16 * MEBIBYTE,
            )
        )
