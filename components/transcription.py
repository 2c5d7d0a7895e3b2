"""Transcription: speech of audio and video as text, subtitles and ELAN tiers.

Owns the container and the volume with uploads, jobs and results. Works on the container's CPUs, unless the stack gives
it GPUs that no Ray node offers: one that it took would be one that Ray believes to be free. Jobs may run on the Ray
cluster, whose nodes then mount what a file needs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service, dataset_mounts, extra_mounts
from config.datasets import DatasetSettings
from config.ports import TRANSCRIPTION
from config.services import TranscriptionSettings
from contracts import transcription
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.gpus import Gpus
from stack.mount import Mount
from stack.programs import run_module, run_python

RAY_PROGRAM = "entrypoints.transcription.ray_job"
TARGETS = {"dataset": "/media/dataset", "models": "/models"}
# Threads that wait for each other spin by default, which starves all others where cores are shared.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, kw_only=True)
class TranscriptionArgs:
    """Plain values, already validated."""

    settings: TranscriptionSettings
    host: Host
    image: pulumi.Input[str]
    gpus: Gpus
    tracking_uri: str | None  # MLflow
    dashboards: tuple[str, ...]  # of Ray, as host:port
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)


class Transcription(Service):
    """**Pulumi type** ``cslr:transcription:Transcription``. Ready when its health endpoint answers."""

    def __init__(self, name: str, args: TranscriptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:transcription:Transcription", name, deployed_on=args.host, port=TRANSCRIPTION, opts=opts)
        settings, host = args.settings, args.host
        self._args = args
        self._on_ray = settings.jobs.run_on == "ray"
        self._kept = self._data(settings.data, "data", "/data")
        program = transcription.TranscriptionSettings(
            stack=host.identity.stack,
            threads=max(1, int(settings.cpus)),
            device=settings.variant,
            default_model=settings.model,
            tracking_uri=args.tracking_uri,
            ray=transcription.RaySettings(
                dashboards=args.dashboards,
                cpus=settings.jobs.cpus,
                gpus=settings.jobs.gpus,
            )
            if self._on_ray
            else None,
            port=TRANSCRIPTION,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.transcription.server"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{TRANSCRIPTION}/health"),
                    interval=3,
                    start_period=60,
                ),
                gpus=args.gpus,
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(defaults=WAITING, user=settings.env, required={SETTINGS_VARIABLE: dump(program)}),
                ports=self._publish(TRANSCRIPTION, settings.port),
                mounts=(
                    self._kept,
                    *host.module("entrypoints.transcription.server"),
                    host.program("http_health.py"),
                    host.secrets.mount("transcription-token", user=settings.user),
                    *((host.secrets.mount("ray-token", user=settings.user),) if self._on_ray else ()),
                    *host.mlflow_login(settings.user),
                    *self._read(TARGETS),
                    *dataset_mounts(name, args.datasets),
                    *extra_mounts(settings.volumes),
                ),
            )
        )

    @property
    def ray_mounts(self) -> tuple[Mount, ...]:
        """Mounts for Ray's nodes: what jobs read and write there, and their program; none if jobs run here."""
        if not self._on_ray:
            return ()
        return (
            Mount(source=self._kept.source, target=f"{transcription.RAY_FOLDER}/data", bind=self._kept.bind),
            *self._read({key: f"{transcription.RAY_FOLDER}/{key}" for key in TARGETS}),
            *self._args.host.module(RAY_PROGRAM),
        )

    def _read(self, targets: dict[str, str]) -> Iterator[Mount]:
        """Mounts of what is only read."""
        for key, location in self._args.settings.read_locations.items():
            if location:
                yield Mount(source=location, target=targets[key], read_only=True, bind=location.startswith("/"))
